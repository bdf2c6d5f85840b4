"""Rows of an index are ruled out only where no row of the corpus can be similar to them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedupe.config import Settings
from dedupe.kernels.grouping import rule_out
from dedupe.planning.banding import Banding
from dedupe.schema import WORDS
from dedupe.shingling import Shingler
from dedupe.stages.sign import Signer

WORDS_OF = [f"w{number}" for number in range(40)]


def bits_of(hashes):
    """The bits of a set of hashes, in plain Python."""
    found = [0] * WORDS
    for value in hashes:
        bit = int(value) >> 56
        found[bit // 64] |= 1 << bit % 64
    return found


@pytest.mark.parametrize("shingle", ["word:5", "char:4"])
def test_a_bit_is_set_for_each_shingle(shingle):
    texts = ["", "one", "one two three", " ".join(WORDS_OF), " ".join(WORDS_OF * 9), "één ü 日本語"]
    batch = pa.RecordBatch.from_arrays([pa.array(texts, pa.large_string())], names=["document"])
    settings = Settings(shingle=shingle)
    signed = Signer(settings, Banding(4, 4), sketched=True).sign(batch)
    sets = Shingler(settings).sets(batch)
    for row, words in enumerate(signed.bits.tolist()):
        hashes = sets.hashes[sets.offsets[row] : sets.offsets[row + 1]]
        assert words == bits_of(hashes), texts[row]
    assert Signer(settings, Banding(4, 4)).sign(batch).bits.shape == (6, 0)


def stays(component, own, sets, threshold, most=1 << 30):
    """What the kernel says of rows: sets of numbers in place of shingles, repeated once each."""
    names, place = np.unique(component, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(len(names) + 1))
    bits = np.array([bits_of(one) for one in sets], np.uint64).reshape(-1, WORDS)
    found = np.full(len(sets), 7, np.uint8)
    rule_out(
        order,
        starts,
        np.bincount(place[own], minlength=len(names)),
        bits,
        np.array([len(one) for one in sets], np.int64),
        (1 - threshold) / (1 + threshold),
        most,
        found,
    )
    return found.tolist()


HASHES = st.frozensets(st.integers(0, 2**64 - 1), min_size=1, max_size=30)


@given(
    st.lists(HASHES, min_size=1, max_size=6),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4), HASHES), max_size=8),
    st.integers(0, 2),
    st.sampled_from([0.3, 0.5, 0.8, 1.0]),
)
def test_no_similar_row_is_ruled_out(own, derived, components, threshold):
    """Own sets, and some that are made of them: without a few, with a few more."""
    sets = list(own)
    for base, without, more in derived:
        kept = sorted(own[base % len(own)])[without:]
        sets.append(frozenset(kept) | frozenset(sorted(more)[:3]))
    component = np.array([number % (components + 1) for number in range(len(sets))])
    is_own = np.arange(len(sets)) < len(own)
    found = stays(component, is_own, sets, threshold)
    for row, one in enumerate(sets):
        similar = [
            len(one & other) / len(one | other) >= threshold
            for number, other in enumerate(own)
            if component[number] == component[row]
        ]
        assert found[row] or not (is_own[row] or any(similar))


def test_rows_that_have_nothing_in_common_are_ruled_out():
    rng = np.random.default_rng(5)
    sets = [frozenset(rng.integers(0, 1 << 63, 100).tolist()) for _ in range(20)]
    own = np.arange(20) < 5
    one = np.zeros(20, np.int64)
    assert stays(one, own, sets, 0.8) == [1] * 5 + [0] * 15
    assert stays(one, own, [*sets[:19], sets[2]], 0.8) == [1] * 5 + [0] * 14 + [1]
    other = np.where(np.arange(20) == 19, 1, 0)  # alone in its component
    assert stays(other, own, [*sets[:19], sets[2]], 0.8)[19] == 0
    assert stays(one, own, sets, 0.8, most=0) == [1] * 20  # nothing is looked at: all stay
