"""The stages, in order: sign, bucket, join, components, route, group, fetch, verify, keep.

Each is pure: Arrow or numpy in, Arrow out, no file, no engine. They never import one another and
meet through `dedupe.schema`.
"""
