"""Generate a large corpus from real sentences, with known copies and near-copies.

    python benchmarks/make_corpus.py OUT --rows N [--seed 1] [--source DIR]

OUT holds `part-00000.parquet`, ... (zstd, row groups of 20,000 rows) with the columns

| column   | type              | meaning                                                    |
|----------|-------------------|------------------------------------------------------------|
| `id`     | string            | 16 hexadecimal digits, unique                              |
| `text`   | large_string      | the document; null in 0.14 % of the rows                   |
| `source` | string            | source of a sentence of the document                       |
| `origin` | int64             | row number of the original, its own for originals          |
| `kind`   | dictionary string | `original`, `exact`, `format` (case, space, punctuation), `edit` |
| `target` | float32           | Jaccard aimed at with the original; null for originals     |

Row numbers count through the files in the order of their names. The corpus is a function of the
number of rows, the seed and the source text: of neither the machine nor the number of workers.

Method. The source is cut into sentences, and sentences into *units*: one token with the
separators after it. An original of nine units or more comes from at least three sentences. Every
row has its own counter-based random stream, keyed by its logical number, so that a copy makes
its original again instead of remembering it; logical numbers are scattered over the corpus by a
Feistel permutation. Cluster sizes are quantiles of a Pareto distribution. An edit replaces,
inserts and deletes units, drops spans or adds sentences until the Jaccard similarity of the word
5-gram sets reaches a target drawn from 0.5-1.0.

`origin` is truth by construction, not all of the truth: edits of one original are often
near-duplicates of each other, and rows of a few words coincide by chance.
"""

from __future__ import annotations

import argparse
import json
import time
import unicodedata
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from numba import njit

Ints = npt.NDArray[np.int64]

KINDS = ("original", "exact", "format", "edit")
ORIGINAL, EXACT, FORMAT, EDIT = range(4)
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.large_string()),
        ("source", pa.string()),
        ("origin", pa.int64()),
        ("kind", pa.dictionary(pa.int8(), pa.string())),
        ("target", pa.float32()),
    ]
)

COPY_SHARE = 0.3
PARETO = 1.25  # exponent of the cluster sizes
BLOCK = 20_000  # rows of a row group
DOCUMENT_CAP = 16_384  # bytes read of one source document, so that no giant dominates the pool
SENTENCE_UNITS = 4, 40  # shortest and longest sentence
GROUP_SENTENCES = 2_000  # languages with fewer sentences share one group
BIG_CLUSTER = 50  # copies from which on the original is of ordinary length
MIXED_SHARE = 0.02  # English documents with a few sentences that are not ASCII
NULL, PUNCTUATION = -1, -2  # lengths with a meaning of their own

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

# Typed constants: numba turns uint64 mixed with int64 into float64.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31, _S32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)
_SPACE = np.uint8(0x20)


# --- random numbers: splitmix64, one stream per (seed, purpose, number) ----------------------


@njit(cache=True)
def _mix(x: np.uint64) -> np.uint64:
    x = (x ^ (x >> _S30)) * _M1
    x = (x ^ (x >> _S27)) * _M2
    return x ^ (x >> _S31)


@njit(cache=True)
def _start(state: Any, seed: int, purpose: int, number: int) -> None:
    """Begin the stream of a number."""
    key = _mix(np.uint64(seed) * _GOLDEN + np.uint64(purpose))
    state[0] = _mix(key ^ _mix(np.uint64(number) + _GOLDEN))


@njit(cache=True)
def _below(state: Any, n: int) -> Any:
    """Draw an integer in [0, n), n < 2**31."""
    state[0] += _GOLDEN
    return np.int64(((_mix(state[0]) >> _S32) * np.uint64(n)) >> _S32)


@njit(cache=True)
def _unit_float(state: Any) -> float:
    return float(_below(state, 1 << 24) / 16777216.0)


@njit(cache=True)
def _permute(number: Any, rows: int, seed: int, inverse: bool) -> Any:
    """Permute [0, rows) pseudo-randomly: Feistel rounds, walked until inside."""
    half = 1
    while (1 << (2 * half)) < rows:
        half += 1
    mask = (1 << half) - 1
    x = number
    while True:
        a, b = x >> half, x & mask
        for step in range(4):
            turn = 3 - step if inverse else step
            key = np.uint64(seed) * _M1 + np.uint64(turn + 1) * _GOLDEN
            if inverse:
                a, b = b ^ (np.int64(_mix(key ^ np.uint64(a)) >> _S32) & mask), a
            else:
                a, b = b, a ^ (np.int64(_mix(key ^ np.uint64(b)) >> _S32) & mask)
        x = (a << half) | b
        if x < rows:
            return x


# --- source text to units and sentences ------------------------------------------------------


@njit(cache=True)
def _classify(data: Any, i: int, end: int) -> tuple[int, int]:
    """(class, bytes) of the code point at i: 0 separator, 1 letter, 2 token alone, 3 mark of 2.

    An approximation of the tokens of DESIGN section 3, good enough to aim edits with.
    """
    c = data[i]
    if c < 0x80:
        letter = 48 <= c <= 57 or 65 <= c <= 90 or 97 <= c <= 122 or c == 95
        return (1 if letter else 0), 1
    d = data[i + 1] if i + 1 < end else 0
    if c < 0xE0:
        separator = (c == 0xC2 and d not in (0xAA, 0xB5, 0xBA)) or (c == 0xC3 and d in (0x97, 0xB7))
        return (0 if separator else 1), 2
    if c < 0xF0:
        e = data[i + 2] if i + 2 < end else 0
        if c == 0xE0 and 0xB8 <= d <= 0xBF:  # Thai, Lao, Tibetan
            mark = (d in (0xB8, 0xBA) and (e == 0xB1 or e >= 0xB4)) or (
                d in (0xB9, 0xBB) and 0x87 <= e <= 0x8E
            )
            return (3 if mark else 2), 3
        if c == 0xE1 and (0x80 <= d <= 0x82 or 0x9E <= d <= 0x9F):  # Myanmar, Khmer
            return 2, 3
        if c == 0xE2:
            return (0 if d < 0xB0 else 1), 3
        if c == 0xE3:
            return (0 if d == 0x80 else 2), 3
        if 0xE4 <= c <= 0xE9:
            return 2, 3
        if c == 0xEF and (d == 0xBC and (e < 0x90 or 0x9A <= e <= 0xA0)):
            return 0, 3
        return 1, 3
    return (0 if c == 0xF0 and d == 0x9F else 2), 4


@njit(cache=True)
def _ends_sentence(data: Any, i: int, end: int) -> bool:
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
def _cut(
    data: Any, offsets: Any, labels: Any, cap: int, least: int, most: int
) -> tuple[Any, Any, Any, Any, Any]:
    """Cut documents into units and sentences.

    Returns the end of each unit, the first unit of each sentence (one more at the end), and of
    each sentence the first byte, the label of its document and a 64-bit hash; sentences shorter
    than `least` units or with a unit of more than 100 bytes get the label -1.
    """
    room = offsets[-1] // 2 + 2 * len(offsets) + 2
    ends = np.empty(room, np.int32)
    first = np.empty(room // 2 + 2, np.int32)
    begin = np.empty(room // 2 + 2, np.int32)
    label = np.empty(room // 2 + 2, np.int32)
    digest = np.empty(room // 2 + 2, np.uint64)
    units, sentences = 0, 0
    for row in range(len(offsets) - 1):
        i, end = offsets[row], offsets[row + 1]
        if end - i > cap:
            end = i + cap
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
            good = good and i - unit <= 100
            stop = count >= least and _ends_sentence(data, separators, i)
            if stop or count == most or i >= end:
                h = np.uint64(0xCBF29CE484222325)
                for b in range(start, i):
                    h = (h ^ np.uint64(data[b])) * np.uint64(0x100000001B3)
                first[sentences] = units - count
                begin[sentences] = start
                label[sentences] = labels[row] if good and count >= least else -1
                digest[sentences] = h
                sentences += 1
                start, count, good = i, 0, True
    first[sentences] = units
    return (
        ends[:units].copy(),
        first[: sentences + 1].copy(),
        begin[:sentences].copy(),
        label[:sentences].copy(),
        digest[:sentences].copy(),
    )


@njit(cache=True, nogil=True)
def _is_ascii(data: Any, begin: Any, ends: Any, first: Any) -> Any:
    out = np.ones(len(begin), np.bool_)
    for s in range(len(begin)):
        for i in range(begin[s], ends[first[s + 1] - 1]):
            if data[i] >= 0x80:
                out[s] = False
                break
    return out


@njit(cache=True, nogil=True)
def _gather(
    data: Any, ends: Any, first: Any, begin: Any, chosen: Any, out: Any, starts: Any, sentence: Any
) -> None:
    """Copy the chosen sentences into a pool; every one ends in white space."""
    byte, unit = 0, 0
    for k in range(len(chosen)):
        s = chosen[k]
        sentence[k] = unit
        at = begin[s]
        for u in range(first[s], first[s + 1]):
            starts[unit] = byte
            unit += 1
            while at < ends[u]:
                out[byte] = data[at]
                byte += 1
                at += 1
        if out[byte - 1] > 0x20:
            out[byte] = _SPACE
            byte += 1
    sentence[len(chosen)] = unit
    starts[unit] = byte


@dataclass(frozen=True)
class Pool:
    """Sentences of real text: group g holds the sentences [groups[g], groups[g + 1])."""

    data: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int32]  # first byte of each unit, and the end
    sentences: npt.NDArray[np.int32]  # first unit of each sentence, and the end
    groups: npt.NDArray[np.int32]  # 0 ASCII, 1 English but not ASCII, 2... other languages
    tags: npt.NDArray[np.int32]  # source of each sentence
    sources: pa.Array


def _text_buffers(texts: pa.ChunkedArray) -> tuple[npt.NDArray[np.uint8], Ints]:
    array = pa.concat_arrays(texts.cast(pa.large_string()).chunks)
    offsets = np.frombuffer(array.buffers()[1], np.int64)[: len(array) + 1]
    return np.frombuffer(array.buffers()[2], np.uint8), offsets


def _read_pool(source: Path, multilingual: Path | None) -> Pool:
    """Read the source text, cut it, and bring the distinct sentences together by group."""
    tables = [pq.read_table(source, columns=["text", "source"])]
    langs = [pa.array(["en"] * tables[0].num_rows)]
    if multilingual is not None:
        table = pq.read_table(multilingual, columns=["text", "source", "lang"])
        langs.append(table["lang"].cast(pa.string()).combine_chunks())
        tables.append(table.drop_columns(["lang"]))
    schema = pa.schema([("text", pa.large_string()), ("source", pa.string())])
    table = pa.concat_tables([t.cast(schema) for t in tables])
    table = table.set_column(0, "text", table["text"].fill_null(""))
    tag = table["source"].combine_chunks().dictionary_encode()
    lang = pa.concat_arrays(langs).dictionary_encode()
    order = lang.dictionary.to_pylist()
    data, offsets = _text_buffers(table["text"])
    if offsets[-1] >= 2**31 - 2**20:
        raise SystemExit(f"{source}: {offsets[-1]:,} bytes of text; at most 2 GiB can be a source")
    ends, first, begin, row, digest = _cut(
        data, offsets, np.arange(table.num_rows, dtype=np.int32), DOCUMENT_CAP, *SENTENCE_UNITS
    )
    good = np.flatnonzero(row >= 0)
    good = good[np.sort(np.unique(digest[good], return_index=True)[1])]
    language = lang.indices.to_numpy()[row[good]]
    english = language == order.index("en")
    group = np.where(english, np.where(_is_ascii(data, begin, ends, first)[good], 0, 1), 0)
    rest = np.bincount(language[~english], minlength=len(order))
    by_name = sorted(range(len(order)), key=order.__getitem__)
    large = [k for k in by_name if rest[k] >= GROUP_SENTENCES]
    number = np.full(len(order), 2 + len(large))
    number[large] = np.arange(2, 2 + len(large))
    group = np.where(english, group, number[language])
    by_group = np.argsort(group, kind="stable")
    chosen = good[by_group]
    size = int((ends[first[chosen + 1] - 1] - begin[chosen]).sum()) + len(chosen)
    out = np.empty(size, np.uint8)
    starts = np.empty(int((first[chosen + 1] - first[chosen]).sum()) + 1, np.int32)
    sentences = np.empty(len(chosen) + 1, np.int32)
    _gather(data, ends, first, begin, chosen, out, starts, sentences)
    return Pool(
        data=out[: starts[-1]].copy(),
        starts=starts,
        sentences=sentences,
        groups=np.searchsorted(group[by_group], np.arange(group.max() + 2)).astype(np.int32),
        tags=tag.indices.to_numpy()[row[chosen]].astype(np.int32),
        sources=tag.dictionary,
    )


# --- the plan: lengths and clusters -----------------------------------------------------------


def _length_table() -> npt.NDArray[np.int32]:
    """2**18 equally likely lengths in units: log-normal, with a Pareto tail and short rows."""
    size = 1 << 18
    special = [NULL] * (size // 500) + [0] * (size // 500) + [PUNCTUATION] * (size // 1000)
    short = [1 + k % 4 for k in range(size * 15 // 1000)]
    tail = size // 100
    pareto = [round(600 * ((k + 0.5) / tail) ** (-2 / 3)) for k in range(tail)]
    body = size - len(special) - len(short) - tail
    normal = NormalDist(4.62, 1.0)
    quantiles = [np.exp(normal.inv_cdf((k + 0.5) / body)) for k in range(body)]
    lengths = [max(5, round(q)) for q in quantiles]
    return np.array(special + short + pareto + lengths, np.int32)


def _cluster_ends(copies: int) -> Ints:
    """Add up the copies of clusters whose sizes are quantiles of a Pareto law."""

    def sizes(clusters: int) -> Ints:
        quantile = (np.arange(clusters) + 0.5) / clusters
        return np.floor(quantile ** (-1 / PARETO)).astype(np.int64)

    low, high = 0, copies
    while low < high:
        middle = (low + high + 1) // 2
        if sizes(middle).sum() <= copies:
            low = middle
        else:
            high = middle - 1
    chosen = sizes(low)
    left = copies - int(chosen.sum())
    if left:
        chosen = np.append(chosen, left)
    return np.concatenate([[0], np.cumsum(chosen)]).astype(np.int64)


# --- documents -------------------------------------------------------------------------------


@njit(cache=True)
def _pick_sentence(state: Any, groups: Any, group: int) -> Any:
    """Draw a sentence of a group; group 1 is mostly ASCII too."""
    if group == 1 and _below(state, 4) != 0:
        group = 0
    return groups[group] + _below(state, groups[group + 1] - groups[group])


@njit(cache=True)
def _pick_unit(state: Any, sentences: Any, groups: Any, group: int) -> Any:
    s = _pick_sentence(state, groups, group)
    return sentences[s] + _below(state, sentences[s + 1] - sentences[s])


@njit(cache=True)
def _compose(
    state: Any, sentences: Any, groups: Any, group: int, length: int, units: Any, n: int
) -> int:
    """Append `length` units from at least three random sentences; returns the new count."""
    most = max(4, length // 3)
    stop = n + length
    while n < stop:
        s = _pick_sentence(state, groups, group)
        a = sentences[s]
        size = sentences[s + 1] - a
        take = min(size, most, stop - n)
        if take < size:
            a += _below(state, size - take + 1)
        for k in range(take):
            units[n + k] = a + k
        n += take
    return n


@njit(cache=True)
def _original(
    state: Any,
    seed: int,
    number: int,
    sentences: Any,
    groups: Any,
    lengths: Any,
    cluster_ends: Any,
    shares: Any,
    units: Any,
) -> tuple[int, int]:
    """Units of an original; returns (count, or a special length; group)."""
    _start(state, seed, 1, number)
    draw = _unit_float(state)
    group = 0
    if draw < shares[0]:
        s = groups[2] + _below(state, groups[-1] - groups[2])
        group = 2
        while groups[group + 1] <= s:
            group += 1
    elif draw < shares[0] + shares[1]:
        group = 1
    length = lengths[_below(state, len(lengths))]
    if number < len(cluster_ends) - 1:
        copies = cluster_ends[number + 1] - cluster_ends[number]
        if copies > BIG_CLUSTER:
            length = 20 + _below(state, 380)
        length = max(length, 1)
    if length <= 0:
        return length, group
    n = 0
    if group == 1:
        s = groups[1] + _below(state, groups[2] - groups[1])
        n = min(length, sentences[s + 1] - sentences[s])
        for k in range(n):
            units[k] = sentences[s] + k
    return _compose(state, sentences, groups, group, length - n, units, n), group


@njit(cache=True)
def _edit_units(
    state: Any,
    target: float,
    sentences: Any,
    groups: Any,
    group: int,
    units: Any,
    n: int,
    changes: Any,
    out: Any,
) -> int:
    """Replace, insert and delete single units until the similarity reaches the target."""
    shingles = max(1, n - 4)
    changes[:n] = 0
    alive, grown = shingles, 0
    tries = 0
    while tries < 20 * n:
        tries += 1
        at = _below(state, n)
        if changes[at] & 3:
            continue
        op = 1 + _below(state, 3)
        if op == 3 and n + grown <= 5:
            op = 1
        grown += 1 if op == 2 else (-1 if op == 3 else 0)
        changes[at] |= op
        # Bit 2 marks the dead shingle that starts here; an insertion comes before its unit.
        for start in range(max(0, at - 4), min(at if op == 2 else at + 1, shingles)):
            if changes[start] & 4 == 0:
                changes[start] |= 4
                alive -= 1
        now = max(1, n + grown - 4)
        if alive <= target * (shingles + now - alive) + 4:
            break
    m = 0
    for k in range(n):
        op = changes[k] & 3
        if op == 1 or op == 2:
            out[m] = _pick_unit(state, sentences, groups, group)
            m += 1
        if op == 0 or op == 2:
            out[m] = units[k]
            m += 1
    return m


@njit(cache=True)
def _edit_drop(state: Any, target: float, units: Any, n: int, out: Any) -> int:
    """Leave out one to three spans; returns 0 where no span would be left out."""
    spans = 1 + _below(state, 3) if n >= 100 else 0
    shingles = max(1, n - 4)
    drop = round(shingles - 4 * spans - target * (shingles + 4 * spans))
    if drop < max(1, spans):
        spans = 0
        drop = round(shingles * (1.0 - target))
    if drop < 1:
        return 0
    m = 0
    if spans == 0:  # one end of the document
        m = n - drop
        shift = drop if _below(state, 2) == 0 else 0
        for k in range(m):
            out[k] = units[k + shift]
        return m
    segment = n // spans
    each = drop // spans
    for p in range(spans):
        size = each + (drop - each * spans if p == 0 else 0)
        end = n if p == spans - 1 else (p + 1) * segment
        size = min(size, end - p * segment)
        hole = p * segment + _below(state, end - p * segment - size + 1)
        for k in range(p * segment, end):
            if k < hole or k >= hole + size:
                out[m] = units[k]
                m += 1
    return m


@njit(cache=True)
def _edit_add(
    state: Any, target: float, sentences: Any, groups: Any, group: int, units: Any, n: int, out: Any
) -> int:
    """Put further sentences before or behind."""
    more = max(1, round(max(1, n - 4) * (1.0 / target - 1.0)))
    m = 0
    if _below(state, 3) == 0:
        m = _compose(state, sentences, groups, group, more, out, 0)
    for k in range(n):
        out[m + k] = units[k]
    m += n
    if m == n:
        m = _compose(state, sentences, groups, group, more, out, m)
    return m


@njit(cache=True)
def _edit(
    state: Any,
    target: float,
    sentences: Any,
    groups: Any,
    group: int,
    units: Any,
    n: int,
    scratch: Any,
    changes: Any,
    out: Any,
) -> int:
    """Edit a list of units; returns its length."""
    mode = _below(state, 20)
    if mode < 3:
        m = _edit_drop(state, target, units, n, out)
        if m:
            return m
    elif mode < 6:
        return _edit_add(state, target, sentences, groups, group, units, n, out)
    elif mode < 8:  # half of it added, half of it scattered
        part = np.sqrt(target)
        m = _edit_add(state, part, sentences, groups, group, units, n, scratch)
        rest = target / part
        return _edit_units(state, rest, sentences, groups, group, scratch, m, changes, out)
    return _edit_units(state, target, sentences, groups, group, units, n, changes, out)


# --- units to bytes --------------------------------------------------------------------------


@njit(cache=True)
def _needs_space(out: Any, begin: int, at: int) -> bool:
    """Whether the bytes before `at` need a space before text from elsewhere."""
    if at == begin or out[at - 1] <= 0x20:
        return False
    lead = at - 1
    while lead > begin and out[lead] & 0xC0 == 0x80:
        lead -= 1
    return not 0xE3 <= out[lead] <= 0xE9


@njit(cache=True)
def _write_units(units: Any, n: int, data: Any, starts: Any, out: Any, at: int) -> int:
    """Write units, with a space where two from different places would run together."""
    begin = at
    for k in range(n):
        u = units[k]
        if k and u != units[k - 1] + 1 and _needs_space(out, begin, at):
            out[at] = _SPACE
            at += 1
        for b in range(starts[u], starts[u + 1]):
            out[at] = data[b]
            at += 1
    while at > begin and out[at - 1] <= 0x20:
        at -= 1
    return at


@njit(cache=True)
def _reformat(state: Any, text: Any, size: int, out: Any, at: int) -> int:
    """Write `text` with other case, white space and punctuation, but the same tokens."""
    begin = at
    how = 1 + _below(state, 7)
    case = _below(state, 3) if how & 1 else -1  # upper, lower, capitals
    space = _below(state, 3) if how & 2 else -1  # one line, reflowed, doubled
    marks = how & 4
    width = 8 + _below(state, 12)
    if marks:
        out[at] = np.uint8(34)
        at += 1
    words, fresh = 0, True
    for i in range(size):
        c = text[i]
        plain = i + 1 >= size or text[i + 1] < 0x80  # no combining mark follows
        if 65 <= c <= 90 and (case == 1 or (case == 2 and not fresh)):
            c += np.uint8(32)
        elif 97 <= c <= 122 and (case == 0 or (case == 2 and fresh)):
            c -= np.uint8(32)
        elif c == 10 or c == 32:
            words += 1
            if space == 0 or space == 1:
                c = np.uint8(10) if space == 1 and words % width == 0 else _SPACE
            elif space == 2 and plain and _below(state, 3) == 0:
                out[at] = c
                at += 1
        elif marks and plain and c in (33, 44, 46, 58, 59, 63) and _below(state, 3) == 0:
            c = np.uint8(44) if c != 44 else np.uint8(59)
        fresh = c <= 0x20
        out[at] = c
        at += 1
    if marks:
        out[at] = np.uint8(34)
        at += 1
    same = at - begin == size
    for i in range(min(size, at - begin)):
        same = same and out[begin + i] == text[i]
    if same:
        out[at] = np.uint8(10)
        at += 1
    return at


@njit(cache=True, nogil=True)
def _fill(
    logical: Any,
    originals: int,
    seed: int,
    data: Any,
    starts: Any,
    sentences: Any,
    groups: Any,
    tags: Any,
    lengths: Any,
    cluster_ends: Any,
    shares: Any,
    first: int,
    text: Any,
    offsets: Any,
    valid: Any,
    origin: Any,
    kind: Any,
    target: Any,
    tag: Any,
    ascii_only: Any,
) -> int:
    """Write rows from `first` on; returns the first row that found no room in `text`."""
    longest = lengths.max()
    units = np.empty(2 * longest + 64, np.int32)
    edited = np.empty(4 * longest + 64, np.int32)
    scratch = np.empty(4 * longest + 64, np.int32)
    changes = np.empty(4 * longest + 64, np.int8)
    plain = np.empty(0, np.uint8)
    state = np.zeros(1, np.uint64)
    for row in range(first, len(logical)):
        number = logical[row]
        head = number
        copy = number >= originals
        if copy:
            head = np.searchsorted(cluster_ends, number - originals, side="right") - 1
        n, group = _original(
            state, seed, head, sentences, groups, lengths, cluster_ends, shares, units
        )
        own = tags[_below(state, len(tags))]
        if n > 0:
            own = tags[np.searchsorted(sentences, units[0], side="right") - 1]
        how, goal = ORIGINAL, np.nan
        if copy:
            _start(state, seed, 2, head)
            exact, formatted = 12, 4  # of 20: three sorts of clusters
            sort = _below(state, 3)
            if sort == 1:
                exact, formatted = 4, 4
            elif sort == 2:
                exact, formatted = 1, 2
            _start(state, seed, 3, number)
            draw = _below(state, 20)
            how = EXACT if draw < exact else (FORMAT if draw < exact + formatted else EDIT)
            if how == EDIT and n < 6:
                how = EXACT
            goal = 1.0
            if _below(state, 2):
                own = tags[_below(state, len(tags))]
        source = units
        if how == EDIT:
            goal = 0.5 + 0.5 * _unit_float(state)
            n = _edit(state, goal, sentences, groups, group, units, n, scratch, changes, edited)
            source = edited
        need = 64
        for k in range(n):
            need += starts[source[k] + 1] - starts[source[k]] + 1
        at = offsets[row]
        if at + 2 * need > len(text):
            return row
        valid[row] = n != NULL
        end = at
        if n == PUNCTUATION:
            _start(state, seed, 4, number)
            end = at + 1 + _below(state, 6)
            text[at:end] = np.uint8(33 + _below(state, 15))
        elif how == FORMAT:
            if len(plain) < need:
                plain = np.empty(2 * need, np.uint8)
            size = _write_units(source, n, data, starts, plain, 0)
            end = _reformat(state, plain, size, text, at)
        elif n > 0:
            end = _write_units(source, n, data, starts, text, at)
        offsets[row + 1] = end
        origin[row] = head
        kind[row] = how
        target[row] = goal
        tag[row] = own
        ascii_only[row] = True
        for i in range(at, end):
            if text[i] >= 0x80:
                ascii_only[row] = False
                break
    return len(logical)


@njit(cache=True, nogil=True)
def _permute_all(numbers: Any, rows: int, seed: int, inverse: bool) -> Any:
    out = np.empty(len(numbers), np.int64)
    for k in range(len(numbers)):
        out[k] = _permute(numbers[k], rows, seed, inverse)
    return out


@njit(cache=True, nogil=True)
def _hex_ids(rows: Any, seed: int, out: Any) -> None:
    for k in range(len(rows)):
        x = _mix(np.uint64(rows[k]) + _mix(np.uint64(seed) ^ _GOLDEN))
        for d in range(16):
            nibble = np.int64((x >> np.uint64(60 - 4 * d)) & np.uint64(15))
            out[16 * k + d] = np.uint8(48 + nibble if nibble < 10 else 87 + nibble)


# --- the corpus ------------------------------------------------------------------------------


class Corpus:
    """Rows of a corpus, by row number; pure, and safe to call from several threads."""

    def __init__(self, pool: Pool, rows: int, seed: int, foreign: float) -> None:
        self.pool, self.rows, self.seed = pool, rows, seed
        copies = int(rows * COPY_SHARE)
        self.originals = rows - copies
        self.cluster_ends = _cluster_ends(copies)
        self.lengths = _length_table()
        sizes = np.diff(pool.groups)
        foreign = foreign if len(sizes) > 2 else 0.0
        self.shares = np.array([foreign, MIXED_SHARE if sizes[1] else 0.0])

    def batch(self, rows: Ints) -> tuple[pa.RecordBatch, int]:
        """Make some rows, and count those that are pure ASCII."""
        pool, count = self.pool, len(rows)
        logical = _permute_all(rows, self.rows, self.seed, True)
        offsets = np.zeros(count + 1, np.int64)
        valid, ascii_only = np.empty(count, np.bool_), np.empty(count, np.bool_)
        origin, kind = np.empty(count, np.int64), np.empty(count, np.int8)
        target, tag = np.empty(count, np.float32), np.empty(count, np.int32)
        text = np.empty(2000 * count + (1 << 20), np.uint8)
        done = 0
        while True:
            done = _fill(
                *(logical, self.originals, self.seed, pool.data, pool.starts, pool.sentences),
                *(pool.groups, pool.tags, self.lengths, self.cluster_ends, self.shares, done),
                *(text, offsets, valid, origin, kind, target, tag, ascii_only),
            )
            if done == count:
                break
            text = np.concatenate([text[: offsets[done]], np.empty(2 * len(text), np.uint8)])
        ids = np.empty(16 * count, np.uint8)
        _hex_ids(rows, self.seed, ids)
        id_offsets = np.arange(count + 1, dtype=np.int32) * 16
        bitmap = pa.py_buffer(np.packbits(valid, bitorder="little"))
        columns = [
            pa.StringArray.from_buffers(count, pa.py_buffer(id_offsets), pa.py_buffer(ids)),
            pa.LargeStringArray.from_buffers(
                count, pa.py_buffer(offsets), pa.py_buffer(text[: offsets[-1]].copy()), bitmap
            ),
            pool.sources.take(pa.array(tag)).cast(pa.string()),
            pa.array(_permute_all(origin, self.rows, self.seed, False)),
            pa.DictionaryArray.from_arrays(pa.array(kind), pa.array(KINDS)),
            pa.array(target, from_pandas=True),
        ]
        return pa.record_batch(columns, schema=SCHEMA), int(ascii_only.sum())


def write_file(corpus: Corpus, path: Path, begin: int, end: int) -> Counter[str]:
    """Write the rows [begin, end) to one file; returns counts."""
    counts: Counter[str] = Counter()
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for low in range(begin, end, BLOCK):
            rows = np.arange(low, min(low + BLOCK, end), dtype=np.int64)
            batch, ascii_rows = corpus.batch(rows)
            writer.write_batch(batch, row_group_size=BLOCK)
            offsets = np.frombuffer(batch["text"].buffers()[1], np.int64)
            sizes = np.diff(offsets)
            counts["rows"] += batch.num_rows
            counts["bytes"] += int(offsets[-1])
            counts["ascii"] += ascii_rows
            counts["null"] += batch["text"].null_count
            counts["longest"] = max(counts["longest"], int(sizes.max()))
            kinds = np.bincount(batch["kind"].indices.to_numpy(), minlength=len(KINDS))
            counts.update({name: int(n) for name, n in zip(KINDS, kinds, strict=True)})
    return counts


# --- the check: plain Python on what was written ---------------------------------------------

_ALONE = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x0F00, 0x0FFF),  # Tibetan
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x3400, 0x9FFF),  # Han
    (0x20000, 0x323AF),
)


def _is_alone(c: str) -> bool:
    return any(low <= ord(c) <= high for low, high in _ALONE)


def _tokens(text: str) -> list[str]:
    """Tokens as in DESIGN section 3."""
    out: list[str] = []
    fresh = True
    for c in unicodedata.normalize("NFKC", text):
        category = unicodedata.category(c)
        if category[0] not in "LNM" and c != "_":
            fresh = True
            continue
        mark = category[0] == "M" and not fresh
        lower = c.lower() if len(c.lower()) == 1 else c
        if mark or not (fresh or _is_alone(c) or _is_alone(out[-1][0])):
            out[-1] += lower
        else:
            out.append(lower)
        fresh = False
    return out


def _jaccard(a: list[str], b: list[str]) -> float:
    x = {tuple(a[i : i + 5]) for i in range(max(1, len(a) - 4))}
    y = {tuple(b[i : i + 5]) for i in range(max(1, len(b) - 4))}
    return len(x & y) / len(x | y)


def check(corpus: Corpus, path: Path, sample: int) -> dict[str, Any]:
    """Compare copies of the first file with their originals; returns what was achieved."""
    table = pq.ParquetFile(path).read_row_group(0)
    kind = np.array(table["kind"].to_pylist())
    origins = table["origin"].to_numpy()
    out: dict[str, Any] = {}
    achieved: list[float] = []
    error: list[float] = []
    for name in KINDS[1:]:
        at = np.flatnonzero(kind == name)[:sample]
        texts = table["text"].take(pa.array(at)).to_pylist()
        targets = table["target"].take(pa.array(at)).to_pylist()
        whole = corpus.batch(origins[at])[0]["text"].to_pylist()
        if name == "exact":
            out["exact copies that differ"] = sum(a != b for a, b in zip(texts, whole, strict=True))
            continue
        pairs = [(_tokens(a), _tokens(b)) for a, b in zip(texts, whole, strict=True)]
        if name == "format":
            out["format copies with other tokens"] = sum(a != b for a, b in pairs)
            same = sum(a == b for a, b in zip(texts, whole, strict=True))
            out["format copies with equal bytes"] = same
            continue
        achieved = [_jaccard(a, b) for a, b in pairs]
        error = [abs(j - t) for j, t in zip(achieved, targets, strict=True)]
    edges = np.array([0.0, *np.arange(0.45, 1.0, 0.05), 1.0, 1.01])
    histogram = np.histogram(achieved, edges)[0]
    out["edits sampled"] = len(achieved)
    out["achieved Jaccard"] = {
        f"{low:.2f}": round(float(n) / max(1, len(achieved)), 4)
        for low, n in zip(edges[:-1], histogram, strict=True)
    }
    out["off target, median"] = round(float(np.median(error)), 4) if error else None
    out["off target, 95 %"] = round(float(np.quantile(error, 0.95)), 4) if error else None
    return out


def parts(rows: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield the row range of each file."""
    for begin in range(0, rows, size):
        yield begin, min(begin + size, rows)


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("out", type=Path, metavar="OUT", help="directory to write, new or empty")
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--source", type=Path, default=DATA / "english-docs")
    parser.add_argument(
        "--multilingual", type=Path, help="text of other languages (multilingual.parquet by SOURCE)"
    )
    parser.add_argument("--foreign", type=float, default=0.08, help="share of its documents")
    parser.add_argument("--rows-per-file", type=int, default=250_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--sample", type=int, default=2000, help="copies of a kind to check")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the statistics there")
    args = parser.parse_args(argv)
    if args.rows < 1 or args.rows >= 2**31:
        parser.error("--rows must be in 1 .. 2**31 - 1")
    args.out.mkdir(parents=True, exist_ok=True)
    if any(args.out.iterdir()):
        parser.error(f"{args.out} is not empty")
    beside = args.source.parent / "multilingual.parquet"
    other = args.multilingual or (beside if beside.exists() else None)
    began = time.perf_counter()
    pool = _read_pool(args.source, other)
    corpus = Corpus(pool, args.rows, args.seed, args.foreign)
    ready = time.perf_counter()
    ranges = list(parts(args.rows, args.rows_per_file))
    counts: Counter[str] = Counter()
    longest = 0
    with ThreadPoolExecutor(args.workers) as threads:
        paths = [args.out / f"part-{k:05d}.parquet" for k in range(len(ranges))]
        jobs = [
            threads.submit(write_file, corpus, path, *span)
            for path, span in zip(paths, ranges, strict=True)
        ]
        for job in jobs:
            result = job.result()
            longest = max(longest, result.pop("longest"))
            counts.update(result)
    written = time.perf_counter()
    sizes = np.diff(corpus.cluster_ends)
    stats: dict[str, Any] = {
        "rows": counts["rows"],
        "seed": args.seed,
        "text bytes": counts["bytes"],
        "bytes per row": round(counts["bytes"] / counts["rows"], 1),
        "longest row, bytes": longest,
        "file bytes": sum(path.stat().st_size for path in paths),
        "null rows": counts["null"],
        "pure ASCII": round(counts["ascii"] / counts["rows"], 4),
        "kinds": {name: round(counts[name] / counts["rows"], 4) for name in KINDS},
        "clusters": len(sizes),
        "copies in the largest clusters": np.sort(sizes)[::-1][:5].tolist(),
        "pool": {
            "sentences": len(pool.tags),
            "bytes": len(pool.data),
            "groups": len(pool.groups) - 1,
        },
        "seconds": {"pool": round(ready - began, 1), "rows": round(written - ready, 1)},
    }
    stats["check"] = check(corpus, paths[0], args.sample)
    print(json.dumps(stats, indent=2))
    if args.json:
        args.json.write_text(json.dumps(stats, indent=2) + "\n")


if __name__ == "__main__":
    main()
