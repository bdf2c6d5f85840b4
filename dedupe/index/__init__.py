"""What is kept of earlier corpora, so that new ones can be held against them.

    IDX/manifests/00000007.json        what the index has; the one of the highest number counts
    IDX/segments/1a2b3c4d/…            the files of one crawl, or of several that were compacted

manifest  crawls, segments and settings; each is put where none of its number is
blocks    tables in blocks that one read reaches, each with a checksum
tables    the tables of a segment
store     an index that is open: chosen rows of its tables
witnesses rows of it that keep-lists name, and their texts

Segments never change. A crawl is in the index as soon as a manifest names it, and what no manifest
names is not there.
"""
