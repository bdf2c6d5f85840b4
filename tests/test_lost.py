"""What a drop loses, against lists of words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import naive_cluster
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedupe.kernels.lost import longest_runs

Document = Sequence[Sequence[str]]


def sets_of(documents: Sequence[Document], n: int) -> tuple[Any, ...]:
    """What `longest_runs` takes of documents, each a list of words for each field."""
    sizes, hashes, repeat_sizes, repeats, words = [0], [], [0], [], []
    number: dict[Any, int] = {}
    for document in documents:
        for f, field in enumerate(document):
            shingles = [tuple(field[i : i + n]) for i in range(max(len(field) - n + 1, 1))]
            known: dict[int, int] = {}
            again: list[int] = []
            for i, shingle in enumerate(shingles if field else []):
                value = number.setdefault((f, shingle), len(number))
                if value in known:
                    again += [i, known[value]]
                known.setdefault(value, len(known))
            sizes.append(len(known))
            hashes += known
            repeat_sizes.append(len(again))
            repeats += again
            words.append(len(field))
    return (
        np.cumsum(sizes),
        np.array(hashes, np.uint64) * np.uint64(0x9E3779B97F4A7C15),
        np.cumsum(repeat_sizes),
        np.array(repeats, np.uint32),
        np.array(words, np.uint32),
    )


def lost(documents: Sequence[Document], pairs: Sequence[tuple[int, int]], n: int) -> list[int]:
    groups, witnesses = np.array(pairs, np.int64).reshape(-1, 2).T
    given_sets = sets_of(documents, n)
    fields = len(documents[0])
    runs = longest_runs(groups.copy(), witnesses.copy(), fields, *given_sets, n)
    return [int(run) for run in runs]


@settings(deadline=None)
@given(st.data(), st.integers(1, 3), st.integers(1, 5))
def test_agrees_with_lists_of_words(data: st.DataObject, fields: int, n: int) -> None:
    words = st.lists(st.sampled_from("abcd"), max_size=30)
    documents = [[data.draw(words) for _ in range(fields)] for _ in range(4)]
    for document in list(documents):
        copy = [list(field) for field in document]
        for field in copy:
            at = data.draw(st.integers(0, len(field)))
            field[at : at + data.draw(st.integers(0, 2))] = data.draw(words)[:6]
        documents.append(copy)
    pairs = [(a, b) for b in range(8) for a in range(8)]
    expected = [
        max(naive_cluster.lost(x, y, n) for x, y in zip(documents[a], documents[b], strict=True))
        for a, b in pairs
    ]
    assert lost(documents, pairs, n) == expected


@pytest.mark.parametrize("at", [0, 3, 50, 96, 99])
def test_a_changed_word_is_one(at: int) -> None:
    witness = [f"w{i}" for i in range(100)]
    row = [*witness[:at], "other", *witness[at + 1 :]]
    assert lost([[row], [witness]], [(0, 1), (0, 0)], 5) == [naive_cluster.lost(row, witness, 5), 0]
    if 5 <= at < 95:
        assert lost([[row], [witness]], [(0, 1)], 5) == [1]


def test_words_before_a_footer_are_lost_whole() -> None:
    footer = [f"f{i}" for i in range(400)]
    page, other = ([f"{name}{i}" for i in range(40)] for name in "ab")
    assert lost([[page + footer], [other + footer]], [(0, 1)], 5) == [40]


def test_what_stands_elsewhere_or_twice_is_not_lost() -> None:
    words = [f"w{i}" for i in range(20)]
    assert lost([[words + words], [words]], [(0, 1)], 5) == [0]
    assert lost([[words[10:] + words[:10]], [words]], [(0, 1)], 5) == [0]


def test_a_field_without_words_or_shingles_loses_nothing() -> None:
    none = np.zeros(0, np.uint32)
    pair = np.array([0]), np.array([1])
    hashes = np.array([7, 8], np.uint64)
    offsets, bounds = np.array([0, 1, 2]), np.zeros(3, np.int64)
    words = np.array([0, 0], np.uint32)
    assert longest_runs(*pair, 1, offsets, hashes, bounds, none, words, 5).tolist() == [0]
    assert lost([[[], ["a"]], [[], ["a"]]], [(0, 1)], 5) == [0]
