"""`split`: train, validation and test of a corpus, such that nothing leaks from one to another.

Rows that are similar, or have an equal value of a column, are linked; linked rows are one cluster,
and a cluster goes to one split as a whole.

    columns    rows to the values that link or stratify them
    groups     by value: edges between rows with an equal value
    earlier    rows of an earlier split to their digests, where there is one
    keys       rows to their digests
    pin        by digest: rows to the split in which they stood
    clusters   edges of groups and of verify to clusters
    relate     rows that are linked with rows of several splits, read again
    rounds     by component: each of these to a split, or excluded
    gather     rows to their cluster, or where they have no other row, to the order of all
    name       by cluster: its name, which its content gives, and its place in the order
    fill       clusters in order to test and validation, until these have the rows they ought to
    spread     by cluster: to its rows
    write      by shard: what became of each row
"""
