"""What cannot be read becomes a CorpusError that names the file, and the row where it is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa

from dedupe.documents.template import ColumnPath
from dedupe.errors import CorpusError, listed
from dedupe.remote import StoreError

WIDE_INTEGERS = "Integers with more than 64 bits"
"""How pyarrow refuses a file with a column of 128-bit integers, whatever column is read."""

LONGEST_MESSAGE = 300
"""Characters of a library's message that are shown."""


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


def one_line(error: BaseException) -> str:
    """Put an exception's message on one line of bearable length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= LONGEST_MESSAGE else text[:LONGEST_MESSAGE] + "…"
