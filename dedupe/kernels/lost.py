"""What a drop loses: the longest run of words of a row that are not in its witness.

A shingle stands at each of its words. A word is lost if no shingle that stands at it, the first of
its kind or a repeat, is in the witness's set of that field. So a changed word is one that is lost,
whichever shingles are around it, and a paragraph that the witness has as well is not, wherever it
has it.
"""

from __future__ import annotations

import numpy as np

from dedupe.kernels import inner, kernel, types
from dedupe.kernels.array_types import INT64, UINT32, UINT64
from dedupe.kernels.lookup import fill_table, holds, table_bits


@inner
def _longest_run(hashes, repeats, words, shingle_size, table, base, bits, held):
    """The longest run of words that no shingle in a table covers.

    hashes: the distinct ones of a field, in the order of first appearance. repeats: see
    `longest_runs`. words: of the field. table, base, bits: see `lookup.fill_table`. held: scratch,
    with room for each hash.
    """
    longest = np.int64(0)
    covered = np.int64(0)  # words before this one are counted
    known = np.int64(0)
    repeat = np.int64(0)
    for occurrence in range(hashes.size + repeats.size // 2):
        if repeat < repeats.size and np.int64(repeats[repeat]) == occurrence:
            is_held = held[repeats[repeat + 1]]
            repeat += 2
        else:
            is_held = holds(table, base, bits, hashes[known])
            held[known] = is_held
            known += 1
        if is_held:
            longest = max(longest, occurrence - covered)
            covered = occurrence + shingle_size
    return max(longest, words - covered)


@kernel(types.int64(INT64, INT64, UINT32, UINT32, types.int64))
def first_misfit(set_offsets, repeat_offsets, repeats, words, shingle_size):
    """The first set whose repeats or words do not fit it, int64; -1 if there is none.

    set_offsets, repeat_offsets, repeats, words, shingle_size: see `longest_runs`; a shingle_size of
    0 is that of characters, of which words say nothing. Repeats fit if they are shingles of their
    text, ascending, each of a hash that came before it; words if there are as many shingles.
    """
    for s in range(set_offsets.size - 1):
        size = set_offsets[s + 1] - set_offsets[s]
        start, end = repeat_offsets[s], repeat_offsets[s + 1]
        shingles = size + (end - start) // 2
        if (end - start) % 2 != 0:
            return s
        last = np.int64(-1)
        known = np.int64(0)  # hashes before the repeat
        for at in range(start, end, 2):
            occurrence, index = np.int64(repeats[at]), np.int64(repeats[at + 1])
            known += occurrence - last - 1
            if occurrence <= last or occurrence >= shingles or index >= known:
                return s
            last = occurrence
        if shingle_size > 0:
            count = np.int64(words[s])
            if count > 0 and shingles != max(count - shingle_size + 1, 1):
                return s
            if count == 0 and shingles > 1:
                return s
    return np.int64(-1)


@kernel(
    types.int64[::1](INT64, INT64, types.int64, INT64, UINT64, INT64, UINT32, UINT32, types.int64),
)
def longest_runs(
    groups,
    witnesses,
    fields,
    set_offsets,
    set_hashes,
    repeat_offsets,
    repeats,
    words,
    shingle_size,
):
    """The longest run of words of each group that its witness does not have, int64.

    groups, witnesses: int64, of one length, numbers of groups: groups[i] is held against
    witnesses[i]. It is fast where neighbours in `witnesses` are equal. fields: int64, of a
    document; field f of group g has the set s = g * fields + f. set_offsets: int64[sets + 1]; set s
    is set_hashes[set_offsets[s]:set_offsets[s + 1]], of uint64, distinct and in the order of first
    appearance in the text. repeats: uint32; repeats[repeat_offsets[s]:repeat_offsets[s + 1]] are
    the other shingles of the text: pairs of (number of the shingle in the text, number of its hash
    in the set), ascending. repeat_offsets: int64[sets + 1]. words: uint32[sets], tokens of each
    field. shingle_size: int64, tokens in a shingle; one of fewer words has them all.

    The answer is the greatest of all fields; a field without words has 0.
    """
    longest = np.zeros(groups.size, np.int64)
    table = np.empty(1 << 10, np.uint64)
    bases = np.zeros(fields, np.int64)
    bits = np.zeros(fields, np.int64)
    held = np.empty(1 << 10, np.bool_)
    for i in range(groups.size):
        if i == 0 or witnesses[i] != witnesses[i - 1]:
            room = np.int64(0)
            for f in range(fields):
                s = witnesses[i] * fields + f
                bases[f] = room
                bits[f] = table_bits(set_offsets[s + 1] - set_offsets[s])
                room += (1 << bits[f]) + 2
            if room > table.size:
                table = np.empty(2 * room, np.uint64)
            for f in range(fields):
                s = witnesses[i] * fields + f
                fill_table(table, bases[f], bits[f], set_hashes, set_offsets[s], set_offsets[s + 1])
        for f in range(fields):
            s = groups[i] * fields + f
            hashes = set_hashes[set_offsets[s] : set_offsets[s + 1]]
            if words[s] == 0 or hashes.size == 0:
                continue
            if hashes.size > held.size:
                held = np.empty(2 * hashes.size, np.bool_)
            run = _longest_run(
                hashes, repeats[repeat_offsets[s] : repeat_offsets[s + 1]], np.int64(words[s]),
                shingle_size, table, bases[f], bits[f], held,
            )  # fmt: skip
            longest[i] = max(longest[i], run)
    return longest
