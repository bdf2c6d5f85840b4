"""Places with a protocol, such as s3://bucket/folder: read and written through fsspec.

    given      the storage options of a run
    places     which there are, and what is said where one cannot be used
    patience   how long a store is asked again that does not answer
    objects    what is asked of a store: whole objects, ranges of bytes, listings
    ranged     an object as a file that fetches what is read of it

A place is a `Path` on a local disk and a `UPath` elsewhere, and read alike. Credentials and
endpoints come from storage options, or from where each backend looks for them: the environment
(AWS_…, GOOGLE_…, AZURE_…, FSSPEC_…) and its own files. fsspec and upath are imported when the first
place is met, so a run on local paths goes without. Stores that fail for a moment are asked again by
their backends (s3fs, gcsfs and adlfs do), and then for minutes by `objects`.
"""

from __future__ import annotations

from dedupe.remote.places import (
    Place,
    Remote,
    StoreError,
    check,
    is_remote,
    is_uri,
    place,
    place_to_write,
)

__all__ = [
    "Place",
    "Remote",
    "StoreError",
    "check",
    "is_remote",
    "is_uri",
    "place",
    "place_to_write",
]
