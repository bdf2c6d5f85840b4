"""The stages, in order: sign, bucket, join, components, route, group, fetch, verify, keep.

Each is pure: Arrow or numpy in, Arrow out, no file, no engine. They never import one another and
meet through `dedupe.schema`. What they are handed comes from files, so each checks the numbers that
it indexes by, and raises `IntegrityError` for one that is out of range.
"""
