"""Contamination: items of test sets that stand in the rows of a corpus.

    job        what the tasks leave for one another
    items      the test sets, read; and in memory, as what the corpus is held against
    scan       the corpus streams past the items: what its rows have of them
    common     in how many rows and sources each shingle stands, and which are too common to tell
    match      which rows have enough of an item in one window
    report     all pairs, and what became of each item
    run        these stages in order

The tasks of `scan` and `match` are those of `sign`, which takes the rows that were found for rows
that cannot be read: they are nobody's witness.
"""
