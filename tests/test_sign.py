"""Signatures, digests, band keys and shingle sets against datasketch, xxhash and plain Python."""

from __future__ import annotations

import naive_hash
import numpy as np
import pyarrow as pa
import pytest
import strategies
import xxhash
from datasketch import MinHash
from hypothesis import given
from hypothesis import strategies as st

from dedupe.config import EXACTS, IGNORES, Policy, Settings
from dedupe.errors import SettingsError
from dedupe.planning.banding import Banding, plan_banding
from dedupe.shingling import Shingler
from dedupe.stages.sign import LAST, MalformedTextError, Signer, order_keys

TEXTS = st.lists(st.none() | strategies.texts | strategies.symbols, max_size=12)
IGNORED = st.sets(st.sampled_from(IGNORES)).map(sorted)
SHINGLES = st.sampled_from(["word:1", "word:2", "word:5", "char:1", "char:4", "char:13"])


def batch_of(texts: list[str | None]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(texts, pa.large_string())], ["text"])


def signature(text: str | None, shingle: str, num_perm: int, seed: int) -> list[int]:
    sketch = MinHash(num_perm=num_perm, seed=seed, hashfunc=lambda value: value & 0xFFFFFFFF)
    sketch.update_batch(naive_hash.shingles(text, shingle))
    return [int(value) for value in sketch.hashvalues]


@given(TEXTS, SHINGLES, st.sampled_from([(1, 1), (3, 4), (16, 6), (7, 5)]), st.integers(0, 99))
def test_band_keys_are_those_of_datasketch_signatures(texts, shingle, banding, seed):
    settings = Settings(shingle=shingle, minhash_seed=seed)
    signed = Signer(settings, Banding(*banding)).sign(batch_of(texts))
    for row, text in enumerate(texts):
        expected = naive_hash.shingles(text, shingle)
        assert signed.shingles[row] == len(expected)
        if expected:
            values = signature(text, shingle, 128, seed)
            assert signed.keys[row].tolist() == naive_hash.band_keys(values, *banding)


@given(TEXTS, SHINGLES, st.sampled_from(EXACTS), IGNORED)
def test_digests_are_xxh3_of_what_exact_copies_share(texts, shingle, exact, ignore):
    batch, rules = batch_of(texts), {"shingle": shingle, "exact": exact, "ignore": ignore}
    signed = Signer(Settings(**rules), Banding(1, 1)).sign(batch)
    alone = Signer(Settings(**rules, near=False), Banding(1, 1)).sign(batch)
    for row, text in enumerate(texts):
        if signed.shingles[row]:
            data = naive_hash.digest_text(text, exact, shingle, set(ignore))
            low, high = alone.digests[row].tolist()
            assert (high << 64) | low == xxhash.xxh3_128_intdigest(data)
            assert signed.texts[row] == alone.texts[row] == low


@given(TEXTS, SHINGLES, IGNORED)
def test_what_is_verified_as_one_has_equal_shingles_in_the_same_order(texts, shingle, ignore):
    signed = Signer(Settings(shingle=shingle, ignore=ignore), Banding(1, 1)).sign(batch_of(texts))
    for row, text in enumerate(texts):
        hashes = naive_hash.shingles(text, shingle, set(ignore))
        if hashes:
            data = b"".join(value.to_bytes(8, "little") for value in hashes)
            low, high = signed.digests[row].tolist()
            assert (high << 64) | low == xxhash.xxh3_128_intdigest(data)


@pytest.mark.parametrize("size", [*range(300), 511, 512, 513, 1024, 1025, 4096, 70_000])
def test_digest_of_every_length_class(size):
    text = ("abcdefghijklmnopqrstuvwxyz0123456789_" * (size // 37 + 1))[:size]
    signed = Signer(Settings(exact="bytes", near=False), Banding(1, 1)).sign(batch_of([text]))
    if size:
        low, high = signed.digests[0].tolist()
        assert (high << 64) | low == xxhash.xxh3_128_intdigest(text.encode())


@given(TEXTS, SHINGLES, IGNORED)
def test_shingle_sets_are_the_distinct_shingles(texts, shingle, ignore):
    settings = Settings(shingle=shingle, ignore=ignore)
    sets = Shingler(settings).sets(batch_of(texts))
    for row, text in enumerate(texts):
        found = sets.hashes[sets.offsets[row] : sets.offsets[row + 1]].tolist()
        inorder = naive_hash.shingles(text, shingle, set(ignore))
        assert found == list(dict.fromkeys(inorder))
        repeats = sets.repeats[sets.repeat_offsets[row] : sets.repeat_offsets[row + 1]].tolist()
        assert repeats == [
            number
            for place, value in enumerate(inorder)
            if value in inorder[:place]
            for number in (place, found.index(value))
        ]
        units = naive_hash.tokens(text, shingle, set(ignore))
        assert sets.words[row] == len(units)


@given(TEXTS, st.integers(0, 5), st.integers(0, 5))
def test_slices_of_arrays_give_the_same(texts, before, after):
    signer = Signer(Settings(), Banding(4, 4))
    plain = signer.sign(batch_of(texts))
    padded = batch_of([*["other words"] * before, *texts, *["more words"] * after])
    sliced = signer.sign(padded.slice(before, len(texts)))
    assert (plain.keys == sliced.keys).all()
    assert (plain.digests == sliced.digests).all()


def test_text_under_a_null_is_not_read():
    data = pa.array(["some words here", "hidden words"], pa.large_string())
    hidden = pa.LargeStringArray.from_buffers(
        2, data.buffers()[1], data.buffers()[2], pa.py_buffer(b"\x01"), 1
    )
    batch = pa.RecordBatch.from_arrays([hidden], ["text"])
    assert Signer(Settings(), Banding(1, 1)).sign(batch).shingles.tolist() == [1, 0]


def test_malformed_text_is_named_or_replaced():
    texts = pa.array([b"fine", b"also fine", b"br\xffken"], pa.large_binary())
    batch = pa.RecordBatch.from_arrays([texts], ["text"])
    with pytest.raises(MalformedTextError) as error:
        Signer(Settings(), Banding(1, 1)).sign(batch)
    assert (error.value.row, error.value.byte) == (2, 2)
    signed = Signer(Settings(on_bad_text="replace"), Banding(1, 1)).sign(batch)
    assert signed.replaced == 1
    same = Signer(Settings(), Banding(1, 1)).sign(batch_of(["br\N{REPLACEMENT CHARACTER}ken"]))
    assert (signed.digests[2] == same.digests[0]).all()


@given(st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_order_of_integer_scores_is_exact(scores):
    check_order(scores, pa.array(scores, pa.int64()))


@given(st.lists(st.none() | st.floats(), min_size=1))
def test_order_of_float_scores(scores):
    check_order(scores, pa.array(scores, pa.float64()))


def check_order(scores, column):
    for policy, sign in (("max:s", -1), ("min:s", 1)):
        order = order_keys(Policy.parse(policy), None, column).tolist()
        for a, left in zip(order, scores, strict=True):
            for b, right in zip(order, scores, strict=True):
                known = [value is not None and value == value for value in (left, right)]
                if all(known):
                    top = {2**63 - 1, 2**63 - 2}
                    assert (a < b) == (sign * left < sign * right) or {left, right} == top
                    assert LAST not in (a, b)
                elif not known[0]:
                    assert a == LAST


@pytest.mark.parametrize(("threshold", "recall", "num_perm"), [(0.8, 0.99, 128), (0.5, 0.9, 256)])
def test_plan_reaches_the_recall_and_could_not_with_steeper_bands(threshold, recall, num_perm):
    banding = plan_banding(Settings(threshold=threshold, recall=recall, num_perm=num_perm))
    assert banding.chance(threshold) >= recall
    assert banding.values <= num_perm
    assert Banding(banding.bands - 1, banding.rows).chance(threshold) < recall
    steeper = banding.rows + 1
    assert Banding(num_perm // steeper, steeper).chance(threshold) < recall


def test_plan_says_what_is_out_of_reach():
    with pytest.raises(SettingsError, match="raise num_perm or lower recall"):
        plan_banding(Settings(threshold=0.1, recall=0.999999, num_perm=16))


def test_curve_is_the_textbook_formula():
    for s in np.linspace(0, 1, 21):
        assert Banding(16, 6).chance(s) == pytest.approx(1 - (1 - s**6) ** 16)
