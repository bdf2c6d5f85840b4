"""The comparison with peers: its truth, its list, its runners, its tables."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import common
from benchmarks.corpus.small import sample
from benchmarks.measure.process import Usage
from benchmarks.report import tables
from benchmarks.studies.quality import Truth, truth

NO_PEERS = "peers are no part of a source distribution"
run = pytest.importorskip("benchmarks.peers.run", reason=NO_PEERS)
compare = pytest.importorskip("benchmarks.peers.compare", reason=NO_PEERS)

pytestmark = pytest.mark.bench
PLACE = Path(run.__file__).parent
PEERS, LOCKS = compare.PEERS, PLACE / "locks"
LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
TEXTS = [
    LONG,  # 0
    LONG,  # 1: equal to 0
    LONG + " fifteen",  # 2: 10 of 11 shingles with 0 and 1
    "something else that has nothing to do with any of the others here",  # 3
    "",  # 4: no shingle
    None,  # 5: no shingle
]


def corpus(folder: Path, texts: list[str | None]) -> list[str]:
    pq.write_table(pa.table({"text": pa.array(texts, pa.string())}), folder / "a.parquet")
    return [str(folder / "a.parquet")]


def test_the_truth_has_every_pair_and_its_similarity(tmp_path: Path) -> None:
    found = truth(pa.table({"text": pa.array(TEXTS, pa.string())}), 0.8)
    pairs = list(zip(found.left.tolist(), found.right.tolist(), found.jaccard, strict=True))
    assert pairs == [(0, 1, 1.0), (0, 2, 10 / 11), (1, 2, 10 / 11)]
    assert np.diff(found.offsets).astype(bool).tolist() == [True] * 4 + [False] * 2


def hand_made() -> Truth:
    """A chain 0 - 1 - 2, where 0 and 2 are no pair; 3 alone; 4 empty."""
    return Truth(
        offsets=np.array([0, 1, 2, 3, 4, 4]),
        hashes=np.arange(4, dtype=np.uint64),
        left=np.array([0, 1], np.int32),
        right=np.array([1, 2], np.int32),
        jaccard=np.array([0.82, 0.9]),
    )


@pytest.mark.parametrize(
    ("kept", "both_kept", "hard_recall", "dropped", "wrongly"),
    [
        ([0, 2, 3, 4], 0, 1.0, 1, 0),  # 1 has two kept partners
        ([0, 1, 2, 3, 4], 2, 0.0, 0, 0),  # nothing dropped, both pairs missed
        ([0, 3, 4], 0, 1.0, 2, 1),  # 2 was dropped because of 1, which is dropped as well
        ([1, 4], 0, 1.0, 3, 1),  # 3 has no partner at all
        ([2, 3], 0, 1.0, 2, 1),  # 0 was chained; the dropped empty row is counted apart
        ([0, 1, 3, 4], 1, 0.0, 1, 0),
    ],
)
def test_rows_dropped_without_a_kept_partner_are_wrongly_dropped(
    kept: list[int], both_kept: int, hard_recall: float, dropped: int, wrongly: int
) -> None:
    judged = compare.judge(hand_made(), np.array(kept, np.int64))
    assert judged["pairs"] == 2
    assert judged["both_kept"] == both_kept
    assert judged["recall"] == 1 - both_kept / 2
    assert judged["hard_pairs"] == 1
    assert judged["hard_recall"] == hard_recall
    assert judged["dropped"] == dropped
    assert judged["wrongly_dropped"] == wrongly
    assert judged["wrongly_dropped_share"] == (wrongly / dropped if dropped else None)
    assert judged["dropped_empty"] == (4 not in kept)


def test_tools_that_are_not_measured_again_keep_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    line = {"kind": "documented", "truth": {"recall": 1.0}}
    of_now = {"name": "gaoya", **line, "algorithm": compare.ALGORITHM}
    tools = [{"name": "dedupe", "wall_seconds": 2.5, **line}, {"name": "daft", **line}, of_now]
    path.write_text(json.dumps({"rows": 7, "tools": tools}), encoding="utf-8")
    now = [compare.Tool("dedupe", "documented", [])]
    beside = {"beside": {"wall_seconds": 2.5, "cpu_seconds": None, "peak_pss_bytes": None}}
    daft = {"algorithm": 1, "name": "daft", "kind": "documented", **beside}
    assert compare.earlier_lines(path, 7, now) == [daft, of_now | beside]
    assert compare.earlier_lines(path, 8, now) == []
    assert compare.earlier_lines(tmp_path / "none.json", 7, now) == []


def test_every_peer_has_a_runner_an_environment_a_page_and_pinned_versions() -> None:
    assert not PEERS.keys() & compare.LISTED["own"].keys()
    for comparison in compare.LISTED["comparisons"].values():
        assert {*comparison.get("documented", ()), *comparison.get("matched", ())} <= set(PEERS)
    for peer in (*PEERS.values(), *compare.LISTED["test_sets"]):
        assert callable(getattr(run, peer["runner"]))
        assert peer["page"].startswith("https://")
        assert peer["environment"] in {path.stem for path in LOCKS.glob("*.in")}
    for path in LOCKS.glob("*.in"):
        python, *packages = path.read_text(encoding="utf-8").splitlines()
        assert re.fullmatch(r"# Python 3\.\d+", python)
        held = path.with_suffix(".txt").read_text(encoding="utf-8").lower().replace("_", "-")
        for package in packages:
            name, _, version = package.partition(" ")[0].partition("==")
            pinned = f"{name.partition('[')[0]}=={version}" in held.splitlines()
            assert pinned or package == "--editable .[ray]"


def test_comparisons_are_those_of_the_result_files() -> None:
    for name, comparison in compare.LISTED["comparisons"].items():
        tools = [(tool.name, tool.kind) for tool in compare.tools_of(comparison)]
        result = common.read_result(name)
        assert tools == [(line["name"], line["kind"]) for line in result["tools"]]


def test_runners_import_nothing_of_this_project() -> None:
    code = (PLACE / "run.py").read_text(encoding="utf-8")
    assert not {"import dedupe", "from dedupe", "benchmarks"} & {*code.split("\n")}
    assert "dedupe." not in code
    assert "benchmarks" not in code


def test_a_peer_whose_bands_cannot_be_set_is_run_as_documented_alone() -> None:
    asked = {"own": [], "documented": ["spark"], "matched": ["spark", "datatrove"]}
    documented, matched = compare.tools_of(asked)
    assert (documented.name, documented.settings) == ("spark", PEERS["spark"]["documented"])
    assert (matched.name, matched.settings) == ("datatrove", compare.MATCHED)


def test_recipes_are_filled_with_the_values_of_a_run() -> None:
    given = {"workers": 2, "threshold": 0.8, "false_positive_rate": 0.1}
    recipe = run.recipe_of("dolma", folder=Path("/tmp/x"), documents=600, **given)
    assert recipe["documents"] == ["/tmp/x/documents/*.jsonl.gz"]
    assert (recipe["processes"], recipe["bloom_filter"]["estimated_doc_count"]) == (2, 600)
    assert recipe["dedupe"]["paragraphs"]["by_ngram"]["overlap_threshold"] == 0.8
    files = run.recipe_of("text_dedup", files=["a", "b"])["input.read_arguments.data_files"]
    assert files == ["a", "b"]
    assert "algorithm.bands" not in run.recipe_of("text_dedup", num_perm=128)
    assert run.recipe_of("text_dedup", bands=4, rows=3)["algorithm.bands"] == 4


def test_shingles_for_peers_without_any_are_those_of_the_words() -> None:
    assert run.shingles("A b, c D e f a b c d e") == [
        "a b c d e",
        "b c d e f",
        "c d e f a",
        "d e f a b",
        "e f a b c",
        "f a b c d",
    ]
    assert run.shingles("Too short!") == ["too short"]
    assert run.shingles(" -- ") == []


def test_the_corpus_is_numbered_through_its_row_groups_and_files(tmp_path: Path) -> None:
    for name, texts in (("a", ["x", None, "y"]), ("b", ["z"])):
        table = pa.table({"text": pa.array(texts, pa.string())})
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=2)
    files = compare.find_files(tmp_path)
    assert list(run.corpus(files)) == [(0, ["x", ""]), (2, ["y"]), (3, ["z"])]


def test_a_numbered_corpus_has_empty_texts_for_nulls(tmp_path: Path) -> None:
    files = corpus(tmp_path, ["a", None])
    (written,) = run.number_rows(files, tmp_path)
    columns = pq.read_table(written).to_pydict()
    assert columns == {"text": ["a", ""], "row": [0, 1], "id": ["0", "1"]}
    assert list(run.corpus([written])) == [(0, ["a", ""])]


def test_a_row_group_is_worked_on_in_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "BATCH", 2)
    (group,) = run.row_groups(corpus(tmp_path, ["a", "b c", "d"]))
    assert run._work(" ".join, group) == [(0, "a b c"), (2, "d")]


def test_bands_given_to_peers_are_those_of_datasketch() -> None:
    datasketch = pytest.importorskip("datasketch")
    for name in ("daft", "fastminhash", "dedup-rs"):
        given = PEERS[name]["documented"]
        lsh = datasketch.MinHashLSH(compare.THRESHOLD, given["num_perm"])
        assert (given["bands"], given["rows"]) == (lsh.b, lsh.r)


def test_a_sample_is_evenly_spaced_and_the_same_each_time(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    table = pa.table({"text": [f"t{i}" for i in range(10)], "source": ["s"] * 10})
    pq.write_table(table, tmp_path / "source" / "a.parquet")
    for name in ("one", "two"):
        sample(tmp_path / "source", tmp_path / name, 5, 2)
    one, two = (compare.find_files(tmp_path / name) for name in ("one", "two"))
    assert [Path(path).read_bytes() for path in one] == [Path(path).read_bytes() for path in two]
    assert [pq.read_table(path)["text"].to_pylist() for path in one] == [
        ["t0", "t2"],
        ["t4", "t6", "t8"],
    ]


def test_a_peer_that_is_not_installed_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"gaoya is not installed .*install\.sh .* gaoya"):
        compare.interpreter("gaoya", tmp_path)


def test_kept_rows_are_read_from_a_runner_and_from_keep_lists(tmp_path: Path) -> None:
    (tmp_path / "out" / "keep").mkdir(parents=True)
    for name, keep in (("0-a", [True, False]), ("1-b", [False, True])):
        pq.write_table(pa.table({"keep": keep}), tmp_path / "out" / "keep" / f"{name}.parquet")
    assert compare.read_kept(tmp_path).tolist() == [0, 3]
    pq.write_table(pa.table({"row": [2, 1]}), tmp_path / "kept.parquet")
    assert compare.read_kept(tmp_path).tolist() == [1, 2]


def lines() -> list[dict[str, Any]]:
    """Ours, a peer and one that did not end, from two runs."""
    asked = {"own": ["dedupe"], "documented": ["datasketch", "datatrove"], "matched": []}
    own, other, late = compare.tools_of(asked)
    late.failure = "ended after 1 s"
    for wall in (1.0, 3.0):
        own.runs.append(Usage(wall, wall, peak_pss_bytes=10))
        own.kept = np.array([0, 3], np.int64)
        other.runs.append(Usage(4 * wall, wall, peak_pss_bytes=25))
        other.kept = np.array([0, int(wall)], np.int64)
    return [tool.line(hand_made()) for tool in (own, other, late)]


def test_medians_are_those_of_runs_that_ended() -> None:
    own, other, late = lines()
    assert own["wall_seconds"] == 2.0
    assert (other["wall_seconds"], other["peak_pss_bytes"]) == (8.0, 25)
    assert (late["runs"], late["failure"]) == (0, "ended after 1 s")
    assert "wall_seconds" not in late


def test_tables_come_from_the_result_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {"name": "tiny", "note": "hand-made", "rows": 5, "text_bytes": 100}
    made |= {"algorithm": compare.ALGORITHM, "tools": lines()}
    (tmp_path / "peers-tiny.json").write_text(json.dumps(made), encoding="utf-8")
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    speed, judged = tables.table("peer_speed"), tables.table("peer_truth")
    assert "| datasketch | documented | 8.0 | 4.0 |" in speed
    assert "| datatrove | documented | ended after 1 s |" in speed
    assert "| dedupe |" in judged
    assert "| datatrove |" not in judged
    million = tables.table("peer_million")
    assert "| dedupe | 2.0 | 1.0 | 2.0 | 0.0 | 100.0 | 50.0 |" in million
    assert million.endswith("| datatrove | ended after 1 s |  |  |  | – | – |")


def test_runners_of_installed_libraries_keep_the_first_of_copies(tmp_path: Path) -> None:
    pytest.importorskip("datasketch")
    given = {"workers": 1, "threshold": 0.8, **PEERS["datasketch"]["documented"]}
    kept = run.datasketch(given, corpus(tmp_path, TEXTS), tmp_path)
    assert list(kept) == [0, 3, 4, 5]
