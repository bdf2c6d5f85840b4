"""The comparison with peers: its truth, its measuring, its list, its tables and plots."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks" / "peers"))

import peers
import runner
from compare import Tool, ask_for, ask_versions, corpus_facts, find_files, read_kept, summary
from measure import Usage, measured
from sample import sample
from truth import Truth, find_truth, judge

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
TEXTS = [
    LONG,  # 0
    LONG,  # 1: equal to 0
    LONG + " fifteen",  # 2: 10 of 11 shingles with 0 and 1
    "something else that has nothing to do with any of the others here",  # 3
    "",  # 4: no shingle
    None,  # 5: no shingle
]


def corpus(folder: Path, texts: list[str | None]) -> list[Path]:
    pq.write_table(pa.table({"text": pa.array(texts, pa.string())}), folder / "a.parquet")
    return [folder / "a.parquet"]


def test_the_truth_has_every_pair_and_its_similarity(tmp_path: Path) -> None:
    truth = find_truth(corpus(tmp_path, TEXTS), 0.8)
    found = list(zip(truth.left.tolist(), truth.right.tolist(), truth.jaccard, strict=True))
    assert found == [(0, 1, 1.0), (0, 2, 10 / 11), (1, 2, 10 / 11)]
    assert truth.empty.tolist() == [False, False, False, False, True, True]


def hand_made() -> Truth:
    """A chain 0 - 1 - 2, where 0 and 2 are no pair; 3 alone; 4 empty."""
    return Truth(
        left=np.array([0, 1], np.int32),
        right=np.array([1, 2], np.int32),
        jaccard=np.array([0.82, 0.9]),
        empty=np.array([False, False, False, False, True]),
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
    judged = judge(hand_made(), np.array(kept, np.int64))
    assert judged["pairs"] == 2
    assert judged["both_kept"] == both_kept
    assert judged["recall"] == 1 - both_kept / 2
    assert judged["hard_pairs"] == 1
    assert judged["hard_recall"] == hard_recall
    assert judged["dropped"] == dropped
    assert judged["wrongly_dropped"] == wrongly
    assert judged["wrongly_dropped_share"] == (wrongly / dropped if dropped else None)
    assert judged["dropped_empty"] == (4 not in kept)


def test_every_peer_has_a_runner_an_environment_a_page_and_pinned_versions() -> None:
    environments = {environment.name: environment for environment in peers.ENVIRONMENTS}
    assert len({peer.name for peer in peers.PEERS} | set(peers.OWN)) == (
        len(peers.PEERS) + len(peers.OWN)
    )
    for peer in peers.PEERS:
        assert (BENCHMARKS / "peers" / peer.runner).is_file()
        assert peer.page.startswith("https://")
        assert len(environments[peer.environment].pinned()) == len(
            environments[peer.environment].packages
        )
    assert {peer.environment for peer in peers.PEERS} | {"dedupe"} == set(environments)
    runners = {path.name for path in (BENCHMARKS / "peers").glob("run_*.py")}
    assert runners == {peer.runner for peer in peers.PEERS}


def test_peers_are_asked_for_by_name_environment_and_settings() -> None:
    asked = ask_for(["fast", "text-dedup", "daft:matched", "daft"], ["documented"])
    assert set(asked) == {*peers.FAST, "text-dedup", "text-dedup-unchecked"}
    assert asked["daft"] == ["documented", "matched"]
    assert asked["gaoya"] == ["documented"]
    assert ask_for(["rensa:16x8"], [])["rensa-lsh"] == ["16x8"]
    for wrong in ("nobody", "daft:fast", "daft:16x", "dedupe"):
        with pytest.raises(ValueError, match=wrong.partition(":")[2] or wrong):
            ask_for([wrong], ["documented"])


def test_fast_peers_are_peers() -> None:
    assert set(peers.FAST) <= {peer.name for peer in peers.PEERS}


def test_a_lock_holds_the_pinned_versions() -> None:
    for environment in peers.ENVIRONMENTS:
        lock = (BENCHMARKS / "peers" / "locks" / f"{environment.name}.txt").read_text()
        held = {line.lower().replace("_", "-") for line in lock.splitlines()}
        assert {f"{name}=={version}" for name, version in environment.pinned().items()} <= held


def test_runners_import_nothing_of_this_project() -> None:
    for path in (BENCHMARKS / "peers").glob("run*.py"):
        code = path.read_text(encoding="utf-8")
        assert "import dedupe" not in code
        assert "from dedupe" not in code


def test_settings_that_a_peer_cannot_take_are_none() -> None:
    named = {peer.name: peer for peer in peers.PEERS}
    bands, rows = peers.MATCHED
    matched = named["datatrove"].settings("matched")
    assert matched == {"bands": bands, "rows": rows, "num_perm": bands * rows}
    assert named["gaoya"].settings("4x3") == {"bands": 4, "rows": 3, "num_perm": 12}
    assert named["spark"].settings("matched") is None
    assert named["spark"].settings("documented") == named["spark"].documented


def test_shingles_for_peers_without_any_are_those_of_the_words() -> None:
    assert runner.shingles("A b, c D e f a b c d e") == [
        "a b c d e",
        "b c d e f",
        "c d e f a",
        "d e f a b",
        "e f a b c",
        "f a b c d",
    ]
    assert runner.shingles("Too short!") == ["too short"]
    assert runner.shingles(" -- ") == []


def test_the_corpus_is_numbered_through_its_row_groups_and_files(tmp_path: Path) -> None:
    for name, texts in (("a", ["x", None, "y"]), ("b", ["z"])):
        table = pa.table({"text": pa.array(texts, pa.string())})
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=2)
    files = [str(path) for path in find_files(tmp_path)]
    assert list(runner.corpus(files)) == [(0, ["x", ""]), (2, ["y"]), (3, ["z"])]
    assert corpus_facts(find_files(tmp_path)) == {"rows": 4, "text_bytes": 3, "files": 2}


def test_nulls_become_empty_texts_for_peers_that_stop_at_them(tmp_path: Path) -> None:
    whole = [str(path) for path in corpus(tmp_path, ["a", "b"])]
    assert runner.without_nulls(whole, tmp_path) == whole
    (tmp_path / "nulls").mkdir()
    holed = [str(path) for path in corpus(tmp_path / "nulls", ["a", None])]
    mended = runner.without_nulls(holed, tmp_path)
    assert mended != holed
    assert list(runner.corpus(mended)) == [(0, ["a", ""])]


def test_a_row_group_is_worked_on_in_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "BATCH", 2)
    (piece,) = runner.pieces([str(path) for path in corpus(tmp_path, ["a", "b c", "d"])])
    assert runner._work(" ".join, piece) == [(0, "a b c"), (2, "d")]


def test_bands_chosen_for_peers_are_those_of_datasketch() -> None:
    datasketch = pytest.importorskip("datasketch")
    for threshold, num_perm in ((0.8, 64), (0.8, 128), (0.5, 32)):
        lsh = datasketch.MinHashLSH(threshold, num_perm)
        assert runner.optimal_bands(threshold, num_perm) == (lsh.b, lsh.r)


def test_a_sample_is_evenly_spaced_and_the_same_each_time(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    table = pa.table({"text": [f"t{i}" for i in range(10)], "source": ["s"] * 10})
    pq.write_table(table, tmp_path / "source" / "a.parquet")
    for name in ("one", "two"):
        sample(tmp_path / "source", tmp_path / name, 5, 2)
    one, two = (find_files(tmp_path / name) for name in ("one", "two"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    assert [pq.read_table(path)["text"].to_pylist() for path in one] == [
        ["t0", "t2"],
        ["t4", "t6", "t8"],
    ]


def test_children_and_orphans_are_measured_with_their_parent() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    child = f"{burn.splitlines()[0]}\n"
    script = (
        "import subprocess, sys\n"
        f"code = {child + burn.splitlines()[1]!r}\n"
        "subprocess.Popen([sys.executable, '-c', code])\n"  # nobody waits for it
    )
    used = measured([sys.executable, "-c", script])
    assert used.returncode == 0
    if sys.platform == "linux":
        assert used.cpu_seconds > 0.3


def test_cpu_seconds_of_workers_that_nobody_waits_for_count() -> None:
    burn = "import time\nwhile time.process_time() < 0.6: pass\ntime.sleep(1.5)"
    script = (
        "import os, signal, subprocess, sys\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"  # the system forgets its children
        f"one = subprocess.Popen([sys.executable, '-c', {burn!r}])\n"
        "one.wait()\n"
    )
    used = measured([sys.executable, "-c", script])
    if sys.platform == "linux":
        assert used.cpu_seconds > 0.4  # it is looked at now and then, and not at the end


def test_memory_is_of_the_whole_tree() -> None:
    hold = "b = b'x' * (60 << 20); import time; time.sleep(1.5)"
    script = (
        "import subprocess, sys\n"
        f"command = [sys.executable, '-c', {hold!r}]\n"
        "two = [subprocess.Popen(command) for _ in range(2)]\n"
        "[one.wait() for one in two]\n"
    )
    used = measured([sys.executable, "-c", script])
    if sys.platform == "linux":
        assert used.peak_pss_bytes > 110 << 20 > used.peak_rss_bytes


def test_what_takes_too_long_is_ended_with_all_it_started() -> None:
    script = "import subprocess; subprocess.run(['sleep', '60'])"
    used = measured([sys.executable, "-c", script], timeout=0.3)
    assert used.returncode is None
    assert used.wall_seconds < 30


def test_a_peer_that_is_not_installed_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"gaoya is not installed .*install\.py gaoya --into"):
        ask_versions("gaoya", tmp_path)


def test_kept_rows_are_read_from_a_runner_and_from_keep_lists(tmp_path: Path) -> None:
    (tmp_path / "out" / "keep").mkdir(parents=True)
    for name, keep in (("0-a", [True, False]), ("1-b", [False, True])):
        pq.write_table(pa.table({"keep": keep}), tmp_path / "out" / "keep" / f"{name}.parquet")
    assert read_kept(tmp_path).tolist() == [0, 3]
    runner.write_kept(str(tmp_path / "kept.parquet"), [2, 1])
    assert read_kept(tmp_path).tolist() == [1, 2]


def lines() -> list[dict[str, Any]]:
    """Ours, a peer and one that did not end, from two runs."""
    own = Tool("dedupe", "documented", [], None, {})
    other = Tool("datasketch", "documented", {}, peers.PEERS[0], {})
    late = Tool("datatrove", "documented", {}, peers.PEERS[-1], {}, failure="ended after 1 s")
    for wall in (1.0, 3.0):
        own.runs.append(Usage(wall, wall, 1, 10, 0))
        own.kept.append(np.array([0, 3], np.int64))
        other.runs.append(Usage(4 * wall, wall, 1, 25, 0))
        other.kept.append(np.array([0, int(wall)], np.int64))
    judged = judge(hand_made(), np.array([0, 3], np.int64))
    return [summary(tool, own, judged if tool.runs else None) for tool in (own, other, late)]


def test_medians_come_with_ratios_to_this_project() -> None:
    own, other, late = lines()
    assert own["wall_seconds"] == 2.0
    assert own["ratio_wall_seconds"] == 1.0
    assert (other["wall_seconds"], other["ratio_wall_seconds"]) == (8.0, 4.0)
    assert other["ratio_peak_pss_bytes"] == 2.5
    assert (own["same_each_run"], other["same_each_run"]) == (True, False)
    assert (late["runs"], late["failure"]) == (0, "ended after 1 s")
    assert "wall_seconds" not in late


def comparison(folder: Path) -> Path:
    """A result file of these lines."""
    folder.mkdir()
    made = {"name": "tiny", "note": "hand-made", "rows": 5, "text_bytes": 100, "tools": lines()}
    (folder / "peers-tiny.json").write_text(json.dumps(made), encoding="utf-8")
    return folder


def test_tables_come_from_the_result_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tables

    monkeypatch.setattr(tables, "RESULTS", comparison(tmp_path / "results"))
    speed, truth = tables.peer_speed(), tables.peer_truth()
    assert "| datasketch | documented | 8.0 | 4.0 |" in speed
    assert "| datatrove | documented | ended after 1 s |" in speed
    assert "| dedupe |" in truth
    assert "| datatrove |" not in truth
    million = tables.peer_million()
    assert "| dedupe | 2.0 | 1.0 | 2.0 | 0.0 | 100.0 | 50.0 |" in million
    assert million.endswith("| datatrove | ended after 1 s |  |  |  | – | – |")


def test_plots_are_drawn_from_the_result_files(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    import plot_peers

    source = comparison(tmp_path / "results")
    for name in ("one", "two"):
        plot_peers.draw(tmp_path / name, source)
    for path in (tmp_path / "one").glob("*.svg"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
        assert (tmp_path / "one" / f"{path.stem}.png").stat().st_size > 1000
    assert {path.stem for path in (tmp_path / "one").glob("*.svg")} == set(plot_peers.PLOTS)
