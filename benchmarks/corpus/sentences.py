"""Real text, cut into sentences of *units*: a unit is one token with the separators after it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numba import njit

DOCUMENT_CAP = 16_384  # bytes read of one source document, so that no giant dominates the pool
SHORTEST, LONGEST = 4, 40  # units of a sentence
LONGEST_UNIT = 100  # bytes
GROUP_SENTENCES = 2_000  # languages with fewer sentences share one group


class Pool(NamedTuple):
    """Sentences of real text: group g holds the sentences [groups[g], groups[g + 1]).

    Group 0 is ASCII, 1 is English but not ASCII, each further one is of another language. `starts`
    has the first byte of each unit in `data`, `sentences` the first unit of each sentence, both
    with the end. `tags` has the number of each sentence's source.
    """

    data: Any
    starts: Any
    sentences: Any
    groups: Any
    tags: Any


@njit(cache=True)
def _classify(data, i, end):
    """(class, bytes) of the code point at i: 0 separator, 1 letter, 2 token alone, 3 mark of 2.

    An approximation of the engine's tokens, good enough to aim edits with.
    """
    c = data[i]
    if c < 0x80:
        letter = 48 <= c <= 57 or 65 <= c <= 90 or 97 <= c <= 122 or c == 95
        return (1 if letter else 0), 1
    d = data[i + 1] if i + 1 < end else 0
    if c < 0xE0:
        separator = (c == 0xC2 and d not in (0xAA, 0xB5, 0xBA)) or (c == 0xC3 and d in (0x97, 0xB7))
        return (0 if separator else 1), 2
    if c >= 0xF0:
        return (0 if c == 0xF0 and d == 0x9F else 2), 4
    e = data[i + 2] if i + 2 < end else 0
    if c == 0xE0 and 0xB8 <= d <= 0xBF:  # Thai, Lao, Tibetan
        above = d in (0xB8, 0xBA) and (e == 0xB1 or e >= 0xB4)
        return (3 if above or (d in (0xB9, 0xBB) and 0x87 <= e <= 0x8E) else 2), 3
    if c == 0xE1 and (0x80 <= d <= 0x82 or 0x9E <= d <= 0x9F):  # Myanmar, Khmer
        return 2, 3
    if c == 0xE2:
        return (0 if d < 0xB0 else 1), 3
    if c == 0xE3:
        return (0 if d == 0x80 else 2), 3
    if 0xE4 <= c <= 0xE9:
        return 2, 3
    full_width = c == 0xEF and d == 0xBC and (e < 0x90 or 0x9A <= e <= 0xA0)
    return (0 if full_width else 1), 3


@njit(cache=True)
def _ends_sentence(data, i, end):
    """Whether the separators in [i, end) end a sentence."""
    newlines = 0
    while i < end:
        c = data[i]
        newlines += c == 10
        latin = (c == 33 or c == 46 or c == 63) and (i + 1 == end or data[i + 1] <= 34)
        last = data[i + 2] if i + 2 < end else 0
        wide = (c == 0xE3 and last == 0x82) or (c == 0xEF and (last == 0x81 or last == 0x9F))
        if latin or wide or newlines == 2:
            return True
        i += 1
    return False


@njit(cache=True, nogil=True)
def _cut(data, offsets):
    """Cut documents into units and sentences.

    Returns the end of each unit, the first unit of each sentence (one more at the end), and of each
    sentence the first byte, its document, a 64-bit hash, and whether it is ASCII. The document is
    -1 where a sentence is too short or has too long a unit.
    """
    room = offsets[-1] // 2 + 2 * len(offsets) + 2
    ends = np.empty(room, np.int32)
    most = room // 2 + 2
    first, begin, document = np.empty((3, most), np.int32)
    digest, is_ascii = np.empty(most, np.uint64), np.empty(most, np.bool_)
    units, sentences = 0, 0
    for row in range(len(offsets) - 1):
        i, end = offsets[row], offsets[row + 1]
        if end - i > DOCUMENT_CAP:
            end = i + DOCUMENT_CAP
            while end > i and data[end] & 0xC0 == 0x80:
                end -= 1
        while i < end and _classify(data, i, end)[0] == 0:
            i += _classify(data, i, end)[1]
        start, count, good = i, 0, True
        while i < end:
            unit = i
            kind, size = _classify(data, i, end)
            i += size
            while i < end:
                after, size = _classify(data, i, end)
                if not (after == 3 or (kind == 1 and after == 1)):
                    break
                i += size
            separators = i
            while i < end:
                after, size = _classify(data, i, end)
                if after != 0:
                    break
                i += size
            i = min(i, end)
            ends[units] = i
            units += 1
            count += 1
            good = good and i - unit <= LONGEST_UNIT
            stop = count >= SHORTEST and _ends_sentence(data, separators, i)
            if stop or count == LONGEST or i >= end:
                h, highest = np.uint64(0xCBF29CE484222325), np.uint8(0)
                for b in range(start, i):
                    h = (h ^ np.uint64(data[b])) * np.uint64(0x100000001B3)
                    highest = max(highest, data[b])
                first[sentences], begin[sentences] = units - count, start
                document[sentences] = row if good and count >= SHORTEST else -1
                digest[sentences], is_ascii[sentences] = h, highest < 0x80
                sentences += 1
                start, count, good = i, 0, True
    first[sentences] = units
    return ends, first, begin, document[:sentences], digest, is_ascii


@njit(cache=True, nogil=True)
def _gather(data, ends, first, begin, chosen, pool):
    """Copy the chosen sentences into a pool; every one ends in white space."""
    byte, unit = 0, 0
    for k, s in enumerate(chosen):
        pool.sentences[k] = unit
        at = begin[s]
        for u in range(first[s], first[s + 1]):
            pool.starts[unit] = byte
            unit += 1
            while at < ends[u]:
                pool.data[byte] = data[at]
                byte += 1
                at += 1
        if pool.data[byte - 1] > 0x20:
            pool.data[byte] = 0x20
            byte += 1
    pool.sentences[len(chosen)] = unit
    pool.starts[unit] = byte


def read_pool(source: Path) -> tuple[Pool, pa.Array]:
    """The distinct sentences of a folder of English documents and of the text beside it, by group.

    `multilingual.parquet` beside the folder, where it is, has text of other languages. Returns the
    names of the sources as well.
    """
    tables = [pq.read_table(source, columns=["text", "source"])]
    langs = [pa.array(["en"] * tables[0].num_rows)]
    if (beside := source.parent / "multilingual.parquet").exists():
        table = pq.read_table(beside, columns=["text", "source", "lang"])
        langs.append(table["lang"].cast(pa.string()).combine_chunks())
        tables.append(table.drop_columns(["lang"]))
    schema = pa.schema([("text", pa.large_string()), ("source", pa.string())])
    table = pa.concat_tables([one.cast(schema) for one in tables])
    tag = table["source"].combine_chunks().dictionary_encode()
    lang = pa.concat_arrays(langs).dictionary_encode()
    texts = pa.concat_arrays(table["text"].fill_null("").chunks)
    offsets = np.frombuffer(texts.buffers()[1], np.int64)[: len(texts) + 1]
    if offsets[-1] >= 2**31 - 2**20:
        raise SystemExit(f"{source}: {offsets[-1]:,} bytes of text; at most 2 GiB can be a source")
    data = np.frombuffer(texts.buffers()[2], np.uint8)
    ends, first, begin, row, digest, is_ascii = _cut(data, offsets)
    good = np.flatnonzero(row >= 0)
    good = good[np.sort(np.unique(digest[good], return_index=True)[1])]

    names = lang.dictionary.to_pylist()
    language = lang.indices.to_numpy()[row[good]]
    english = language == names.index("en")
    rest = np.bincount(language[~english], minlength=len(names))
    by_name = sorted(range(len(names)), key=names.__getitem__)
    large = [k for k in by_name if rest[k] >= GROUP_SENTENCES]
    number = np.full(len(names), 2 + len(large))
    number[large] = np.arange(2, 2 + len(large))
    group = np.where(english, ~is_ascii[good], number[language])
    by_group = np.argsort(group, kind="stable")
    chosen = good[by_group]

    size = int((ends[first[chosen + 1] - 1] - begin[chosen]).sum()) + len(chosen)
    units = int((first[chosen + 1] - first[chosen]).sum())
    pool = Pool(
        data=np.empty(size, np.uint8),
        starts=np.empty(units + 1, np.int32),
        sentences=np.empty(len(chosen) + 1, np.int32),
        groups=np.searchsorted(group[by_group], np.arange(group.max() + 2)).astype(np.int32),
        tags=tag.indices.to_numpy()[row[chosen]].astype(np.int32),
    )
    _gather(data, ends, first, begin, chosen, pool)
    return pool, tag.dictionary
