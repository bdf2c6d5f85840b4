"""`edges`: which row is like which, as a list that graph libraries and databases load.

Rows and their witnesses are in the keep-lists; for other pairs the stages of the run come once
more, and then `pairs`.

    run        these, in order
    pairs      by component: the edges of its rows
    similar    how pairs are found: a join within each component
    ordering   what the tasks of pairs have left, in the order of rows
    file       the file, an edge after the other
    result     `Edges`, what is read of it

Nothing is estimated.
"""
