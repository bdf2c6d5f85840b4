"""Test sets: read once, and held in memory as what a corpus streams past.

A question of 10 shingles or more is looked for by containment; a shorter one with its answer, both
as whole token sequences. Where most tokens of a text are of scripts written without spaces, each of
which is a character, shingles have twice as many of them, and so has the stretch in which a short
question stands with its answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dedupe.arrays import Array, numbers, text_buffers
from dedupe.contamination.job import ITEMS, PASSAGE_PART, QUESTION_PART, ItemsResult
from dedupe.corpus import Projection, Shard, first_rows, plan_slices, read_slice
from dedupe.documents.columns import plain_texts
from dedupe.documents.rules import ANSWERERS
from dedupe.documents.template import TURNS
from dedupe.errors import RowError, SettingsError
from dedupe.evals import ANSWER, CHOICES, LEAST_CONTAINMENT, PARTS, PASSAGE, QUESTION, as_json
from dedupe.kernels.contain import (
    OF_ANCHOR,
    OF_ENTRY,
    Entries,
    Shingles,
    Shorts,
    by_rarity,
    distinct_lists,
    list_shingles,
    number_shingles,
    post_prefixes,
    token_rows,
)
from dedupe.kernels.rows import TextRules
from dedupe.kernels.text import DIGEST_NOTHING
from dedupe.kernels.unicode import load_tables
from dedupe.shingling import IGNORE_BITS
from dedupe.tasks.artifacts import Left
from dedupe.tasks.job import EvalSets, Job

ROLE_LINES = rf"(?mi)^({'|'.join((*ANSWERERS, 'user', 'human', 'prompter'))})\n"
"""Lines that say whose turn follows: a question is the same whoever asks it."""

LEAST_SHINGLES = 10
"""Distinct shingles that an item must have, and must keep where common ones are left out: with
fewer, ordinary sentences are taken for items."""
MOST_TOKENS = 50
"""Tokens from the first to the last of a short question and its answer."""
SPACELESS_FACTOR = 2
"""Tokens of scripts without spaces that count as one of others."""
NEVER_CHECKED = (
    "no question",
    "a short question without an answer",
    f"a short question and its answer have more than {MOST_TOKENS} words",
    f"fewer than {LEAST_SHINGLES} different shingles",
)
"""Why items are uncheckable, whatever the corpus is."""
ALL_COMMON = f"fewer than {LEAST_SHINGLES} shingles that are not common"
"""Why items are uncheckable because of the corpus."""
SHINGLE_BYTES = 80
"""Memory for each shingle of an item: its hash, two slots of the table, counts, its postings."""
TOKEN_BYTES = 24
"""Memory for each token of an item, read and brought together."""
ITEM_BYTES = 200
"""Memory for each item besides."""
LEAST_BITS = 4
"""Bits of the number of slots of the smallest table."""
FILTER_BITS = 8
"""Bits of a filter for each shingle, at least: then it lets one in 20 of the others pass."""
ANCHOR_TOKENS = 3
"""Tokens of a short question by which it is looked up, at most: few sizes are soon looked up."""


def words_of(job: Job) -> TextRules:
    """How texts become tokens: as everywhere in the run, one at a time."""
    settings = job.settings
    return TextRules(
        chars=False,
        shingle_size=1,
        ignore=sum(IGNORE_BITS[one] for one in settings.ignored),
        numbers=False,
        replace=settings.on_bad_text == "replace",
        digest=DIGEST_NOTHING,
    )


def items_task(job: Job, evals: EvalSets, task: int) -> ItemsResult:
    """Read the test sets; leaves `ITEMS`.

    job: of the run. evals: the test sets. task: 0. Raises CorpusError for what cannot be read.
    """
    counted = {"rows": 0, "tokens": 0, "shingles": 0}
    rows = [0] * len(evals.shards)

    def batches() -> Iterator[pa.RecordBatch]:
        for number, shard in enumerate(evals.shards):
            for batch in _items_of(job, evals, number, shard, rows[number]):
                rows[number] += batch.num_rows
                counted["rows"] += batch.num_rows
                for part in (QUESTION, PASSAGE):
                    counted["shingles"] += len(batch.column(part).flatten())
                counted["tokens"] += sum(len(batch.column(part).flatten()) for part in PARTS)
                yield batch

    files = ITEMS.write(job.work, task, batches())
    read = [
        [shard.path, count, as_json(parts)]
        for shard, count, parts in zip(evals.shards, rows, evals.parts, strict=True)
    ]
    return ItemsResult(
        rows=counted["rows"],
        files=files,
        tokens=counted["tokens"],
        shingles=counted["shingles"],
        read=read,
    )


def _items_of(
    job: Job, evals: EvalSets, number: int, shard: Shard, first: int
) -> Iterator[pa.RecordBatch]:
    """The items of a file."""
    parts = evals.parts[number]
    names = [name for name in (evals.ids[number], evals.benchmarks[number]) if name is not None]
    projection = Projection(tuple(parts.values()), others=tuple(dict.fromkeys(names)), named=True)
    tables, rules, plain = load_tables(), words_of(job), evals.asked.shingle_size
    sizes = {False: plain, True: SPACELESS_FACTOR * plain}
    for slice_ in plan_slices(shard, projection.text_columns, 1 << 62, 1 << 62):
        for batch in read_slice(shard, slice_, projection, batch_bytes=job.sizes.batch):
            columns: dict[str, pa.Array] = {}
            size_of: dict[str, Array] = {}
            texts_of = dict(zip(parts, batch.columns, strict=False))
            for part, template in parts.items():
                if any(path.aspect in TURNS for path in template.paths):
                    texts_of[part] = without_roles(texts_of[part])
            if CHOICES in texts_of:
                texts_of[ANSWER] = chosen(texts_of[ANSWER], texts_of.pop(CHOICES))
            for part, texts in texts_of.items():
                buffers = text_buffers(texts)
                hashes, bounds, spaceless, bad = token_rows(
                    buffers.data, buffers.offsets, buffers.valid, tables, rules
                )
                for row in np.flatnonzero(bad >= 0)[:1].tolist():
                    where = first_rows(shard, [slice_])[0] + first + row
                    raise RowError(
                        f"its {part} is not valid UTF-8 at byte {bad[row]}: mend it, or run with "
                        "--on-bad-text replace",
                        path=shard.path,
                        row=where,
                    )
                columns[part] = pa.LargeListArray.from_arrays(pa.array(bounds), pa.array(hashes))
                alone = 2 * spaceless > np.diff(bounds)
                size_of[part] = np.where(alone, sizes[True], sizes[False]).astype(np.uint32)
            count = batch.num_rows
            nothing = pa.LargeListArray.from_arrays(
                pa.array(np.zeros(count + 1, np.int64)), pa.array([], pa.uint64())
            )
            shown = dict(zip(batch.schema.names, batch.columns, strict=True))
            sort = evals.benchmarks[number]
            yield pa.RecordBatch.from_arrays(
                [
                    pa.array(np.full(count, number, np.uint32)),
                    pa.array(np.arange(first, first + count)),
                    _as_text(shown.get(evals.ids[number] or ""), count),
                    _as_text(shown.get(sort or ""), count).fill_null(shard.path),
                    pa.array(size_of[QUESTION]),
                    pa.array(size_of.get(PASSAGE, size_of[QUESTION])),
                    columns[QUESTION],
                    columns.get(ANSWER, nothing),
                    columns.get(PASSAGE, nothing),
                ],
                schema=ITEMS.columns,
            )
            first += count


def without_roles(texts: pa.Array) -> pa.Array:
    """Turns of a chat without the lines that say whose they are: large_string."""
    return pc.replace_substring_regex(texts, ROLE_LINES, "")


def chosen(answers: pa.Array, choices: pa.Array) -> pa.Array:
    """The answers of multiple choice questions as texts: large_string.

    answers: the number of a choice from 0, its letter, its label, or already its text. choices: one
    in each line, or their labels and their texts as `documents` renders such an object.
    """
    said, offered = (column.cast(pa.large_binary()).to_pylist() for column in (answers, choices))
    found = [_choice(*pair) for pair in zip(said, offered, strict=True)]
    return pa.array(found, pa.large_binary()).view(pa.large_string())


def _choice(answer: bytes | None, offered: bytes | None) -> bytes | None:
    if answer is None or offered is None:
        return answer
    labels, both, texts = offered.partition(b"\ntext\n")
    if both and labels.startswith(b"label\n"):
        named, lines = labels.split(b"\n")[1:], texts.split(b"\n")
        place = named.index(answer) if answer in named else len(lines)
    else:
        lines = offered.split(b"\n")
        place = int(answer) if answer.isdigit() and len(answer) < 3 else len(lines)
        if len(answer) == 1 and answer.isalpha():
            place = ord(answer.upper()) - ord("A")
    return lines[place] if place < len(lines) else answer


def _as_text(column: pa.Array | None, count: int) -> pa.Array:
    """An id, or the name of a test set, as text."""
    if column is None or pa.types.is_null(column.type):
        return pa.nulls(count, pa.large_string())
    return plain_texts(column).cast(pa.large_string())


@dataclass(frozen=True)
class Items:
    """All items in memory.

    file, row: of each, uint32 and int64. ids, benchmarks: large_string. sizes, passage_sizes:
    int64, tokens in a shingle. tokens: uint64, those of all questions, then those of all passages.
    begins, stops: int64[2, items], where the question and the passage of each are in them.
    answer_bounds, answers: int64[items + 1] and uint64, the tokens of answers.
    """

    file: Array
    row: Array
    ids: pa.Array
    benchmarks: pa.Array
    sizes: Array
    passage_sizes: Array
    tokens: Array
    begins: Array
    stops: Array
    answer_bounds: Array
    answers: Array

    def __len__(self) -> int:
        return len(self.file)

    @classmethod
    def read(cls, job: Job, files: Left) -> Items:
        """From what the task of items left."""
        table = pa.Table.from_batches(ITEMS.read(job.work, files, None), ITEMS.columns)
        bounds, values = {}, {}
        for part in PARTS:
            chunks = table[part].chunks
            sizes = [np.diff(numbers(chunk.offsets)) for chunk in chunks]
            bounds[part] = np.cumsum(np.concatenate([np.zeros(1, np.int64), *sizes]))
            flat = [numbers(chunk.flatten()) for chunk in chunks]
            values[part] = np.concatenate([np.zeros(0, np.uint64), *flat])
        behind = len(values[QUESTION])
        both = np.stack([bounds[QUESTION], bounds[PASSAGE] + behind])
        return cls(
            file=numbers(table["file"]),
            row=numbers(table["row"]),
            ids=table["id"].combine_chunks(),
            benchmarks=table["benchmark"].combine_chunks(),
            sizes=numbers(table["size"]).astype(np.int64),
            passage_sizes=numbers(table["passage_size"]).astype(np.int64),
            tokens=np.concatenate([values[QUESTION], values[PASSAGE]]),
            begins=np.ascontiguousarray(both[:, :-1]),
            stops=np.ascontiguousarray(both[:, 1:]),
            answer_bounds=bounds[ANSWER],
            answers=values[ANSWER],
        )

    @property
    def lengths(self) -> Array:
        """Tokens of the question and of the passage of each: int64[2, items]."""
        lengths: Array = self.stops - self.begins
        return lengths


@dataclass(frozen=True)
class Block:
    """What a corpus is held against.

    items: all of them. entry_items, entry_parts: int64, of each text that is looked for by
    containment. entry_bounds, entry_numbers: int64 and uint32, the shingles of each, each once and
    sorted. shingles: of all items. count: how many these are. shorts, short_items: items with short
    questions, and their numbers. why: int8[items], place in `NEVER_CHECKED`, -1 for an item that is
    looked for.
    """

    items: Items
    entry_items: Array
    entry_parts: Array
    entry_bounds: Array
    entry_numbers: Array
    shingles: Shingles
    count: int
    shorts: Shorts
    short_items: Array
    why: Array

    @classmethod
    def of(cls, items: Items, plain: int) -> Block:
        """From the items, see the top of this file; plain: tokens in a shingle of most scripts."""
        lengths = items.lengths
        answered = np.diff(items.answer_bounds)
        sizes = np.stack([items.sizes, items.passage_sizes])
        is_long = lengths >= LEAST_SHINGLES + sizes - 1
        most = np.where(items.sizes > plain, SPACELESS_FACTOR, 1) * MOST_TOKENS
        is_short = ~is_long[0] & (lengths[0] > 0)
        why = np.full(len(items), -1, np.int8)
        why[lengths[0] == 0] = 0
        why[is_short & (answered == 0)] = 1
        why[is_short & (answered > 0) & (lengths[0] + answered > most)] = 2
        parts, of = np.nonzero(is_long)
        entry_sizes = sizes[parts, of]
        values, bounds = list_shingles(
            items.tokens, items.begins[parts, of], items.stops[parts, of], entry_sizes
        )
        short_items = np.flatnonzero(is_short & (why < 0))
        anchors, places, anchor_sizes = _anchors(items, short_items)
        shingles = _room_for((entry_sizes, np.diff(bounds)), (anchor_sizes, anchor_sizes > 0))
        of_entries = number_shingles(values, bounds, entry_sizes, OF_ENTRY, 0, shingles)
        count = _end(of_entries)
        each = np.arange(len(anchors) + 1)
        of_anchors = number_shingles(anchors, each, anchor_sizes, OF_ANCHOR, count, shingles)
        count = max(count, _end(of_anchors))
        of_entries, bounds = distinct_lists(of_entries, bounds)
        few = (parts == QUESTION_PART) & (np.diff(bounds) < LEAST_SHINGLES)
        why[of[few]] = 3
        order = np.argsort(of_anchors, kind="stable")
        shorts = _shorts(items, short_items[order], of_anchors[order], places[order], most)
        return cls(
            items, of, parts, bounds, of_entries, shingles, count, shorts, short_items[order], why
        )

    def entries(self, rows: Array, common: Array) -> tuple[Entries, Array]:
        """What is left of entries without common shingles, and which entries are looked for.

        rows: uint32 for each shingle, the rows in which it stands. common: uint8, whether it is
        left out.
        """
        numbers_left, bounds = by_rarity(self.entry_numbers, self.entry_bounds, rows, common)
        left = np.diff(bounds)
        checked = left >= LEAST_SHINGLES
        needed = least_of(left, LEAST_CONTAINMENT)
        needed[~checked] = left[~checked] + 1  # without a prefix, nothing is found
        of, parts = self.entry_items, self.entry_parts
        sizes = np.where(parts == PASSAGE_PART, self.items.passage_sizes[of], self.items.sizes[of])
        spans = 2 * self.items.lengths[parts, of] - sizes
        starts = np.zeros(self.count + 1, np.uint32)
        postings = post_prefixes(numbers_left, bounds, needed, starts)
        return Entries(bounds, numbers_left, needed, spans, starts, postings), checked


def least_of(counts: Array, share: float) -> Array:
    """The least whole numbers that are a share or more of some counts: int64."""
    least = np.ceil(counts * share).astype(np.int64)
    with np.errstate(invalid="ignore", divide="ignore"):
        least -= (least - 1) / counts >= share
        least += least / counts < share
    return least


def _end(numbers: Array) -> int:
    """The number behind the highest; 0 where there are none."""
    return int(numbers.max()) + 1 if len(numbers) else 0


def _room_for(*counted: tuple[Array, Array]) -> Shingles:
    """An empty table for shingles.

    counted: tokens in a shingle of some lists, and how many shingles each of these has.
    """
    sizes, counts = (
        np.concatenate(column).astype(np.int64) for column in zip(*counted, strict=True)
    )
    bits = _bits_for(int(counts.sum()) * 4 // 3)
    every, which = np.unique(sizes, return_inverse=True)
    of_size = np.bincount(which, counts, len(every)).astype(np.int64).tolist()
    words = [_bits_for(FILTER_BITS * count // 64) for count in of_size]
    ends = np.cumsum([0, *(1 << one for one in words)])
    return Shingles(
        table=np.zeros(2 << bits, np.uint64),
        shift=64 - bits,
        sizes=every,
        filters=np.zeros(ends[-1], np.uint64),
        filter_starts=ends[:-1],
        filter_shifts=64 - np.array(words, np.int64),
    )


def _bits_for(count: int) -> int:
    """Bits of the number of places, at least so many, of which kernels take a hash's upper bits."""
    return max(count.bit_length(), LEAST_BITS)


def _anchors(items: Items, chosen: Array) -> tuple[Array, Array, Array]:
    """The rarest few tokens of each short question: (hash, place in the question, how many)."""
    lengths = items.lengths[0, chosen]
    sizes = np.minimum(ANCHOR_TOKENS, lengths)
    values, bounds = list_shingles(
        items.tokens, items.begins[0, chosen], items.stops[0, chosen], sizes
    )
    if not len(values):
        return np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.int64)
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    places = np.arange(len(values)) - np.repeat(bounds[:-1], np.diff(bounds))
    best = np.minimum.reduceat(counts[which] << np.int64(16) | places, bounds[:-1])
    places = best & np.int64(0xFFFF)
    return values[bounds[:-1] + places], places, sizes


def _shorts(items: Items, chosen: Array, anchors: Array, places: Array, most: Array) -> Shorts:
    """Short items as kernels take them, in the order of their anchors."""
    starts = np.flatnonzero(np.diff(anchors.astype(np.int64), prepend=-1))
    lengths, answered = items.lengths[0, chosen], np.diff(items.answer_bounds)[chosen]
    return Shorts(
        anchors=anchors[starts],
        bounds=np.append(starts, len(chosen)).astype(np.int64),
        places=places,
        question_bounds=_bounds(lengths),
        questions=_gathered(items.tokens, items.begins[0, chosen], lengths),
        answer_bounds=_bounds(answered),
        answers=_gathered(items.answers, items.answer_bounds[chosen], answered),
        most=most[chosen].astype(np.int64),
    )


def _bounds(lengths: Array) -> Array:
    bounds: Array = np.cumsum(np.concatenate([np.zeros(1, np.int64), lengths]))
    return bounds


def _gathered(values: Array, begins: Array, lengths: Array) -> Array:
    """values[begins[i] : begins[i] + lengths[i]] of all i, one after the other."""
    ends = _bounds(lengths)
    places = np.arange(ends[-1]) + np.repeat(begins - ends[:-1], lengths)
    gathered: Array = values[places]
    return gathered


def check_memory(job: Job, found: ItemsResult) -> None:
    """Raise SettingsError where memory does not hold the items beside the rows that stream past.

    job: of the run. found: what was read of test sets.
    """
    need = found.shingles * SHINGLE_BYTES + found.tokens * TOKEN_BYTES + found.rows * ITEM_BYTES
    threads = max(job.sizes.memory // job.sizes.task_memory, 1)
    streaming = threads * job.planner.costs.text_copies * job.sizes.batch
    available = job.sizes.memory
    if need + streaming > available:
        raise SettingsError(
            f"{found.rows:,} items with {found.shingles:,} shingles need {need / 1e9:.1f}GB of "
            f"memory, and {max(available - streaming, 0) / 1e9:.1f}GB are there: raise --memory, "
            "or give fewer test sets at a time"
        )
