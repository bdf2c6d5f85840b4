"""A union-find as an array of parents: node i is a root where parent[i] == i; roots are lowest."""

from __future__ import annotations

from dedupe.kernels import inner


@inner
def find(parent, node):
    """The root of a node's set, int64; halves the path to it.

    parent: int64, written. node: int64. Source: Tarjan and van Leeuwen 1984.
    """
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@inner
def unite(parent, a, b):
    """Make one set of those of nodes a and b; its root is the lower of the two roots.

    parent: int64, written. a, b: int64.
    """
    a, b = find(parent, a), find(parent, b)
    if a < b:
        parent[b] = a
    else:
        parent[a] = b
