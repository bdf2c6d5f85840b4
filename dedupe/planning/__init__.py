"""How a run is cut into tasks and what it takes: plain numbers, no files, no engines."""
