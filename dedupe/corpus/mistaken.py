"""Files that are not what their names say: what they are, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from dedupe.corpus.shard import Shard, is_in_memory
from dedupe.errors import CorpusError

BEGINNING = 64
"""Bytes that are looked at."""

_PAGE = "a page of HTML, as a server sends it in place of a file: fetch the file again"
_TEXTS = {
    b"version https://git-lfs.github.com/": (
        "a pointer of Git LFS, not the file itself: fetch that with git lfs pull"
    ),
    b"<!doctype html": _PAGE,
    b"<html": _PAGE,
    b"%pdf": "a PDF document: extract its text first",
}
_UTF16 = "UTF-16 text: convert it, for instance with iconv -f UTF-16 -t UTF-8"
_UTF32 = "UTF-32 text: convert it, for instance with iconv -f UTF-32 -t UTF-8"
_BYTES = {
    b"\xff\xfe\0\0": _UTF32,
    b"\0\0\xfe\xff": _UTF32,
    b"\xff\xfe": _UTF16,
    b"\xfe\xff": _UTF16,
    b"{\0": _UTF16,
    b"\0{": _UTF16,
    b"PK\3\4": "a ZIP archive: unpack it first",
    b"\x1f\x8b": "compressed with gzip: let its name end with .gz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: let its name end with .zst",
    b"BZh": "compressed with bzip2: let its name end with .bz2",
    b"\xfd7zXZ\0": "compressed with xz: let its name end with .xz",
    b"\x04\x22\x4d\x18": "compressed with lz4: let its name end with .lz4",
    b"PAR1": "a Parquet file: let its name end with .parquet",
    b"ARROW1": "an Arrow file: let its name end with .arrow",
}
_MAGIC = {
    "gzip": b"\x1f\x8b",
    "zstd": b"\x28\xb5\x2f\xfd",
    "bz2": b"BZh",
    "lz4": b"\x04\x22\x4d\x18",
    "xz": b"\xfd7zXZ\0",
    "parquet": b"PAR1",
    "arrow": b"ARROW1",
}
"""What files of these codecs and formats begin with, as they should."""


@contextmanager
def told_what_it_is(shard: Shard) -> Iterator[None]:
    """Let an error about a file that is something else say so; reads its first bytes, if any."""
    try:
        yield
    except CorpusError as error:
        in_memory = is_in_memory(shard.path)
        found = None if in_memory or error.path != shard.path else _what(shard)
        if found is None:
            raise
        raise CorpusError(f"is {found}", path=shard.path) from None


def _what(shard: Shard) -> str | None:
    """What a file is that it should not be; None where it may be what its name says."""
    begins = b""
    with suppress(OSError):
        begins = shard.file.beginning(BEGINNING)
    expected = _MAGIC.get(shard.compression or shard.format)
    if expected is not None and begins.startswith(expected):
        return None
    lower = begins.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    texts = (said for begin, said in _TEXTS.items() if lower.startswith(begin))
    others = (said for begin, said in _BYTES.items() if begins.startswith(begin))
    return next(texts, None) or next(others, None)
