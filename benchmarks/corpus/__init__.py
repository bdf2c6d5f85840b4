"""Making corpora."""
