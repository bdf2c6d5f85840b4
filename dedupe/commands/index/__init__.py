"""`dedupe index`: what an index has, whether it is whole, and keeping it small.

check     every file against its checksum, and what must hold between rows
compact   many segments to one, without what was removed
tables    what is written for people: copies over all crawls, and decisions that changed
removal   which rows are taken out, and which lose their witness
described what `show` prints
"""
