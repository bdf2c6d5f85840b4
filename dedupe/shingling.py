"""Texts to shingles, the same way for every stage: rules, salts, sets.

A document's shingles are those of all its fields. What tells equal texts apart is their *salt*,
which each shingle is combined with: the field, the values of `--within`, and the numbers in the
field with `--distinct numbers`. So shingles of other fields or groups are never equal, and
candidates, guarantees and cost are what they are without. A document's only field has salt 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, Texts, as_large_string, is_text, text_buffers, valid_bytes
from dedupe.config import EXACTS, Settings
from dedupe.documents.template import PLAIN, DocumentTemplate
from dedupe.kernels.hashing import GOLDEN_RATIO
from dedupe.kernels.rows import TextRules, digest_rows, set_rows
from dedupe.kernels.text import IGNORE_ACCENTS, IGNORE_NUMBERS, IGNORE_SYMBOLS
from dedupe.kernels.unicode import load_tables
from dedupe.kernels.xxh3 import SECRET

IGNORE_BITS = {
    "symbols": IGNORE_SYMBOLS,
    "numbers": IGNORE_NUMBERS,
    "accents": IGNORE_ACCENTS,
}
SALT_STEP = np.uint64(0xD6E8FEB86659FD93)
NULL_SALT = np.uint64(0x94D049BB133111EB)
"""Where a value of `--within` is null, in place of its digest."""


class RowSets(NamedTuple):
    """Shingle sets of some rows: field f of row i has the set s = i * fields + f.

    fields: of a document. offsets: int64[rows * fields + 1]; set s is hashes[offsets[s] :
    offsets[s + 1]], distinct and in the order of first appearance. hashes: uint64. words:
    uint32[rows * fields], the tokens of each field. repeat_offsets: int64[rows * fields + 1];
    repeats[repeat_offsets[s] : repeat_offsets[s + 1]] are the shingles of the text that are not
    new: see `schema.sets`. repeats: uint32.
    """

    fields: int
    offsets: Array
    hashes: Array
    words: Array
    repeat_offsets: Array
    repeats: Array

    def __len__(self) -> int:
        return len(self.words) // self.fields

    @classmethod
    def joined(cls, fields: int, parts: Sequence[RowSets]) -> RowSets:
        """Some of them as one. fields: of a document. parts: the sets, in order."""
        return cls(
            fields,
            _joined_offsets([part.offsets for part in parts]),
            np.concatenate([np.zeros(0, np.uint64), *(part.hashes for part in parts)]),
            np.concatenate([np.zeros(0, np.uint32), *(part.words for part in parts)]),
            _joined_offsets([part.repeat_offsets for part in parts]),
            np.concatenate([np.zeros(0, np.uint32), *(part.repeats for part in parts)]),
        )


def _joined_offsets(parts: Sequence[Array]) -> Array:
    offsets: Array = np.cumsum(np.concatenate([np.zeros(1, np.int64), *map(np.diff, parts)]))
    return offsets


class Shingler:
    """Makes shingles of the rows of one run.

    settings: of the run. document: what is compared.

    columns: how many documents have. tables: of Unicode. rules: for kernels. field_salts: uint64,
    one for each field.
    """

    def __init__(self, settings: Settings, document: DocumentTemplate = PLAIN) -> None:
        self.settings = settings
        self.fields = len(document.names)
        self.columns = len(document.templates)
        self.tables = load_tables()
        self.rules = TextRules(
            chars=settings.chars,
            shingle_size=settings.shingle_size,
            ignore=sum(IGNORE_BITS[one] for one in settings.ignored),
            numbers="numbers" in settings.distincts,
            replace=settings.on_bad_text == "replace",
            digest=EXACTS.index(settings.exact),
        )
        self.field_salts = _field_salts(document.names)

    def texts(self, batch: pa.RecordBatch) -> Texts:
        """The texts of a batch, whose first columns are its fields: field after field."""
        columns = batch.columns[: self.fields]
        return text_buffers(columns[0] if self.fields == 1 else pa.concat_arrays(columns))

    def row_salts(self, groups: Sequence[pa.Array], rows: int) -> Array:
        """What tells rows apart besides their text: uint64[rows], or empty without any.

        groups: columns that must be equal. rows: how many there are.
        """
        if not groups:
            return np.zeros(0, np.uint64)
        salts = np.zeros(rows, np.uint64)
        for column in groups:
            low = np.where(valid_bytes(column).astype(bool), digests_of(column)[:, 0], NULL_SALT)
            salts = (salts * SALT_STEP ^ low) * GOLDEN_RATIO
            salts ^= salts >> np.uint64(32)
        return salts

    def sets(self, batch: pa.RecordBatch) -> RowSets:
        """The shingle sets of a batch: the columns of documents, then those of `--within`."""
        texts = self.texts(batch)
        groups = [plain_values(column) for column in batch.columns[self.fields :]]
        hashes, offsets, repeats, repeat_offsets, words = set_rows(
            texts.data,
            texts.offsets,
            texts.valid,
            self.tables,
            self.rules,
            self.field_salts,
            self.row_salts(groups, batch.num_rows),
        )
        return RowSets(self.fields, offsets, hashes, words, repeat_offsets, repeats)


def _field_salts(names: Sequence[str]) -> Array:
    """A salt for each field by its name, and by the names of those beside it."""
    if len(names) == 1:
        return np.zeros(1, np.uint64)
    together = "\0".join(names)
    return digests_of(pa.array([f"{together}\0\0{name}" for name in names]))[:, 0].copy()


def plain_values(column: pa.Array) -> pa.Array:
    """Values without dictionary or views, and all kinds of strings as one type."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.large_string())
    if column.type == pa.binary_view():
        column = column.cast(pa.large_binary())
    return column


def digests_of(values: pa.Array) -> Array:
    """128-bit digests of plain values as text, uint64[rows, 2]; of those that are there."""
    binary = pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type)
    if pa.types.is_fixed_size_binary(values.type):
        values, binary = values.cast(pa.binary()), True
    texts = as_large_string(values if binary or is_text(values.type) else values.cast(pa.string()))
    buffers = text_buffers(texts)
    digests = np.zeros((len(values), 2), np.uint64)
    digest_rows(buffers.data, buffers.offsets, SECRET, digests)
    return digests
