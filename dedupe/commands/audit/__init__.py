"""`audit`: measures on a finished run what the guarantees promise.

Rows of a sample, or all, are joined with the whole corpus by `stages.join`, which knows nothing of
signatures and bands; what it finds is held against the keep-list.
"""
