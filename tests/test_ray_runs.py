"""Whole runs on several raylets: the bytes of the local engine, whatever dies on the way."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

pytest.importorskip("ray")
if not sys.platform.startswith("linux"):
    pytest.skip("several nodes on one machine need Linux", allow_module_level=True)

import crawling
import fsspec
from corpora import STAGES as ALL_STAGES
from raylets import Raylets, cloudpickle

import dedupe
from dedupe import (
    Tuning,
    WorkDirError,
    apply,
    audit,
    audit_splits,
    deduplicate,
    edges,
    find_problems,
    split,
    write_signatures,
)
from dedupe.commands.index.check import check_index
from dedupe.config import Settings
from dedupe.demo import corpus_path
from dedupe.engines import ray_session
from dedupe.index.store import Store
from dedupe.indexing import begin_index
from dedupe.progress import Silent
from dedupe.session import prepare_worker
from dedupe.storage import files_at

cloudpickle.register_pickle_by_value(sys.modules[__name__])

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    # Ray leaves sockets and files open when it lets go
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    # and warns of what it will change in its own set-up
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
]

MEMORY = "500MB"

STAGES = tuple(name for name in ALL_STAGES if name != "join")
"""Those of a run with bands."""

FINE = {"task_text": 100_000, "bucket_records": 3000, "shard_bytes": 1, "keep_rows": 100}
"""Cuts the demo corpus into a dozen tasks for most stages, and components into two levels."""

TUNING = Tuning(**FINE)


@pytest.fixture(scope="module")
def raylets():
    made = Raylets()
    yield made
    made.close()


@pytest.fixture(scope="module")
def nodes(raylets):
    """Two nodes, by address."""
    return dict(add(raylets) for _ in range(2))


def add(raylets):
    node = raylets.add(1)
    return node.node_ip_address, node


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """The demo corpus in twelve shards."""
    folder = tmp_path_factory.mktemp("corpus")
    with gzip.open(corpus_path(), "rt", encoding="utf-8") as file:
        lines = list(file)
    for number in range(12):
        part = folder / f"part-{number:02d}.jsonl"
        part.write_text("".join(lines[number * 273 : (number + 1) * 273]), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def reference(corpus, tmp_path_factory):
    return deduplicate(corpus, tmp_path_factory.mktemp("local") / "out", id="id")


def bytes_of(result):
    return [file.read_bytes() for file in result.files]


class Faulty(Silent):
    """Progress that calls `fault` as each stage begins, and again when its first task is done."""

    def __init__(self, fault):
        self.fault = fault
        self.notes = []
        self.stages = {}

    def stage(self, name, tasks, done):
        self.stages[name] = tasks
        self.first = True
        if name != "survey":
            self.fault()

    def advance(self, rows):
        if self.first and len(self.stages) > 1:
            self.first = False
            self.fault()

    def note(self, text):
        self.notes.append(text)


def run(raylets, corpus, folder, progress=None, workers=2, **settings):
    return deduplicate(
        corpus,
        folder / "out",
        engine="ray",
        address=raylets.address,
        workers=workers,
        memory=MEMORY,
        id="id",
        progress=progress,
        tuning=TUNING,
        **settings,
    )


def test_references_are_the_same_on_both_engines(nodes, raylets, corpus, tmp_path):
    files = sorted(corpus.iterdir())
    how = {"against": [files[0], files[1]], "cluster": "transitive"}
    local = deduplicate(files[2:], tmp_path / "local", id="id", tuning=TUNING, **how)
    result = run(raylets, files[2:], tmp_path, **how)
    assert result.summary["reasons"]["reference"] > 0
    assert result.summary["references"] == local.summary["references"]
    assert bytes_of(result) == bytes_of(local)
    audited = {"sample": 500, "workers": 2, "memory": MEMORY}
    on_ray = audit(result.path, engine="ray", address=raylets.address, **audited)
    assert on_ray.ok
    assert on_ray.beside_reference.count == audit(local.path, sample=500).beside_reference.count


def test_test_sets_are_the_same_on_both_engines(nodes, raylets, corpus, tmp_path):
    lines = (corpus / "part-03.jsonl").read_text(encoding="utf-8").splitlines()[::9]
    words = [json.loads(line)["text"].split() for line in lines]
    items = [{"question": " ".join(one[:30]), "answer": "none"} for one in words]
    tests = tmp_path / "tests.jsonl"
    tests.write_text("".join(json.dumps(one) + "\n" for one in items), encoding="utf-8")
    local = deduplicate(corpus, tmp_path / "local", id="id", tuning=TUNING, evals=tests)
    result = run(raylets, corpus, tmp_path, evals=tests)
    assert result.summary["reasons"]["contaminated"] > 10
    assert bytes_of(result) == bytes_of(local)
    for name in ("contamination.parquet", "evals.parquet"):
        assert (result.path / name).read_bytes() == (local.path / name).read_bytes()


def test_rows_beside_kept_ones_are_the_same_on_both_engines(nodes, raylets, corpus, tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    for number, part in enumerate(sorted(corpus.iterdir())):
        rows = [json.loads(line) for line in part.read_text(encoding="utf-8").splitlines()]
        lines = [json.dumps({**row, "source": number % 3}) + "\n" for row in rows]
        (folder / part.name).write_text("".join(lines), encoding="utf-8")
    how = {"per": "source", "count_by": "source", "keep": "longest"}
    local = deduplicate(folder, tmp_path / "local", id="id", tuning=TUNING, **how)
    result = run(raylets, folder, tmp_path, **how)
    assert result.summary["reasons"]["extra"] > 20
    assert bytes_of(result) == bytes_of(local)
    often = {"repeat": "1:1,2:2,3:4", "copies_column": "copies", "rows_per_file": 500}
    apply(local.path, tmp_path / "here", **often)
    there = {"engine": "ray", "address": raylets.address, "workers": 2, "memory": MEMORY}
    apply(result.path, tmp_path / "there", **often, **there)
    names = [path.name for path in (tmp_path / "here").glob("part-*")]
    assert len(names) > 5
    for name in names:
        one, other = (tmp_path / place / name for place in ("here", "there"))
        assert one.read_bytes() == other.read_bytes()


def test_an_exact_join_is_the_same_on_both_engines(nodes, raylets, corpus, tmp_path):
    how = {"id": "id", "recall": "exact", "threshold": 0.6}
    local = deduplicate(corpus, tmp_path / "local", tuning=TUNING, **how)
    result = run(raylets, corpus, tmp_path, recall="exact", threshold=0.6)
    assert result.summary["stages"]["join"]["tasks"] >= 2
    assert bytes_of(result) == bytes_of(local)


def test_crawls_are_added_to_an_index_on_both_engines(nodes, raylets, corpus, tmp_path):
    files = sorted(corpus.iterdir())
    on_ray = {"engine": "ray", "address": raylets.address, "workers": 2, "memory": MEMORY}
    engines = {"local": {}, "ray": on_ray}
    for engine in engines:
        (tmp_path / engine).mkdir()
        begin_index(str(tmp_path / engine / "index"), Settings(id="id", text="text"))
    for number, crawl in enumerate((files[:7], files[7:])):
        for engine, how in engines.items():
            folder = tmp_path / engine
            given = {"index": folder / "index", "add": True, "name": f"c{number}", "tuning": TUNING}
            result = deduplicate(crawl, folder / f"out-{number}", **given, **how)
        local = dedupe.Result(tmp_path / "local" / f"out-{number}")
        assert bytes_of(result) == bytes_of(local)
    assert result.summary["index"]["dropped"] > 20
    stores = [Store.open(files_at(tmp_path / engine / "index")) for engine in engines]
    assert crawling.places(stores[0]) == crawling.places(stores[1])
    assert crawling.known(stores[0]) == crawling.known(stores[1])
    assert check_index(stores[1], Silent()).problems == []


def test_processes_die_in_every_stage(nodes, raylets, corpus, reference, tmp_path):
    def kill_one():
        (pid, _), *_ = raylets.workers() or [(None, None)]
        if pid is not None:
            os.kill(pid, signal.SIGKILL)

    progress = Faulty(kill_one)
    result = run(raylets, corpus, tmp_path, progress)
    assert bytes_of(result) == bytes_of(reference)
    assert set(STAGES) < set(progress.stages)
    one_task = {stage for stage in STAGES if progress.stages[stage] < 3}
    assert one_task <= {"group", "verify"}
    faults = result.summary["faults"]
    assert faults["workers_lost"] >= len(STAGES)
    assert faults["retries"] <= 2 * faults["workers_lost"]
    assert faults["nodes_lost"] == 0
    assert any("starting" in note or "waiting" in note for note in progress.notes)


def test_nodes_die_in_every_stage(nodes, raylets, corpus, reference, tmp_path):
    ended = []

    def end_one():
        """The first call of each stage: a node with a worker on it goes, another one comes."""
        here = [address for _, address in raylets.workers() if address in nodes]
        if not progress.first or not here:
            return
        raylets.end(nodes.pop(here[0]))
        ended.append(here[0])
        nodes.update([add(raylets)])

    progress = Faulty(end_one)
    result = run(raylets, corpus, tmp_path, progress)
    assert bytes_of(result) == bytes_of(reference)
    assert len(ended) == len(STAGES)
    assert result.summary["faults"]["nodes_lost"] == len(ended)


KILLED = """
import sys
import moments
from dedupe import Tuning, deduplicate

stage, corpus, output, engine, tuning = sys.argv[1:]
where = {"engine": "ray", "address": engine, "memory": "500MB"} if engine != "local" else {}
progress = moments.At(stage, moments.kill, 1)
how = {"id": "id", "workers": 2, "progress": progress, "tuning": Tuning(**eval(tuning))}
deduplicate(corpus, output, **where, **how)
"""


@pytest.mark.parametrize("stage", ["sign", "group"])
def test_the_driver_is_killed_and_the_run_resumed(raylets, corpus, reference, tmp_path, stage):
    given = [stage, str(corpus), str(tmp_path / "out"), raylets.address, repr(FINE)]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *given],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    result = run(raylets, corpus, tmp_path)
    assert bytes_of(result) == bytes_of(reference)
    assert result.summary["stages"][stage]["resumed"] >= 1
    before = STAGES[: STAGES.index(stage)]
    assert all(
        result.summary["stages"][name]["resumed"] == result.summary["stages"][name]["tasks"]
        for name in before
    )


def test_a_local_run_is_resumed_on_a_cluster(nodes, raylets, corpus, reference, forks, tmp_path):
    killed = forks.run(KILLED, "bucket", corpus, tmp_path / "out", "local", repr(FINE))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    result = run(raylets, corpus, tmp_path)
    assert bytes_of(result) == bytes_of(reference)
    assert result.summary["stages"]["sign"]["resumed"] > 3


def test_apply_writes_the_same_files(nodes, raylets, reference, tmp_path):
    for name, options in {
        "local": {},
        "ray": {"engine": "ray", "address": raylets.address, "workers": 2, "memory": MEMORY},
    }.items():
        places = {"output": tmp_path / name, "dropped": tmp_path / f"{name}.gone"}
        apply(reference.path, rows_per_file=100, **places, **options)
    for part in ("", ".gone"):
        files = sorted((tmp_path / f"local{part}").iterdir())
        assert len(files) > 20
        for file in files:
            assert content(tmp_path / f"ray{part}" / file.name) == content(file)


def content(file):
    """The bytes of a file; of what apply says of all, what does not depend on where they are."""
    if file.name != "_dedupe.json":
        return file.read_bytes()
    said = json.loads(file.read_bytes())
    return {key: said[key] for key in said if key not in ("fingerprint", "checksum")}


def test_edges_and_signatures_are_the_same_on_ray(nodes, raylets, reference, tmp_path):
    ray = {"engine": "ray", "address": raylets.address, "workers": 2, "memory": MEMORY}
    local, found = tmp_path / "local.parquet", tmp_path / "ray.parquet"
    edges(reference.path, local, least=0.6)
    assert edges(reference.path, found, least=0.6, **ray).table().num_rows > 600
    assert found.read_bytes() == local.read_bytes()
    tuning = Tuning(audit_text=50_000)
    write_signatures(reference.path, local, tuning=tuning)
    write_signatures(reference.path, found, tuning=tuning, **ray)
    assert found.read_bytes() == local.read_bytes()


def test_problems_are_the_same_on_ray(nodes, raylets, reference):
    tuning = Tuning(audit_text=50_000)
    local = find_problems(reference.path, tuning=tuning)
    data = (reference.path / "problems.parquet").read_bytes()
    (reference.path / "problems.parquet").unlink()
    ray = {"engine": "ray", "address": raylets.address, "workers": 2, "memory": MEMORY}
    assert find_problems(reference.path, tuning=tuning, **ray) == local
    assert sum(one["rows"] for one in local.values()) > 0
    assert (reference.path / "problems.parquet").read_bytes() == data


def test_an_audit_finds_the_same_though_a_worker_dies(nodes, raylets, reference):
    def kill_one():
        (pid, _), *_ = raylets.workers() or [(None, None)]
        if pid is not None and "scan" in progress.stages and not killed:
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)

    killed = []
    progress = Faulty(kill_one)
    tuning = Tuning(audit_text=50_000, keep_rows=100)
    how = {"sample": 1000, "tuning": tuning}
    local = audit(reference.path, **how)
    ray = {"engine": "ray", "address": raylets.address, "workers": 2, "memory": MEMORY}
    found = audit(reference.path, progress=progress, **ray, **how)
    assert killed
    assert progress.stages["scan"] >= 12
    assert {**found.as_json(), "seconds": 0} == {**local.as_json(), "seconds": 0}


def test_splits_are_the_same_though_a_worker_dies(nodes, raylets, tmp_path):
    def kill_one():
        (pid, _), *_ = raylets.workers() or [(None, None)]
        if pid is not None and "gather" in progress.stages and not killed:
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)

    killed = []
    progress = Faulty(kill_one)
    ray = {"engine": "ray", "address": raylets.address, "workers": 2, "memory": MEMORY}
    with gzip.open(corpus_path(), "rb") as file:
        (tmp_path / "half.jsonl").write_bytes(b"".join(file.readlines()[::2]))
    first = split(tmp_path / "half.jsonl", tmp_path / "first")
    how = {"stratify": "section", "lengths": 3, "validation": "5%", "tuning": TUNING}
    how["previous"] = first
    local = split(corpus_path(), tmp_path / "local", **how)
    found = split(corpus_path(), tmp_path / "ray", progress=progress, **ray, **how)
    assert killed
    for one, other in zip(local.shards, found.shards, strict=True):
        assert one["split_checksum"] == other["split_checksum"]
    assert audit_splits(tmp_path / "ray", **ray).ok
    applied = apply(tmp_path / "ray", tmp_path / "data", **ray)
    assert applied["rows"]["test"] == local.summary["splits"]["test"]


def test_real_corpora(nodes, raylets, real_data, tmp_path):
    corpus = next(real_data.glob("alpaca*.parquet"), None) or next(real_data.glob("*.parquet"))
    import pyarrow.parquet as pq

    names = pq.read_schema(corpus).names
    text = next(name for name in ("text", "output", "content") if name in names)
    local = deduplicate(corpus, tmp_path / "local", text=text)
    result = deduplicate(
        corpus,
        tmp_path / "ray",
        text=text,
        engine="ray",
        address=raylets.address,
        memory=MEMORY,
    )
    assert bytes_of(result) == bytes_of(local)
    assert result.summary["corpus"]["rows"] > 1000


def test_relative_paths_and_a_ray_of_its_own(tmp_path, monkeypatch):
    (tmp_path / "corpus").mkdir()
    copy = tmp_path / "corpus" / Path(corpus_path()).name
    copy.write_bytes(Path(corpus_path()).read_bytes())
    command = [sys.executable, "-m", "dedupe", "run", "corpus", "--output", "out", "--id", "id"]
    environment = {name: os.environ[name] for name in os.environ if name != "RAY_ADDRESS"}
    done = subprocess.run(
        [*command, "--engine", "ray", "--workers", "1", "--memory", MEMORY],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(tmp_path)
    for file in deduplicate("corpus", "local", id="id").files:
        assert (tmp_path / "out" / "keep" / file.name).read_bytes() == file.read_bytes()
    assert not (tmp_path / "out.work").exists()


SCRIPT = """
import sys
from dedupe import deduplicate

deduplicate("corpus", "out", id="id", engine="ray", workers=1, memory=sys.argv[1])
"""


@pytest.mark.parametrize("script", [None, "driver.py"])
def test_files_of_the_users_own_are_not_imported_by_workers(tmp_path, script):
    here = tmp_path / "here"
    (here / "corpus").mkdir(parents=True)
    copy = here / "corpus" / Path(corpus_path()).name
    copy.write_bytes(Path(corpus_path()).read_bytes())
    for name in ("dedupe", "numpy", "pyarrow", "json"):
        (here / f"{name}.py").write_text(f"open('{here}/imported-{name}', 'w')\n")
    command = [str(Path(sys.executable).with_name("dedupe")), "run", "corpus", "--output", "out"]
    command += ["--id", "id", "--engine", "ray", "--workers", "1", "--memory", MEMORY]
    if script is not None:
        (tmp_path / script).write_text(SCRIPT)
        command = [sys.executable, str(tmp_path / script), MEMORY]
    environment = {name: os.environ[name] for name in os.environ if name != "RAY_ADDRESS"}
    environment["PYTHONPATH"] = str(Path(dedupe.__file__).parent.parent)
    done = subprocess.run(
        command, cwd=here, env=environment, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stderr
    assert (here / "out" / "summary.json").exists()
    assert not list(here.glob("imported-*"))


def test_workers_look_for_the_package_where_it_is_not_installed(monkeypatch):
    here = Path(dedupe.__file__).parent.parent
    monkeypatch.setattr(sysconfig, "get_path", lambda name: f"/usr/lib/{name}")
    assert ray_session.folders_of_package() == [str(here)]
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(here))
    assert ray_session.folders_of_package() == []


@pytest.mark.stores
def test_a_store_and_a_ray_of_its_own(store, corpus, tmp_path):
    fs = fsspec.filesystem("s3")
    for file in corpus.iterdir():
        fs.put_file(str(file), f"bucket/corpus/{file.name}")
    command = [sys.executable, "-m", "dedupe", "run", "s3://bucket/corpus", "--id", "id"]
    where = ["--output", "s3://bucket/out", "--engine", "ray", "--workers", "2"]
    environment = {name: os.environ[name] for name in os.environ if name != "RAY_ADDRESS"}
    done = subprocess.run(
        [*command, *where, "--memory", MEMORY],
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    local = deduplicate("s3://bucket/corpus", tmp_path / "local", id="id")
    for file in local.files:
        assert fs.cat_file(f"bucket/out/keep/{file.name}") == file.read_bytes()
    assert fs.ls("bucket") == ["bucket/corpus", "bucket/out"]


@pytest.mark.stores
def test_a_store_that_is_down_for_a_while_is_waited_for_by_workers(
    nodes, raylets, store, server, corpus, tmp_path
):
    down_until = None

    def answer(method, path):
        nonlocal down_until
        if method != "PUT" or "/sign/" not in path:
            return None
        down_until = down_until or time.monotonic() + 12
        return "503 Slow Down" if time.monotonic() < down_until else None

    server.answer = answer
    progress = Faulty(lambda: None)
    options = {"key": "k", "secret": "s", "endpoint_url": server.url}
    options["config_kwargs"] = {"retries": {"max_attempts": 0}}  # the backend's own
    result = run(
        raylets,
        corpus,
        tmp_path,
        progress,
        work_dir="s3://bucket/work",
        storage_options={"s3": options},
    )
    assert bytes_of(result) == bytes_of(deduplicate(corpus, tmp_path / "local", id="id"))
    assert result.summary["faults"]["retries"] == 0
    assert down_until
    said = [note for note in progress.notes if note.startswith("node 127")]
    assert any("asked again since" in note for note in said), progress.notes


def test_a_worker_that_does_not_see_the_work_directory_says_so(tmp_path):
    work = files_at(tmp_path)
    with pytest.raises(WorkDirError, match="does not see the work directory"):
        prepare_worker(work, ".probe.1-0123abcd.tmp", None, {}, print, print)
