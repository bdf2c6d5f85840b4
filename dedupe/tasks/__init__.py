"""One module for each stage: what one of its tasks reads, what it leaves, what it costs."""
