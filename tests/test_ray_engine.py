"""The Ray engine on real Ray: several raylets on this machine, ended, stopped and killed."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("ray")
if not sys.platform.startswith("linux"):
    pytest.skip("several nodes on one machine need Linux", allow_module_level=True)

from ray.core.generated import gcs_pb2
from raylets import MEMORY, Raylets, alive, cloudpickle, left_of, ray

from dedupe.config import Tuning
from dedupe.engines import FaultCounts, Stage, ray_pool
from dedupe.engines.ray_engine import RayEngine
from dedupe.engines.ray_session import Session
from dedupe.errors import CorpusError, EngineError, SettingsError, WorkDirError
from dedupe.remote import patience

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


@pytest.fixture(scope="module")
def raylets():
    made = Raylets()
    made.add(1)
    made.add(1)
    yield made
    made.close()


@pytest.fixture
def start(raylets):
    """Start an engine; it is closed when the test is over."""
    engines = []

    def start(workers=None, cpus=1, prepare=nothing, notify=ignore, memory=MEMORY, **tuning):
        engine = RayEngine(raylets.address, workers, cpus, memory, tuning=Tuning(**tuning))
        engines.append(engine)
        engine.start(prepare, notify)
        return engine

    yield start
    for engine in engines:
        engine.close()


def nothing(notify):
    pass


def ignore(text):
    pass


@dataclass
class Done:
    """What a task gives, as far as an engine looks at it: rows and bytes."""

    rows: int
    bytes: int = 1
    pid: int = 0
    node: str = ""
    more: tuple = ()


def stage(function, count, *arguments):
    return Stage(
        "try", partial(function, *arguments), range(count), lambda task: f"try task {task}"
    )


def run(engine, function, count, *arguments):
    results = {}
    for task, result in engine.run(stage(function, count, *arguments)):
        assert task not in results
        results[task] = result
    assert sorted(results) == list(range(count))
    return results


def first_time(folder, task):
    """Whether a task is run for the first time; leaves the process's id."""
    try:
        with open(Path(folder, f"{task}"), "x") as file:
            file.write(str(os.getpid()))
        return True
    except FileExistsError:
        with open(Path(folder, f"{task}-again"), "a") as file:
            file.write(".")
        return False


def plain(task):
    return Done(task, more=("é" * task, task, None, 0.1))


def own_names(task):
    """What Ray calls the task and its worker."""
    context = ray.get_runtime_context()
    known = ray._private.state.state._connect_and_get_accessor()
    row = known.get_actor_info(ray.ActorID.from_hex(context.get_actor_id()))
    name = gcs_pb2.ActorTableData.FromString(row).repr_name
    return Done(1, more=(context.get_task_name(), name))


def wait_for_store(task):
    """One task asks a store in vain while others are done."""
    if task == 0:
        patience._waiting[threading.get_ident()] = (time.monotonic() - 60, "s3://b/a: SlowDown")
    time.sleep(4 if task == 0 else 0.2)
    patience._waiting.pop(threading.get_ident(), None)
    return Done(1)


def own_pid(seconds, task):
    time.sleep(seconds)
    return Done(1, pid=os.getpid(), node=ray.get_runtime_context().get_node_id())


def die_once(folder, poisoned, task):
    if task in poisoned and first_time(folder, task):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return Done(1)


def die(poisoned, task):
    if task == poisoned:
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.3)
    return Done(1)


def flaky(folder, times, task):
    if task == 1 and sum(first_time(folder, f"1-{n}") for n in range(times)) > 0:
        raise OSError(errno.EIO, "the file system hiccups")
    return Done(1)


def busy(folder, times, task):
    if task == 3 and len(list(folder.iterdir())) < times:
        (folder / str(time.monotonic_ns())).touch()
        error = WorkDirError("the store is busy")
        error.passing = True
        raise error
    return Done(task)


def always(error, task):
    if task == 1:
        raise error
    return Done(1)


def stop_once(folder, seconds, task):
    if task == 0 and first_time(folder, task):
        os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(seconds)
    return Done(1, pid=os.getpid())


def lag_once(folder, task):
    if task == 0 and first_time(folder, task):
        time.sleep(8)
        return Done(-1)
    time.sleep(0.02)
    return Done(1)


def test_results_are_complete_and_unchanged(start):
    engine = start()
    assert engine.concurrency == 2
    assert run(engine, plain, 100) == {task: plain(task) for task in range(100)}
    assert run(engine, plain, 0) == {}
    assert run(engine, own_pid, 1, 0.0)[0].rows == 1
    assert engine.faults == FaultCounts()


def test_tasks_and_workers_have_names(start):
    results = run(start(1), own_names, 12)
    assert [done.more[0] for done in results.values()] == [f"try {task}" for task in results]
    assert {done.more[1] for done in results.values()} == {"dedupe worker 0"}


def test_a_store_is_named_for_which_one_thread_of_a_busy_worker_waits(raylets, start, monkeypatch):
    monkeypatch.setattr(ray_pool, "TELL_SECONDS", 1.0)
    node = raylets.add(2)
    notes, told = [], []
    watched = replace(stage(wait_for_store, 20), watch=lambda *oldest: told.append(oldest))
    try:
        engine = start(1, cpus=2, notify=notes.append)
        assert len(list(engine.run(watched))) == 20
    finally:
        engine.close()
        raylets.take(node)
    assert {task for task, seconds in told if seconds > 1} == {"try task 0"}
    assert any("s3://b/a: SlowDown; asked again since" in note for note in notes), notes


def test_workers_on_every_node_and_threads_in_a_worker(raylets, start):
    found = run(start(), own_pid, 8, 0.3).values()
    assert len({result.node for result in found}) == 2
    node = raylets.add(3)
    try:
        notes = []
        engine = start(cpus=3, notify=notes.append)
        assert engine.concurrency == 3
        began = time.monotonic()
        found = run(engine, own_pid, 6, 1.0).values()
        assert time.monotonic() - began < 4
        assert len({result.pid for result in found}) == 1
        assert "1 worker on 1 node" in notes
    finally:
        engine.close()
        raylets.take(node)


def test_killed_workers_are_replaced_and_only_their_tasks_redone(tmp_path, start):
    engine = start()
    results, killed = {}, []
    for task, result in engine.run(stage(own_pid, 40, 0.1)):
        results[task] = result
        if len(results) in (8, 20):
            os.kill(result.pid, signal.SIGKILL)
            killed.append(result.pid)
    assert len(results) == 40
    assert len(set(killed)) == 2
    assert engine.faults.workers_lost == 2
    assert 1 <= engine.faults.retries <= 4
    late = {result.pid for result in list(results.values())[-10:]}
    assert not late & set(killed)


def test_task_that_ends_its_process_once_is_tried_again(tmp_path, start):
    engine = start()
    run(engine, die_once, 12, str(tmp_path), [2, 7])
    assert engine.faults.retries >= 2
    assert engine.faults.workers_lost == 2


def test_task_that_always_ends_its_process_ends_the_run(raylets, start):
    node = raylets.add(2)
    try:
        engine = start(workers=1, cpus=2)
        with pytest.raises(EngineError, match=r"try task 3 failed 3 times.*worker process died"):
            run(engine, die, 12, 3)
        assert engine.faults.workers_lost == 3
    finally:
        engine.close()
        raylets.take(node)


def test_lost_node_hands_its_tasks_on(raylets, start):
    node = raylets.add(2)
    engine = start(workers=4)
    lost = node.node_id
    ended = None
    results = {}
    for task, result in engine.run(stage(own_pid, 40, 0.25)):
        results[task] = result
        if len(results) == 8:
            assert any(r.node == lost for r in results.values())
            raylets.end(node)
            ended = time.monotonic()
    assert len(results) == 40
    assert time.monotonic() - ended < 25
    assert 1 <= engine.faults.retries <= 6
    until = time.monotonic() + 10
    while not engine.faults.nodes_lost and time.monotonic() < until:
        run(engine, own_pid, 2, 0.2)
    assert engine.faults.nodes_lost == 1


@contextmanager
def engine_on(raylets, *arguments, prepare=None, notify=None, **tuning):
    engine = RayEngine(raylets.address, *arguments, tuning=Tuning(**tuning))
    try:
        engine.start(prepare or nothing, notify or ignore)
        yield engine
    finally:
        engine.close()
        raylets.close()


def test_a_lost_node_is_counted_though_ray_knows_of_it_later():
    raylets = Raylets(health_check_period_ms=60_000, health_check_failure_threshold=10)
    raylets.add(1)
    node = raylets.add(1)
    with engine_on(raylets, 2, 1, MEMORY, straggler_seconds=1.0) as engine:
        results = []
        for task, _ in engine.run(stage(own_pid, 12, 0.3)):
            results.append(task)
            if len(results) == 4:
                raylets.end(node)
        assert sorted(results) == list(range(12))
        assert engine.faults.nodes_lost == 1


def slow_start(notify):
    time.sleep(30)


def test_workers_that_are_killed_for_memory_while_they_start_name_cause_and_remedy():
    raylets = Raylets(memory_usage_threshold=0.001, memory_monitor_refresh_ms=100)
    raylets.add(1)
    notes = []
    said = r"out of memory \(.*running low on memory.*--memory.*--worker-cpus"
    with (
        pytest.raises(EngineError, match=f"3 workers in a row failed to start.*{said}"),
        engine_on(raylets, 1, 1, MEMORY, prepare=slow_start, notify=notes.append),
    ):
        pass
    assert (
        len([note for note in notes if re.search(f"a worker failed to start: {said}", note)]) == 1
    )


def test_stopped_worker_does_not_hold_up_the_run(tmp_path, start):
    notes = []
    engine = start(notify=notes.append, ping_seconds=0.5, silence_seconds=2.0)
    began = time.monotonic()
    run(engine, stop_once, 10, str(tmp_path), 0.05)
    assert time.monotonic() - began < 8
    assert any("1 silent" in note for note in notes)
    pid = int((tmp_path / "0").read_text())
    os.kill(pid, signal.SIGCONT)
    until = time.monotonic() + 10
    while engine.concurrency < 2 and time.monotonic() < until:
        run(engine, own_pid, 2, 0.2)
    assert pid in {result.pid for result in run(engine, own_pid, 8, 0.2).values()}


def test_stopped_worker_is_given_up_and_replaced(tmp_path, start):
    engine = start(workers=2, ping_seconds=0.5, silence_seconds=1.0, give_up_seconds=2.0)
    run(engine, stop_once, 20, str(tmp_path), 0.2)
    pid = int((tmp_path / "0").read_text())
    until = time.monotonic() + 10
    while (engine.concurrency < 2 or alive(pid)) and time.monotonic() < until:
        run(engine, own_pid, 2, 0.2)
    assert len({result.pid for result in run(engine, own_pid, 8, 0.2).values()} - {pid}) == 2
    assert engine.faults.workers_lost == 1
    assert not alive(pid)


def test_straggler_is_run_a_second_time_and_the_first_result_counts(tmp_path, start):
    engine = start(straggler_seconds=1.0)
    began = time.monotonic()
    results = run(engine, lag_once, 20, str(tmp_path))
    assert time.monotonic() - began < 7
    assert results[0] == Done(1)
    assert engine.faults.speculated == 1
    assert (tmp_path / "0-again").read_text() == "."
    assert {r.rows for r in run(engine, plain, 20).values()} == set(range(20))


def test_node_that_joins_is_used(raylets, start):
    engine = start(nodes_seconds=0.5)
    node, found = None, {}
    try:
        for task, result in engine.run(stage(own_pid, 40, 0.25)):
            found[task] = result
            node = node or raylets.add(1)
        assert len(found) == 40
        assert node.node_id in {result.node for result in found.values()}
        assert engine.concurrency == 3
    finally:
        engine.close()
        raylets.take(node)


def test_more_workers_than_fit_run_with_those_that_do(start):
    notes = []
    engine = start(workers=5, notify=notes.append)
    assert engine.concurrency == 2
    run(engine, plain, 20)
    assert "2 workers on 2 nodes, waiting for 3 more" in notes


def test_nothing_fits(start):
    with pytest.raises(
        SettingsError, match=r"needs 64 CPUs .* the largest of 3 nodes offers 1 CPU"
    ):
        start(cpus=64)
    notes = []
    with pytest.raises(
        SettingsError, match=r"no worker was to be had.*50\.0 GB.*1 CPUs and 1\.0 GB"
    ):
        start(workers=1, memory=50_000_000_000, notify=notes.append, no_worker_seconds=1.5)
    assert notes[0].startswith("joining Ray at ")
    assert "waiting: a worker needs" in notes[1]


def test_errors_of_the_user_end_the_run_as_they_are(start):
    engine = start()
    error = CorpusError("is not JSON", path="a/b.jsonl", row=7)
    with pytest.raises(CorpusError) as caught:
        run(engine, always, 10, error)
    assert type(caught.value) is CorpusError
    assert (caught.value.path, caught.value.row) == ("a/b.jsonl", 7)
    assert str(caught.value) == "a/b.jsonl, row 7: is not JSON"
    assert caught.value.__cause__ is None
    assert engine.faults.retries == 0


def test_errors_that_may_pass_are_tried_again(tmp_path, start):
    engine = start(2)
    assert len(run(engine, busy, 20, tmp_path, 2)) == 20
    assert engine.faults.retries == 2
    with pytest.raises(WorkDirError, match=r"^the store is busy$"):
        run(engine, busy, 20, tmp_path, 100)
    assert len(list(tmp_path.iterdir())) == 5


def test_full_disk_ends_the_run(start):
    with pytest.raises(
        WorkDirError, match=r"try task 1: the disk is full, as seen from node 127.*--work-dir"
    ):
        run(start(), always, 4, OSError(errno.ENOSPC, "No space left on device"))


def test_other_errors_are_tried_again_elsewhere(tmp_path, start):
    engine = start()
    run(engine, flaky, 4, str(tmp_path), 1)
    assert engine.faults.retries == 1
    with pytest.raises(EngineError, match=r"try task 1 failed 3 times.*ValueError: broken"):
        run(engine, always, 4, ValueError("broken"))
    with pytest.raises(EngineError, match=r"out of memory.*--memory"):
        run(engine, always, 4, MemoryError())


def test_worker_of_another_version_is_refused(start, monkeypatch):
    other = {**ray_pool.identity(), "source": "0123", "python": "2.7"}
    monkeypatch.setattr(ray_pool, "identity", lambda: other)
    with pytest.raises(
        EngineError,
        match=r"source \w+ there, 0123 here; python .*, 2.7 here; "
        r"it has dedupe from /.*, the driver has it from /.*image",
    ):
        start()


class Unknown:
    def __reduce__(self):
        return __import__, ("dedupe_that_is_not_installed",)


def test_worker_without_the_package_is_refused(start):
    with pytest.raises(
        EngineError, match=r"cannot import .*from /.*dedupe_that_is_not_installed.*image"
    ):
        start(prepare=partial(print, Unknown()))


def refuse(notify):
    raise WorkDirError("this node does not see /work")


def break_down(notify):
    raise OSError("no such library")


def test_error_of_prepare_ends_the_start(start):
    with pytest.raises(WorkDirError, match="this node does not see /work"):
        start(prepare=refuse)
    with pytest.raises(EngineError, match=r"3 workers in a row failed to start.*no such library"):
        start(prepare=break_down)
    assert not ray.is_initialized()


def test_connection_of_the_user_is_used_and_left(raylets):
    ray.init(address=raylets.address, log_to_driver=False, logging_level="ERROR")
    try:
        engine = RayEngine(None, 1, 1, MEMORY)
        engine.start(nothing, ignore)
        assert run(engine, plain, 3) == {task: plain(task) for task in range(3)}
        engine.close()
        assert ray.is_initialized()
    finally:
        ray.shutdown()


def test_addresses_that_cannot_be_joined(monkeypatch, tmp_path):
    with pytest.raises(SettingsError, match="ray job submit"):
        RayEngine("ray://head:10001")
    for given, variable in (("http://head:8265", ""), (None, "http://head:8265")):
        monkeypatch.setenv("RAY_ADDRESS", variable)
        with pytest.raises(SettingsError, match=r"submitted to.*`ray job submit --address"):
            RayEngine(given)
    monkeypatch.setenv("RAY_ADDRESS", "http://head:8265")
    with pytest.raises(SettingsError, match=r"\(from RAY_ADDRESS\) is where jobs"):
        RayEngine("auto")
    monkeypatch.delenv("RAY_ADDRESS")
    for given in ("127.0.0.5", "head:", "head:70000", ":6379", "head:6379/x"):
        with pytest.raises(SettingsError, match="give host:port"):
            RayEngine(given)
    monkeypatch.setattr(ray._private.services, "find_gcs_addresses", find_none)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(SettingsError, match=r"no Ray cluster can be joined at auto.*ray start"):
        RayEngine("auto").start(nothing, ignore)
    assert not ray.is_initialized()


@contextmanager
def taken(answer):
    """A port of 127.0.0.5 where something sends `answer` or is silent; None for nobody."""
    server = socket.create_server(("127.0.0.5", 0))
    held = []

    def serve():
        with suppress(OSError):
            while True:
                held.append(server.accept()[0])
                if answer:
                    held[-1].recv(100)
                    held[-1].sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    if answer is None:
        server.close()
    else:
        thread.start()
    yield f"127.0.0.5:{server.getsockname()[1]}" if answer is not None else "127.0.0.5:1"
    with suppress(OSError):
        server.shutdown(socket.SHUT_RDWR)
    server.close()
    for connection in held:
        connection.close()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, r"no Ray cluster answers at 127.0.0.5:\d+ \(Connection refused\).*ray start --head"),
        (b"", r"no Ray cluster answers at 127.0.0.5:\d+ \(timed out\)"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", r"is no Ray cluster: .*6379.*dashboard"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "is no Ray cluster"),
    ],
)
def test_an_address_without_a_cluster_is_told_of_soon(answer, said):
    began = time.monotonic()
    with taken(answer) as address, pytest.raises(SettingsError, match=said):
        RayEngine(address).start(nothing, ignore)
    assert time.monotonic() - began < 10
    assert not ray.is_initialized()


def find_none():
    return set()


find_none.cache_clear = find_none  # type: ignore[attr-defined]


LOCAL = """
import dataclasses, os, signal, subprocess
import ray
from dedupe.engines import Stage
from dedupe.engines.ray_engine import RayEngine

@dataclasses.dataclass
class Done:
    rows: int
    pid: int
    bytes: int = 0

def work(task):
    return Done(task, os.getpid())

def fail(task):
    raise ValueError("broken")

def handler(*_):
    pass

signal.signal(signal.SIGTERM, handler)
before = dict(os.environ)
engine = RayEngine(None, 2, 1, 200_000_000)
engine.start(lambda notify: None, lambda text: None)
assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
assert signal.getsignal(signal.SIGTERM) is handler
results = dict(engine.run(Stage("s", work, range(20), str)))
assert {task: result.rows for task, result in results.items()} == {n: n for n in range(20)}
node = ray.nodes()[0]
folder = node["RayletSocketName"].split("/session_")[0]
assert node["Resources"]["CPU"] == 2
assert not ray._private.worker._global_node.webui_url
pids = {result.pid for result in results.values()}
pids |= {int(pid) for pid in subprocess.run(
    ["pgrep", "-f", folder], capture_output=True, text=True, check=True).stdout.split()}
try:
    list(engine.run(Stage("s", fail, range(20), str)))
except Exception as error:
    print(repr(str(error)))
finally:
    engine.close()
assert dict(os.environ) == before
print(os.path.exists(folder), sorted(pids))
"""


def test_local_ray_is_closed_off_and_leaves_nothing(tmp_path):
    env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    env["HOME"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", LOCAL], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    failed, left = done.stdout.splitlines()
    assert "failed 3 times" in failed
    there, _, pids = left.partition(" ")
    assert there == "False"
    pids = [int(pid) for pid in pids.strip("[]").split(",")]
    assert len(pids) > 4
    assert not left_of(pids)  # a worker whose raylet is gone ends a moment later
    assert not (tmp_path / ".ray").exists()
    assert done.stderr == ""


HEADLESS = """
import dataclasses, os, signal, subprocess, sys, time
import ray
from dedupe.engines import Stage, ray_address
from dedupe.engines.ray_engine import RayEngine
from dedupe.errors import EngineError

@dataclasses.dataclass
class Done:
    rows: int
    bytes: int = 0

def work(task):
    time.sleep(0.1)
    return Done(task)

ray_address.HEAD_SECONDS = 6.0
notes, done = [], 0
engine = RayEngine(None, 1, 1, 200_000_000)
engine.start(lambda notify: None, notes.append)
folder = ray.nodes()[0]["RayletSocketName"].split("/session_")[0]
found = subprocess.run(["pgrep", "-f", folder + ".*"], capture_output=True, text=True).stdout
heads = [pid for pid in map(int, found.split())
         if "gcs_server" in open(f"/proc/{pid}/cmdline").read().split(chr(0))[0]]
try:
    for done, _ in enumerate(engine.run(Stage("s", work, range(10_000), str))):
        if done == 5:
            os.kill(*heads, signal.SIGKILL)
except EngineError as error:
    print(error)
    print(done, notes[-1])
    print(folder)
finally:
    engine.close()
sys.exit(3)
"""


def test_a_run_without_a_head_goes_on_for_a_while_and_says_so(tmp_path):
    env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", HEADLESS],
        env={**env, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 3, done.stderr
    error, counted, folder = done.stdout.splitlines()
    assert re.search(r"head of .* not answered for \d+ sec.*the same command goes on", error)
    count, _, note = counted.partition(" ")
    assert int(count) > 30
    assert note.endswith(", the head does not answer")
    assert not subprocess.run(["pgrep", "-f", folder], capture_output=True, text=True).stdout


HEAD = """
import sys
from raylets import Raylets

raylets = Raylets()
print(raylets.address, flush=True)
sys.stdin.read()
raylets.close()
"""

RIGHT, WRONG = "a1" * 32, "b2" * 32


@pytest.fixture(scope="module")
def guarded():
    """The address of a cluster that asks for a token."""
    env = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": RIGHT}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    with subprocess.Popen(
        [sys.executable, "-c", HEAD],
        env=env,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as head:
        yield head.stdout.readline().strip()
        head.stdin.close()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "RAY_AUTH_MODE is not token"),
        ({"RAY_AUTH_MODE": "token"}, "none is given"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": WRONG}, "that in RAY_AUTH_TOKEN is not its"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": RIGHT}, ""),
    ],
)
def test_a_token_that_is_missing_or_wrong_is_told_of_first(guarded, tmp_path, given, said):
    env = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    code = (
        "from dedupe.engines.ray_session import Session;"
        f"session = Session({guarded!r}, 1, 1, None); session.open(); session.close()"
    )
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**env, **given, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    if not said:
        assert done.returncode == 0, done.stderr
        return
    assert time.monotonic() - began < 20
    assert f"SettingsError: Ray at {guarded} asks for a token, and {said}" in done.stderr
    assert "give the cluster's token with RAY_AUTH_MODE" in done.stderr


def test_import_of_engines_leaves_ray_out():
    code = "import sys, dedupe.engines; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_missing_ray_names_the_remedy():
    code = "import sys; sys.modules['ray'] = None; import dedupe.engines.ray_engine"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (
        "SettingsError: the Ray engine needs Ray: pip install 'dedupe-engine[ray]'" in done.stderr
    )


def test_address_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert Session(None, 1, 1, None).address == "10.0.0.1:6379"
    assert Session("auto", 1, 1, None).address == "auto"
    assert Session("local", 1, 1, None).is_local
    monkeypatch.delenv("RAY_ADDRESS")
    assert Session(None, 1, 1, None).is_local
