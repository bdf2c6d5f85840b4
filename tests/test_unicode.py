"""`fold` and its tables against plain Python, over all of Unicode."""

from __future__ import annotations

import random
import unicodedata
from collections import Counter
from typing import Any

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import known, malformed_bytes, texts

from dedupe.kernels import kernel, make_tables
from dedupe.kernels.unicode import (
    FOLD_TYPE,
    SLACK,
    TABLES_PATH,
    fold,
    load_tables,
    unicode_version,
)

BATCH = 2048
KNOWN = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000 and known(chr(c))]


@kernel(FOLD_TYPE)
def folded(
    data: Any, start: Any, stop: Any, tables: Any, replace: Any, out: Any, points: Any
) -> Any:
    return fold(data, start, stop, tables, replace, out, points)


def run_fold(
    data: bytes, *, replace: bool = False, before: bytes = b"", out: int = 0
) -> tuple[bytes, int]:
    """(what `fold` writes, bad) for a document that stands between `before` and other bytes."""
    buffer = np.frombuffer(before + data + b"\xcc\x81\xff", np.uint8)
    points = np.empty(0, np.int32)
    stop = len(before) + len(data)
    length, bad, target, _points = folded(
        buffer, len(before), stop, load_tables(), replace, np.zeros(out, np.uint8), points
    )
    assert target.size >= length + SLACK
    return bytes(target[:length]), bad


def first_malformed(data: bytes) -> int:
    try:
        naive.decode(data)
    except UnicodeDecodeError as error:
        return error.start
    return -1


def check(text: str) -> None:
    data = text.encode()
    result, bad = run_fold(data)
    assert (result.decode(), bad) == (naive.normalise(text), -1)


def check_all(documents: list[str]) -> None:
    """Check the documents in batches; where one differs, name it alone."""
    for start in range(0, len(documents), BATCH):
        batch = documents[start : start + BATCH]
        try:
            check("\n".join(batch))
        except AssertionError:
            for document in batch:
                check(document)
            raise


def test_every_code_point() -> None:
    check_all(KNOWN)


@pytest.mark.parametrize("frame", ["a{}b", "漢{}字", "é\u0323{}\u0323z"])
def test_every_kind_of_code_point_between_others(frame: str) -> None:
    check_all([frame.format(char) for char in some_of_each_kind(64)])


def some_of_each_kind(most: int) -> list[str]:
    """All code points that normal form or lower case change, and some of those treated alike."""
    tables = load_tables()
    taken: Counter[int] = Counter()
    found = []
    for char in KNOWN:
        code = ord(char)
        info = int(tables.info[tables.blocks[code >> 7] + (code & 127)])
        taken[info] += 1
        if taken[info] <= most or unicodedata.normalize("NFKC", char) != char:
            found.append(char)
    return found


def test_unknown_code_points_are_few() -> None:
    """Those assigned in the tables or in the running Python, not in both."""
    unknown = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000 and not known(chr(c))]
    print(f"{len(unknown)} code points skipped: Unicode {unidata()} against {unicode_version()}")
    assert len(unknown) < 12_000
    for char in unknown:
        result, bad = run_fold(f"a{char}b".encode())
        assert bad == -1
        assert result.decode()[0::2] == "ab"
    if unidata() == unicode_version():
        assert unknown == []


def unidata() -> str:
    return unicodedata.unidata_version


@given(texts)
@settings(max_examples=600, deadline=None)
def test_any_text(text: str) -> None:
    check(text)


@given(texts, st.binary(max_size=20), st.integers(0, 100))
@settings(max_examples=400, deadline=None)
def test_surroundings_do_not_matter(text: str, before: bytes, out: int) -> None:
    data = text.encode()
    assert run_fold(data, before=before, out=out) == run_fold(data)


@given(malformed_bytes)
@settings(max_examples=600, deadline=None)
def test_malformed(data: bytes) -> None:
    replaced = data.decode("utf-8", "replace")
    genuine = data.count("\ufffd".encode())
    count = replaced.count("\ufffd") - genuine
    malformed = first_malformed(data)
    assert (malformed == -1) == (count == 0)
    assert run_fold(data)[1] == malformed
    if malformed >= 0:
        assert run_fold(data, before=b"\xe4") == (b"", malformed)
    result, bad = run_fold(data, replace=True)
    assert (result.decode(), bad) == (naive.normalise(replaced), -1 - count)


def test_every_short_malformed_sequence() -> None:
    edges = (0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC2, 0xE1, 0xFF)
    for lead in range(0x80, 0x100):
        for second in edges:
            for third in edges:
                for rest in (b"", b"\x80", b"a"):
                    data = bytes((lead, second, third)) + rest
                    replaced = data.decode("utf-8", "replace")
                    result, bad = run_fold(data, replace=True)
                    assert result.decode() == naive.normalise(replaced), data
                    assert bad == -1 - replaced.count("\ufffd"), data


def test_writable_and_read_only_arrays() -> None:
    data = np.frombuffer("Ünïcödé ﬁ".encode(), np.uint8)
    results = []
    for array in (data, data.copy()):
        out, points = np.empty(256, np.uint8), np.empty(64, np.int32)
        length, bad, out, _points = folded(array, 0, array.size, load_tables(), False, out, points)
        results.append((bytes(out[:length]).decode(), bad))
    assert results == [("ünïcödé fi", -1)] * 2


def test_empty_document() -> None:
    assert run_fold(b"") == (b"", -1)
    assert run_fold(b"", before=b"abc") == (b"", -1)


@pytest.mark.parametrize("base", ["q", "a", "한", ""])
def test_long_run_of_marks(base: str) -> None:
    """Linear in its length; the expected text is ordered first, as unicodedata is not linear."""
    mixed = [c for c in KNOWN if unicodedata.combining(c) and unicodedata.normalize("NFD", c) == c]
    run = random.Random(7).choices(mixed, k=100_000)
    ordered = base + "".join(sorted(run, key=unicodedata.combining))
    result, bad = run_fold(f"x {base}{''.join(run)} y".encode())
    assert bad == -1
    assert result.decode() == f"x {naive.normalise(ordered)} y"


def test_long_expansions() -> None:
    check("\ufdfa" * 50_000 + "é")
    check("\uff76\uff9e" * 50_000)
    check("\u1100\u1161\u11a8" * 50_000 + "\u1161" * 50_000)
    check("漢a" * 50_000 + "Ⱥ漢" * 50_000)


def test_tables_hold_nfkc_of_every_known_code_point() -> None:
    """Independent of the kernel: decompositions and compositions as they stand in the file."""
    tables = load_tables()
    info, entry, pool = tables.info.tolist(), tables.entry.tolist(), tables.pool.tolist()
    bounds = tables.bounds.tolist()
    blocks, decomposed = tables.blocks.tolist(), tables.decomposed.tolist()
    bare, bare_blocks = tables.bare.tolist(), tables.bare_blocks.tolist()
    classes = ["separator", "word", "mark", "spaceless"]
    for char in KNOWN:
        code = ord(char)
        packed = info[blocks[code >> 7] + (code & 127)]
        assert packed >> 5 & 0xFF == unicodedata.combining(char)
        kind = naive.kind(naive.lower(char))
        if char in naive.VANISHING:
            kind = "vanishing"
        if packed & 3:
            assert classes[packed & 3] == kind
            assert code + (packed >> 13) == ord(naive.lower(char))
        else:
            assert make_tables.KINDS[packed >> 13] == kind
        if char == unicodedata.normalize("NFKC", char):
            found = bare[bare_blocks[code >> 7] + (code & 127)]
            expected = "" if found < 0 else naive.lower(chr(found or code))
            assert naive.bare(char) == expected
        number = entry[decomposed[code >> 7] + (code & 127)]
        parts = "".join(map(chr, pool[bounds[number] : bounds[number + 1]])) or char
        if not 0xAC00 <= code < 0xAC00 + 11172:
            assert parts == unicodedata.normalize("NFKD", char)
        assert unicodedata.normalize("NFC", parts) == unicodedata.normalize("NFKC", char)
        assert (packed >> 2 & 3 == 2) == (unicodedata.normalize("NFKC", char) != char)
    for key, composed in zip(tables.pair_keys.tolist(), tables.pair_values.tolist(), strict=True):
        if key and known(chr(composed)):
            pair = chr(key >> 21) + chr(key & 0x1FFFFF)
            assert unicodedata.normalize("NFC", pair) == chr(composed)


def test_tables_are_read_only_and_cached() -> None:
    tables = load_tables()
    assert tables is load_tables()
    assert not any(array.flags.writeable for array in tables)


def test_generator_agrees_with_the_file() -> None:
    """On a Python of the same Unicode version the generator makes the shipped tables again."""
    if unidata() != unicode_version():
        pytest.skip(f"this Python has Unicode {unidata()}")
    built = make_tables.build()
    with np.load(TABLES_PATH) as file:
        for name, array in built.items():
            assert np.array_equal(file[name], array), name
