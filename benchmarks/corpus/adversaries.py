"""Corpora that break naive methods: a row is a function of its number alone.

Words have five letters, rows 205 words (1,229 bytes), so 201 shingles of five words: two rows that
share all but d of theirs have a Jaccard similarity of (201 - d) / (201 + d). Rows with a prompt and
a completion are about one passage of 300 words: as a whole any two reach 0.8, in one field none do.
"""

from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from benchmarks.corpus.documents import GOLDEN, mix
from benchmarks.corpus.make import BLOCK, write_corpus

Rows = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint32]
SCHEMA = pa.schema([("text", pa.large_string())])
FIELDS = pa.schema([("prompt", pa.large_string()), ("completion", pa.large_string())])
WORDS, PLACES = 205, np.arange(205)
SHORT = 48  # characters of ordinary text beside which the shortest rows are measured
# Values of each slot of `template_of_lists`, a prime, and the places of the 13 slots.
LISTED, SLOTS = 1009, np.arange(10, 200, 15)
FREE = 8  # slots whose values decide the others: two rows differ in at least 13 - 8 + 1 of them
STEP = 20  # words by which a row of the chain is ahead of the one before it
EDITS = 5  # words that a row of `star` has of its own, anywhere; they touch up to 25 shingles
BASES = 20  # texts of `several_bases`, which share their first half
EDIT = np.arange(7)  # words that a row of `near_family` has of its own; they touch 11 shingles


def random_bits(numbers: Any, purpose: int) -> npt.NDArray[np.uint64]:
    """Pseudo-random 64 bits for each number (splitmix64)."""
    start = np.uint64(purpose * 0x632BE59BD9B4E019 % 2**64)
    return mix(np.asarray(numbers).astype(np.uint64) * GOLDEN + start)


def word(numbers: Any, purpose: int) -> Words:
    """One of 2**20 words for each number."""
    return (random_bits(numbers, purpose) >> np.uint64(44)).astype(np.uint32)


def own(rows: Rows) -> Words:
    """Rows that share nothing."""
    return word(rows[:, None] * WORDS + PLACES, 1)


def form(rows: Rows) -> Words:
    """The same row again and again."""
    return np.tile(word(PLACES, 3), (len(rows), 1))


def template(rows: Rows) -> Words:
    """One template and an end of one's own: of any two rows the longer own end decides.

    The template's 138 to 176 words have 134 to 172 shingles: Jaccard 0.5 to 0.748.
    """
    length = 138 + random_bits(rows, 2) % np.uint64(39)
    return np.where(length[:, None] > PLACES, form(rows), own(rows))


def template_of_lists(rows: Rows) -> Words:
    """One template with 13 slots, each filled from a list of 1,009 values.

    The values are a Reed-Solomon code word: two rows differ in 6 to 13 slots, and so in 30 to 65
    shingles: Jaccard 0.511 to 0.740.
    """
    value = np.zeros((len(rows), len(SLOTS)), np.int64)
    for k in range(FREE):
        coefficient = (random_bits(rows * FREE + k, 4) % np.uint64(LISTED)).astype(np.int64)
        value = (value * np.arange(1, len(SLOTS) + 1) + coefficient[:, None]) % LISTED
    words = form(rows)
    words[:, SLOTS] = word(np.arange(len(SLOTS)) * LISTED + value, 5)
    return words


def copies(rows: Rows) -> Words:
    """Every other row is the same row; the others share nothing."""
    return np.where((rows % 2 == 0)[:, None], form(rows), own(rows))


def chain(rows: Rows) -> Words:
    """Windows over one long text: Jaccard 0.819 with the next row, 0.668 with the one after it."""
    return word(rows[:, None] * STEP + PLACES, 6)


def near_family(rows: Rows) -> Words:
    """One text in which each row has changed seven words in a row: any two have 0.803 or more.

    Two of them spell the row's number, so that no two rows are equal.
    """
    words = form(rows)
    places = (4 + random_bits(rows, 7) % np.uint64(191)).astype(np.int64)[:, None] + EDIT
    values = word(rows[:, None] * len(EDIT) + EDIT, 8)
    values[:, 2], values[:, 4] = rows & 0xFFFFF, rows >> 20
    np.put_along_axis(words, places, values, axis=1)
    return words


def _edited(words: Words, rows: Rows) -> Words:
    """Five words of each row, anywhere, are its own."""
    numbers = rows[:, None] * EDITS + np.arange(EDITS)
    places = (random_bits(numbers, 12) % np.uint64(WORDS)).astype(np.int64)
    np.put_along_axis(words, places, word(numbers, 13), axis=1)
    return words


def star(rows: Rows) -> Words:
    """One text of which each row has changed five words: about 0.78 with it, 0.6 among all."""
    return _edited(form(rows), rows)


def several_bases(rows: Rows) -> Words:
    """Twenty texts that share a half, and each row one of them with five words changed."""
    words, base = form(rows), (random_bits(rows, 14) % np.uint64(BASES)).astype(np.int64)
    half = PLACES[WORDS // 2 :]
    words[:, half] = word(base[:, None] * WORDS + half, 15)
    return _edited(words, rows)


def answers(rows: Rows) -> Words:
    """One prompt of 308 words, answers of 20: as a whole 304 / 336 = 0.905, the answers 0."""
    same = np.tile(word(np.arange(308), 9), (len(rows), 1))
    return np.hstack([same, word(rows[:, None] * 20 + np.arange(20), 10)])


def questions(rows: Rows) -> Words:
    """A passage of 300 words, questions and one answer of 40: 332 / 412 = 0.806, prompts 0.787."""
    same = np.tile(word(np.arange(340), 9), (len(rows), 1))
    asked = word(rows[:, None] * 40 + np.arange(40), 11)
    return np.hstack([same[:, :300], asked, same[:, 300:]])


# What it is, what makes its words, whether rows have but the first word or none, and the number of
# the word with which the completion begins where rows have fields.
Adversary = namedtuple("Adversary", "what words short completion", defaults=[False, None])
ADVERSARIES = {
    "template": Adversary("one template, Jaccard 0.5-0.75 among all", template),
    "lists": Adversary("one template with values from lists, 0.51-0.74", template_of_lists),
    "copies": Adversary("one row in half of all places", copies),
    "chain": Adversary("a chain: 0.82 with the next row, 0.67 with the one after", chain),
    "near": Adversary("one family, all distinct, 0.8 or more among all", near_family),
    "star": Adversary("one text with five words changed, most below 0.8", star),
    "bases": Adversary("twenty texts that share a half, five words changed", several_bases),
    "unique": Adversary("all rows unique", own),
    "short": Adversary("all rows empty or one word", own, short=True),
    "answers": Adversary("one prompt about a passage, other answers", answers, completion=308),
    "questions": Adversary("one passage and answer, other questions", questions, completion=340),
}


def texts(adversary: Adversary, rows: Rows, part: slice = slice(None)) -> pa.Array:
    """The documents of rows: each word is five letters and a space, the last without a space."""
    words = adversary.words(rows)[:, part]
    sizes = np.full(len(rows), 6 * words.shape[1] - 1)
    if adversary.short:
        words, sizes = words[:, :1][rows % 2 == 1], np.where(rows % 2, 5, 0)
    letters = (words[:, :, None] >> np.array([16, 12, 8, 4, 0]) & 15) + ord("a")
    spelled = np.pad(letters.astype(np.uint8), ((0, 0), (0, 0), (0, 1)), constant_values=ord(" "))
    data = spelled.reshape(len(words), -1)[:, :-1].tobytes()
    buffers = [pa.py_buffer(np.append(0, np.cumsum(sizes))), pa.py_buffer(data)]
    return pa.LargeStringArray.from_buffers(len(rows), *buffers)


def make(adversary: Adversary, rows: int, folder: Path) -> None:
    """Write a corpus of so many rows."""
    schema, parts, at = SCHEMA, [slice(None)], adversary.completion
    if at is not None:
        schema, parts = FIELDS, [slice(at), slice(at, None)]

    def batch(numbers: Rows) -> pa.RecordBatch:
        return pa.record_batch([texts(adversary, numbers, part) for part in parts], schema=schema)

    write_corpus(folder, rows, schema, batch)


def make_short(corpus: str, folder: Path) -> None:
    """Write the beginnings of ordinary texts."""
    beginning = pc.utf8_slice_codeunits(ds.field("text"), 0, SHORT)
    table = ds.dataset(corpus, format="parquet").to_table({"text": beginning}).cast(SCHEMA)
    folder.mkdir()
    pq.write_table(table, folder / "part-00000.parquet", compression="zstd", row_group_size=BLOCK)


def make_fields(corpus: str, folder: Path, rows: int) -> None:
    """Write so many ordinary texts as rows with fields: the first sentence, and the rest."""
    found = ds.dataset(corpus, format="parquet").head(rows, columns=["text"])["text"].to_pylist()
    cut = [(text or "").partition(". ") for text in found]
    table = pa.table([[first for first, _, _ in cut], [rest for _, _, rest in cut]], schema=FIELDS)
    folder.mkdir()
    pq.write_table(table, folder / "part-00000.parquet", compression="zstd", row_group_size=BLOCK)
