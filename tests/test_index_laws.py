"""The laws of an index, over random corpora and cuts: crawls that are added one by one are decided
like one run over all of them, and no decision is ever another one later."""

from __future__ import annotations

import random

import crawling
import naive
import pyarrow.parquet as pq
import pytest

import dedupe.indexing
from dedupe import Settings, deduplicate
from dedupe.indexing import begin_index

EXACT = {"recall": "exact"}

KINDS = {
    "exact recall": EXACT,
    "bands": {},
    "within": {"within": "lang"},
    "within, exact recall": {"within": "lang", **EXACT},
    "copies alone": {"near": False},
    "the same words": {"exact": "words"},
    "the same bytes, exact recall": {"exact": "bytes", **EXACT},
    "characters": {"shingle": "char:7"},
    "characters, exact recall": {"shingle": "char:7", **EXACT},
    "numbers apart": {"distinct": "numbers"},
    "several fields": {"text": ["instruction", "output"], "match": "fields"},
    "several fields, exact recall": {
        "text": ["instruction", "output"], "match": "fields", "within": "lang", **EXACT
    },
    "instructions": {"text": None, "format": "alpaca", "within": ["lang"]},
    "no ids": {"id": None},
    "no ids, exact recall": {"id": None, "within": "lang", **EXACT},
}  # fmt: skip

FEW_BANDS = {"bands": 4, "rows": 7, "num_perm": 64, "threshold": 0.5}
"""Bands that miss most pairs at the threshold."""


class Compared:
    """Crawls that were added one by one, and one run over all of them.

    late: rows of the index that were seen to be duplicates of others of it, of each crawl.
    different: rows that are decided otherwise, by path and row. store: the index at last.
    """

    def __init__(self, folder, random_, rows, settings, **how):
        self.crawls = crawling.some_crawls(folder / "corpus", random_, rows)
        self.index = folder / "index"
        results = crawling.added(self.index, folder, self.crawls, settings, **how)
        paths = [path for crawl in self.crawls for path in crawl]
        self.one = deduplicate(paths, folder / "all", settings=settings, **how)
        self.late = [result.summary["index"]["late"] for result in results]
        self.store = crawling.opened(self.index)
        self.crawl_of = {path: f"c{n}" for n, crawl in enumerate(self.crawls) for path in crawl}
        names = [*crawling.DECISIONS, *(["id", "witness_id"] if settings.id else [])]
        self.different = {}
        known = crawling.said(self.store)
        after = {path: of for result in results for path, of in crawling.lists_of(result).items()}
        for path, rows in crawling.lists_of(self.one).items():
            for whole, own in zip(rows, after.pop(path), strict=True):
                alike = [*names, *([] if own["keep"] else ["reason"])]
                if any(whole[name] != own[name] for name in alike):
                    self.different[path, own["row"]] = whole, own
                self._check(known[path, own["row"]], path, own)
        assert not after

    def _check(self, known, path, own):
        """What a keep-list says of a row the index must know, and an earlier crawl is named."""
        crawl, crawl_of_witness, place = self.crawl_of[path], None, own["witness_shard"]
        if place is not None:
            crawl_of_witness = self.crawl_of[place]
        where = (crawl_of_witness, place, own["witness_row"])
        assert known[:6] == (crawl, own["reason"], own["jaccard"], *where)
        assert (known[6] or 0) == (own["lost"] or 0)
        assert own["witness_crawl"] == (None if crawl_of_witness == crawl else crawl_of_witness)


def seed_of(name, number):
    return random.Random(f"{name} {number}")


def some_settings(random_, **given):
    given = {"id": "id", "text": "text", "threshold": random_.choice([0.5, 0.7, 0.8]), **given}
    return Settings(**given)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", range(3))
def test_crawls_are_decided_like_one_run_over_all(tmp_path, monkeypatch, kind, number):
    random_ = seed_of(kind, number)
    how = {}
    if number == 1:
        monkeypatch.setattr(dedupe.indexing, "RANGE", 17)
        how = {"tuning": crawling.SMALL}
    rows = crawling.some_rows(random_, random_.choice([30, 100]))
    settings = some_settings(random_, **KINDS[kind])
    compared = Compared(tmp_path, random_, rows, settings, **how)
    assert compared.different == {}
    assert sum(compared.late) == 0


def late_classes(compared, threshold):
    """The classes that have two kept rows which are duplicates, by brute force."""
    known, where = crawling.said(compared.store), crawling.places(compared.store)
    of_class = {}
    for (_, path, row), number in zip(where, crawling.classes(compared.store), strict=True):
        if known[path, row][1] in ("unique", "representative"):
            text = pq.read_table(path).column("text")[row].as_py()
            of_class.setdefault(number, []).append(naive.word_shingles(text, 5))
    return {
        number
        for number, sets in of_class.items()
        if any(
            naive.jaccard(one, other) >= threshold
            for place, one in enumerate(sets)
            for other in sets[:place]
        )
    }


def test_what_bands_missed_is_counted_and_all_else_is_the_same(tmp_path):
    late, different = 0, 0
    for number in range(8):
        random_ = seed_of("few bands", number)
        rows = crawling.some_rows(random_, 120)
        settings = some_settings(random_, **FEW_BANDS)
        (tmp_path / str(number)).mkdir()
        compared = Compared(tmp_path / str(number), random_, rows, settings)
        where = crawling.places(compared.store)
        classes = dict(zip(where, crawling.classes(compared.store), strict=True))
        known = late_classes(compared, settings.threshold)
        for path, row in compared.different:
            assert classes[compared.crawl_of[path], path, row] in known
        assert bool(sum(compared.late)) == bool(known)
        late += sum(compared.late)
        different += len(compared.different)
    assert late > 0
    assert different > 0


@pytest.mark.parametrize("given", [EXACT, {}, FEW_BANDS, {"within": "lang", "keep": "longest"}])
@pytest.mark.parametrize("number", range(2))
def test_no_decision_is_ever_another_one_later(tmp_path, given, number):
    random_ = seed_of(str(given), number)
    crawls = crawling.some_crawls(tmp_path / "corpus", random_, crawling.some_rows(random_, 100))
    index, settings = tmp_path / "index", some_settings(random_, **given)
    begin_index(str(index), settings)
    decisions, together, places = [], [], []
    for place, crawl in enumerate(crawls):
        deduplicate(crawl, tmp_path / str(place), index=index, add=True, name=str(place))
        store = crawling.opened(index)
        now, classes = crawling.known(store), crawling.classes(store)
        assert now[: len(decisions)] == decisions
        assert crawling.places(store)[: len(places)] == places
        assert all(classes[a] == classes[b] for a, b in together)
        decisions, places = now, crawling.places(store)
        first = {}
        together = [(first.setdefault(one, row), row) for row, one in enumerate(classes)]
    assert len(decisions) == 100


def test_the_order_in_which_crawls_came_is_recorded(tmp_path):
    random_ = random.Random(5)
    crawls = crawling.some_crawls(tmp_path / "corpus", random_, crawling.some_rows(random_, 60))
    policies = ["first", "longest", ["prefer:lang=b,a", "first"]]
    index = tmp_path / "index"
    begin_index(str(index), Settings(text="text", id="id"))
    first = 0
    for place, crawl in enumerate(crawls[::-1]):
        keep = policies[place % 3]
        name = f"from {place}"
        result = deduplicate(
            crawl, tmp_path / str(place), index=index, add=True, name=name, keep=keep
        )
        manifest = crawling.opened(index).manifest
        assert manifest.number == place + 1
        assert [one.name for one in manifest.crawls] == [f"from {n}" for n in range(place + 1)]
        added = manifest.crawls[-1]
        assert (added.first, added.rows, added.kept) == (first, result.rows, kept_texts(result))
        assert added.reading["keep"] == Settings(keep=keep).as_dict()["keep"]
        first += result.rows
    store = crawling.opened(index)
    paths = [path for crawl in crawls[::-1] for path in crawl]
    assert store.places().paths.to_pylist() == paths
    assert store.manifest.rows == first == 60


def kept_texts(result):
    """Rows that stay and have words."""
    return result.kept - result.summary["reasons"]["empty"]


ALIKE = ("row", "id", "keep", "jaccard")


def place_of(paths, row):
    """Where the witness of a row is; None without one."""
    if row["witness_shard"] is None:
        return None
    return paths.index(row["witness_shard"]), row["witness_row"]


@pytest.mark.parametrize("keep", ["longest", "shortest", ["prefer:lang=b,a", "longest"]])
@pytest.mark.parametrize("number", range(2))
def test_with_other_policies_what_came_earlier_wins(tmp_path, keep, number):
    """As in one run in which earlier crawls are preferred, and within a crawl the policy counts."""
    random_ = seed_of(str(keep), number)
    rows = crawling.some_rows(random_, 100)
    crawls = crawling.some_crawls(tmp_path / "corpus", random_, rows)
    settings = some_settings(random_, keep=keep, **EXACT)
    results = crawling.added(tmp_path / "index", tmp_path, crawls, settings)
    policy = ["min:crawl", *([keep] if isinstance(keep, str) else keep)]
    given = {**settings.as_dict(), "keep": policy}
    paths = [path for crawl in crawls for path in crawl]
    one = deduplicate(paths, tmp_path / "all", settings=Settings(**given))
    after = {path: of for result in results for path, of in crawling.lists_of(result).items()}
    for path, expected in crawling.lists_of(one).items():
        for whole, own in zip(expected, after[path], strict=True):
            assert [own[name] for name in ALIKE] == [whole[name] for name in ALIKE]
            named = [place_of(paths, one) for one in (own, whole)]
            if named[0] != named[1]:  # of equally similar rows of the index the first counts
                assert own["witness_crawl"] is not None
                assert named[0] < named[1]


def row(text, **more):
    values = dict.fromkeys(("instruction", "output"), "")
    return {"id": "a", "text": text, **values, "lang": "a", "crawl": 0, **more}


LONG = " ".join(crawling.VOCABULARY[:60])
NEAR_LONG = " ".join([*crawling.VOCABULARY[:59], "other"])


@pytest.mark.parametrize("given", [{}, EXACT, {"near": False}])
def test_crawls_without_rows_or_words_are_crawls(tmp_path, given):
    words = [row(LONG), row(NEAR_LONG)]
    empty = [row(""), row("  "), row(None)]
    crawls = crawling.written(
        tmp_path / "corpus",
        [[[]], [empty], [words[:1]], [[], []], [[], empty, words[1:]], [empty], [words, []]],
    )
    settings = Settings(text="text", id="id", threshold=0.7, **given)
    results = crawling.added(tmp_path / "index", tmp_path, crawls, settings)
    assert [result.rows for result in results] == [0, 3, 1, 0, 4, 3, 2]
    near = settings.near
    assert [kept_texts(result) for result in results] == [0, 0, 1, 0, 0 if near else 1, 0, 0]
    reasons = [row["reason"] for of in crawling.lists_of(results[-1]).values() for row in of]
    assert reasons == ["exact", "near" if near else "exact"]
    assert crawling.opened(tmp_path / "index").manifest.rows == 13


def test_copies_of_a_dropped_row_have_the_witness_of_that_row(tmp_path):
    """A kept row that came between them is more similar, and is not named."""
    words = crawling.VOCABULARY
    kept = words[:60]
    dropped = [*words[:56], *words[100:104]]
    closer = [*words[200:202], *dropped[2:]]
    texts = [" ".join(one) for one in (kept, dropped, closer, dropped)]
    texts[3] = texts[3].upper()
    shingles = [naive.word_shingles(one, 5) for one in texts]
    threshold = naive.jaccard(shingles[0], shingles[1]) - 0.01
    assert naive.jaccard(shingles[0], shingles[2]) < threshold
    assert naive.jaccard(shingles[1], shingles[2]) > threshold + 0.05
    for given in ({}, EXACT):
        folder = tmp_path / str(len(given))
        folder.mkdir()
        crawls = crawling.written(folder / "corpus", [[[row(one)]] for one in texts])
        settings = Settings(text="text", id="id", threshold=threshold, **given)
        results = crawling.added(folder / "index", folder, crawls, settings)
        reasons = [result.keep_list()["reason"].to_pylist() for result in results]
        assert reasons == [["unique"], ["near"], ["unique"], ["near"]]
        last = results[-1].keep_list().to_pylist()[0]
        assert (last["witness_crawl"], last["witness_shard"]) == ("c0", crawls[0][0])


def test_crawls_held_against_an_index_are_not_in_it(tmp_path):
    random_ = random.Random(9)
    crawls = crawling.some_crawls(tmp_path / "corpus", random_, crawling.some_rows(random_, 80))
    index, settings = tmp_path / "index", some_settings(random_)
    crawling.added(index, tmp_path, crawls[:1], settings)
    manifest = crawling.opened(index).manifest
    own = deduplicate(crawls[1], tmp_path / "own", index=index)
    against = deduplicate(crawls[1], tmp_path / "against", against=index)
    assert crawling.opened(index).manifest == manifest
    added = deduplicate(crawls[1], tmp_path / "added", index=index, add=True)
    assert [crawling.lists_of(one) for one in (own,)] == [crawling.lists_of(added)]
    reasons = {row["reason"] for of in crawling.lists_of(against).values() for row in of}
    assert "reference" in reasons
    assert (own.mask() == added.mask()).all()
