"""What cannot be read becomes a CorpusError that names the file, and the row where it is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa

from dedupe.documents.template import ColumnPath
from dedupe.errors import CorpusError, RowError, listed, readable_size
from dedupe.remote import StoreError

if TYPE_CHECKING:
    from dedupe.corpus.shard import Shard

WIDE_INTEGERS = "Integers with more than 64 bits"
"""How pyarrow refuses a file with a column of 128-bit integers, whatever column is read."""

LONGEST_MESSAGE = 300
"""Characters of a library's message that are shown."""


class LongRowError(Exception):
    """A row is longer than `Limits.row`.

    size: its bytes. more: whether it has more of them.
    """

    def __init__(self, size: int, more: bool = False) -> None:
        self.size = size
        self.more = more
        super().__init__(size)


@contextmanager
def reading(path: str, what: str = "cannot be read", row: int | None = None) -> Iterator[None]:
    """Turn what a library raises about a file into CorpusError while the block runs.

    path: the file, on a local disk or a URI. what: the beginning of the message, before the reason.
    row: the number of the row that is read, where it is known.
    """
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, pa.ArrowMemoryError):
            reason = f"{one_line(error)}: it is damaged, or memory is short"
        elif isinstance(error, StoreError):
            reason = error.reason
        elif isinstance(error, OSError) and error.errno is not None and error.strerror:
            reason = error.strerror
        elif WIDE_INTEGERS in str(error):
            reason = (
                "it has a column of 128-bit integers, which Arrow has not: write that column as "
                "text or as decimals, or leave it out"
            )
        else:
            reason = one_line(error)
        failure = CorpusError(f"{what}: {reason}", path=path, row=row)
        failure.passing = isinstance(error, StoreError) and error.passing
        raise failure from None


def missing(path: str, name: str, present: Sequence[str]) -> CorpusError:
    """Make the error for a column that is not there.

    path: the file. name: the column. present: the columns that it has, which the message lists.
    """
    return CorpusError(absent(name, present), path=path)


def nowhere(path: ColumnPath, said: str, file: str) -> CorpusError:
    """Make the error for a path that leads to nothing in any row.

    path: the path. said, file: what is said of it, see `shard.Lacking`, and of which file.
    """
    return CorpusError(said or f"no row has {path.name}", path=file)


def absent(name: str, present: Sequence[str]) -> str:
    """What is said of a column that is not among those that are present."""
    return f'no column "{name}": it has {listed(present) or "no columns"}'


def joined(names: Sequence[str], delimiter: str) -> str:
    """What is said of a header of CSV that is one column and holds another delimiter.

    names: its columns. delimiter: what it was cut at. Empty for any other header.
    """
    others = [one for one in (";", "\t", "|", ",") if len(names) == 1 and one in names[0]]
    if not others or delimiter in others:
        return ""
    found = max(others, key=names[0].count)
    shown = "\\t" if found == "\t" else found
    return f"; if {shown} stands between its columns, say so: --delimiter '{shown}'"


def too_long(shard: Shard, row: int | None, size: int, *, more: bool = False) -> CorpusError:
    """Make the error for a row that is longer than `Limits.row`.

    shard: the file. row: the number of the row in it, None where that is not known. size: its
    bytes. more: whether it has more of them.
    """
    has = "more than " * more + readable_size(size)
    return RowError(
        f"the row has {has}, and {readable_size(shard.limits.row)} are allowed: is it one row? If "
        "so, raise --memory, or allow it with --max-row",
        path=shard.path,
        row=row,
    )


def too_much_text(shard: Shard, text: int) -> CorpusError:
    """Make the error for a file with more text than `Shard.most_text`; text: bytes of it."""
    times = text // max(shard.size, 1)
    return CorpusError(
        f"has {readable_size(text)} of text or more, {times:,} times its size of {shard.size:,} "
        "bytes: if that is right, allow it with --max-expansion",
        path=shard.path,
    )


def one_line(error: BaseException) -> str:
    """Put an exception's message on one line of bearable length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= LONGEST_MESSAGE else text[:LONGEST_MESSAGE] + "…"
