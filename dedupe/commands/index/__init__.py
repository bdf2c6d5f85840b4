"""`dedupe index`: what an index has, whether it is whole, and keeping it small.

check     every file against its checksum, and what must hold between rows
compact   many segments to one, without what was removed
counts    rows that each kept row stays for, over all crawls
removal   which rows are taken out, and which lose their witness
described what `show` prints
"""
