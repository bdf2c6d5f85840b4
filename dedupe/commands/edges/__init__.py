"""`edges`: which row is like which, as a list that graph libraries and databases load.

run        the dropped rows of a finished run; with --from, its stages once more, then:
pairs      pairs of one component that were never dropped because of one another
similar    how they are found: a join within each component
writing    the file, an edge after the other
result     `Edges`: the file, read
"""
