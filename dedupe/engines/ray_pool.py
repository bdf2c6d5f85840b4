"""The pool of workers as the driver sees it: asked for, alive, silent, dead.

Workers are actors that Ray neither restarts nor retries: the driver owns the attempts. One that is
asked for but has no place yet is no capacity; it only tells an autoscaler what is wanted. One that
does not answer is set aside and its tasks are handed on; should it come back, it is used again.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import ray
from ray import cloudpickle
from ray.exceptions import (
    ActorUnavailableError,
    GetTimeoutError,
    NodeDiedError,
    ObjectLostError,
    RayError,
    RayTaskError,
    RuntimeEnvSetupError,
)

from dedupe.config import Tuning
from dedupe.engines import FaultCounts, Prepare
from dedupe.engines.attempts import Call, Event, Outcome, why
from dedupe.engines.ray_address import Head, silence_of
from dedupe.engines.ray_worker import Worker, identity, package_path
from dedupe.errors import DedupeError, EngineError, SettingsError
from dedupe.remote.patience import TELL_SECONDS
from dedupe.threads import Threads

TICK_SECONDS = 0.5
"""How often to look after the pool when no task ends."""

GET_SECONDS = 10.0
"""How long to wait for a result that is there: beyond it, its node is not."""

OTHER_WORKERS_SECONDS = 15.0
"""How long to wait for the workers that fit, once the first is there."""

START_ATTEMPTS = 3
"""Workers that may fail to start one after the other before the run ends, if there is no other."""

START_PAUSE_SECONDS = 2.0
"""How long no worker is asked for after one has failed to start."""

ASKED_AT_A_TIME = 32
"""Nodes that are asked whether they are there: of one that is not, it may take seconds to know."""

SAME_CODE = (
    "every node needs the same image (see cluster/README.md), or the run a runtime_env that "
    "ships this checkout"
)

log = logging.getLogger(__name__)


class State(Enum):
    """What is known of a worker."""

    STARTING = "starting"
    READY = "ready"
    SILENT = "silent"
    DEAD = "dead"


@dataclass(eq=False)
class PoolWorker:
    """A worker of the pool, as the policy of `attempts` sees it."""

    number: int
    handle: Any
    state: State = State.STARTING
    node: str = ""
    address: str = "?"
    heard: float = 0.0
    """When it last answered."""
    pinged: float = 0.0
    pinging: bool = False
    stage: int = -1
    """The stage whose function it has been sent."""
    calls: set[Call] = field(default_factory=set)
    alone: bool = False
    """Runs a suspect task, and is to be given no other."""

    @property
    def where(self) -> str:
        """The node that it is on, for messages."""
        return self.address


class Pool:
    """Keeps as many workers as were asked for, or as fit."""

    def __init__(
        self,
        workers: int | None,
        cpus: int,
        memory: int,
        prepare: Prepare,
        notify: Callable[[str], None],
        tuning: Tuning,
    ) -> None:
        self.members: dict[int, PoolWorker] = {}
        self.faults = FaultCounts()
        self.head = Head(ray.get_runtime_context().gcs_address)
        self._wanted = workers
        self._cpus = cpus
        self._memory = memory
        self._notify = notify
        self._tuning = tuning
        self._shown = ""
        self._stall_at = -TELL_SECONDS
        self._identity = identity()
        self._prepare = cloudpickle.dumps(prepare)  # type: ignore[no-untyped-call]
        remote: Any = ray.remote
        self._actor = remote(concurrency_groups={"control": 1})(Worker).options(
            num_cpus=cpus,
            memory=memory,
            max_concurrency=cpus,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
        )
        self._refs: dict[Any, Call | tuple[str, PoolWorker]] = {}
        """What is under way: calls, and greetings and pings."""
        self._open: dict[PoolWorker, None] = {}
        """Ready workers that may have room, in the order in which to ask them."""
        self._events: deque[Event] = deque()
        self._asked = 0
        self._failed_starts = 0
        self._start_failure = ""
        self._spawn_after = 0.0
        self._nodes: dict[str, dict[str, Any]] = {}
        self._bereaved: set[str] = set()
        """Nodes of which a worker died."""
        self._lost: set[str] = set()
        self._target = 0
        self._nodes_at = self._ticked_at = 0.0
        self._ready_at = time.monotonic()

    # Getting workers

    def start(self) -> None:
        """Ask for workers; return when the first is ready and the others have had a while.

        Raises SettingsError where no node can hold one, EngineError where they cannot start.
        """
        self._look_at_nodes()
        if not self._target:
            raise SettingsError(
                f"{self._nothing_fits()}: lower --worker-cpus or --memory, or give --workers, so "
                "that an autoscaler knows what to add"
            )
        self._spawn()
        first = None
        while True:
            self.poll()
            now = time.monotonic()
            ready = self.count(State.READY)
            if ready and first is None:
                first = now
            fit = min(self._fit(), self._target)
            if first and (ready >= fit or now - first > OTHER_WORKERS_SECONDS):
                self._tell()
                return

    def _fit(self) -> int:
        """Workers that the nodes could hold, were they empty."""
        return sum(
            min(int(has.get("CPU", 0) // self._cpus), int(has.get("memory", 0) // self._memory))
            for has in (node["Resources"] for node in self._nodes.values())
        )

    def _nothing_fits(self) -> str:
        most: dict[str, float] = max(
            (node["Resources"] for node in self._nodes.values()),
            key=lambda has: (has.get("CPU", 0), has.get("memory", 0)),
            default={},
        )
        return (
            f"a worker needs {self._cpus} CPUs and {self._memory / 1e9:.1f} GB, and the largest of "
            f"{len(self._nodes)} nodes offers {most.get('CPU', 0):.0f} CPUs and "
            f"{most.get('memory', 0) / 1e9:.1f} GB"
        )

    def _look_at_nodes(self) -> None:
        """See which nodes there are, and how many workers to have; nothing while the head is gone.

        Raises EngineError where it is gone for long.
        """
        self._nodes_at = time.monotonic()
        if not self.head.answers():
            return
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        alive = {node["NodeID"]: node for node in nodes if node["Alive"]}
        self._nodes = alive
        used = {member.node for member in self.members.values() if member.node} | self._bereaved
        self._lose(used - alive.keys())
        self._target = self._fit() if self._wanted is None else self._wanted

    def _lose(self, nodes: set[str]) -> None:
        """Count nodes that are gone, each once."""
        self.faults.nodes_lost += len(nodes - self._lost)
        self._lost |= nodes

    def count_lost_nodes(self) -> None:
        """Ask once more which nodes are gone: Ray may take half a minute to see it.

        Those with a worker that died, is silent or owes a result are asked themselves.
        """
        owing = [m for m in self.members.values() if m.state is State.SILENT or m.calls]
        doubtful = {member.node for member in owing} | self._bereaved
        if doubtful <= self._lost:
            return
        self._look_at_nodes()
        asked = sorted((doubtful - self._lost) & self._nodes.keys())
        places = [self._nodes[node] for node in asked]
        addresses = [f"{at['NodeManagerAddress']}:{at['NodeManagerPort']}" for at in places]
        with Threads(ASKED_AT_A_TIME) as threads:
            silences = list(threads.map(silence_of, addresses))
        self._lose({node for node, silence in zip(asked, silences, strict=True) if silence})

    def _spawn(self) -> None:
        """Ask for the workers that are missing."""
        now = time.monotonic()
        if now < self._spawn_after or self.head.is_silent:
            return
        for _ in range(self._target - len(self.members)):
            handle = self._actor.remote(self._asked)
            member = PoolWorker(self._asked, handle, heard=now, pinged=now)
            self._asked += 1
            self.members[member.number] = member
            ref = member.handle.handshake.remote(self._identity, self._prepare)
            self._refs[ref] = ("handshake", member)

    # Tasks

    def count(self, state: State) -> int:
        """Workers in that state."""
        return sum(member.state is state for member in self.members.values())

    def ready(self) -> set[int]:
        """The numbers of the workers that are ready."""
        return {m.number for m in self.members.values() if m.state is State.READY}

    def with_room(self, depth: int) -> Iterable[PoolWorker]:
        """Ready workers with fewer than `depth` tasks."""
        for member in list(self._open):
            if member.alone or len(member.calls) >= depth:
                del self._open[member]
            else:
                yield member

    def submit(
        self, member: PoolWorker, stage: int, function: Any, task: int, name: str, label: str
    ) -> Call:
        """Have a worker run a task.

        member: the worker. stage: number of the stage. function: reference to its pickled function.
        task: number of the task. name: what Ray's dashboard calls it. label: what the worker's log
        calls it.
        """
        if member.stage != stage:
            member.handle.load.remote(stage, function)
            member.stage = stage
        call = Call(member, stage, task, time.monotonic())
        self._refs[member.handle.run.options(name=name).remote(stage, task, label)] = call
        member.calls.add(call)
        return call

    def poll(self) -> list[Event]:
        """Wait a moment for calls to end; look after the pool. What ended or was given up."""
        refs = list(self._refs)
        if not refs:
            time.sleep(TICK_SECONDS)
        elif ray.wait(refs, timeout=TICK_SECONDS)[0]:
            for ref in ray.wait(refs, num_returns=len(refs), timeout=0)[0]:
                self._settle(ref)
        if time.monotonic() - self._ticked_at > TICK_SECONDS:
            self._tick()
        events = list(self._events)
        self._events.clear()
        return events

    def _settle(self, ref: Any) -> None:
        """Take note of what a reference turned out to be."""
        what = self._refs.pop(ref, None)
        if what is None:
            return  # its worker was given up while this batch was settled
        result, error = None, None
        try:
            result = ray.get(ref, timeout=GET_SECONDS)
        except (RayError, GetTimeoutError) as failure:
            error = failure
        if isinstance(what, Call):
            self._settle_call(what, result, error)
            return
        kind, member = what
        if kind == "handshake":
            self._greet(member, result, error)
            return
        member.pinging = False
        if error is None:
            self._hear(member)
            self._tell_of_stall(member, str(result))
        else:
            self._fault(member, error)

    def _tell_of_stall(self, member: PoolWorker, stalled: str) -> None:
        """Say what a store answers a worker that asks it in vain, now and then."""
        now = time.monotonic()
        if stalled and now - self._stall_at > TELL_SECONDS:
            self._stall_at = now
            self._notify(f"node {member.address}: {stalled}")

    def _settle_call(self, call: Call, result: Any, error: BaseException | None) -> None:
        member = call.worker
        member.calls.discard(call)
        member.alone = False
        if error is None:
            outcome = Outcome.RESULT
        elif isinstance(error, RayTaskError):
            outcome, error = Outcome.ERROR, _cause(error)
        else:
            outcome = self._fault(member, error)
        if outcome in (Outcome.RESULT, Outcome.ERROR):
            self._hear(member)
        self._events.append(Event(call, outcome, result, error))

    def _hear(self, member: PoolWorker) -> None:
        """A worker has answered."""
        member.heard = time.monotonic()
        if member.state is State.SILENT:
            log.info("worker %d on %s is back", member.number, member.address)
            member.state = State.READY
        if member.state is State.READY:
            self._open[member] = None

    # Faults

    def _greet(self, member: PoolWorker, found: Any, error: BaseException | None) -> None:
        """A worker has started, or failed to."""
        if member.state is State.DEAD:
            return
        if error is None:
            _compare(self._identity, found)
            member.node, member.address = found["node"], found["address"]
            member.state = State.READY
            self._failed_starts = 0
            self._hear(member)
            return
        cause = _cause(error) if isinstance(error, RayTaskError) else error
        if isinstance(cause, DedupeError):
            raise cause from None
        text = " ".join(f"{type(cause).__name__}: {cause}".split())
        if "failed to import on the worker" in text or "ModuleNotFoundError" in text:
            missing = text.rpartition("Error: ")[2]
            raise EngineError(
                f"a worker cannot import dedupe as the driver has it from {package_path()} "
                f"({missing}): {SAME_CODE}"
            ) from None
        if isinstance(error, RuntimeEnvSetupError):
            raise EngineError(f"the runtime_env cannot be set up on a worker: {text}") from None
        self._bury(member, kill=True)
        self._spawn_after = time.monotonic() + START_PAUSE_SECONDS
        if _tells_of_lost_node(error):
            return
        self._failed_starts += 1
        self._start_failure = why(cause, died=not isinstance(error, RayTaskError))
        if self._failed_starts == 1:
            self._notify(f"a worker failed to start: {self._start_failure}")
        if self._failed_starts >= START_ATTEMPTS and not self.count(State.READY):
            raise EngineError(
                f"{self._failed_starts} workers in a row failed to start; the last one: "
                f"{self._start_failure}"
            ) from None

    def _fault(self, member: PoolWorker, error: BaseException) -> Outcome:
        """A call failed without an answer of the worker: set it aside, or bury it."""
        if isinstance(error, (ActorUnavailableError, GetTimeoutError, ObjectLostError)):
            self._set_aside(member)
            return Outcome.LOST
        if member.state is not State.DEAD:
            self._look_at_nodes()  # first, that a lost node is known as one that had workers
            self._bury(member)
        lost = member.node not in self._nodes or _tells_of_lost_node(error)
        return Outcome.LOST if lost else Outcome.DIED

    def _set_aside(self, member: PoolWorker) -> None:
        """Give a worker no more tasks until it answers, and report those it has as lost.

        They stay under way: their results are reported too, if they come.
        """
        if member.state is not State.READY:
            return
        log.info("worker %d on %s does not answer", member.number, member.address)
        member.state = State.SILENT
        member.stage = -1  # the function of the stage may be lost with its tasks
        self._open.pop(member, None)
        for call in member.calls:
            self._events.append(Event(call, Outcome.LOST))

    def _bury(self, member: PoolWorker, *, kill: bool = False) -> None:
        """Forget a worker. Calls under way are still answered, by the error that it is dead."""
        if member.state is not State.STARTING:
            self.faults.workers_lost += 1
            self._bereaved.add(member.node)
        member.state = State.DEAD
        self._open.pop(member, None)
        self.members.pop(member.number, None)
        if kill:
            ray.kill(member.handle, no_restart=True)

    def _give_up(self, member: PoolWorker) -> None:
        """End a worker that has been silent for too long; its calls were handed on before."""
        self._bury(member, kill=True)
        for ref, what in list(self._refs.items()):
            if (what.worker if isinstance(what, Call) else what[1]) is member:
                del self._refs[ref]

    def _tick(self) -> None:
        """Ask who is silent, give up who is for long, replace who is dead."""
        now = self._ticked_at = time.monotonic()
        for member in list(self.members.values()):
            silence = now - member.heard
            is_quiet = silence >= self._tuning.ping_seconds
            asked = now - member.pinged
            if member.state is State.STARTING or not (is_quiet or asked > TELL_SECONDS):
                continue  # of one that answers, another thread may wait for a store
            if not member.pinging:
                self._refs[member.handle.ping.remote()] = ("ping", member)
                member.pinging, member.pinged = True, now
            elif is_quiet and member.state is State.READY and asked > self._tuning.silence_seconds:
                self._set_aside(member)
            if member.state is State.SILENT and silence > self._tuning.give_up_seconds:
                self._give_up(member)
        if now - self._nodes_at > self._tuning.nodes_seconds or len(self.members) < self._target:
            self._look_at_nodes()
            self._spawn()
        self._tell()
        if self.count(State.READY):
            self._ready_at = now
        elif now - self._ready_at > self._tuning.no_worker_seconds:
            waited = f"no worker was to be had for {self._tuning.no_worker_seconds:.0f} seconds"
            if not self._fit():
                raise SettingsError(f"{waited}: {self._nothing_fits()}")
            failed = f"the last one failed to start: {self._start_failure}"
            taken = "the nodes are taken by other jobs, or do not answer"
            raise EngineError(f"{waited}: {failed if self._failed_starts else taken}")

    def _tell(self) -> None:
        """Notify of what has changed."""
        text = self.describe()
        if text != self._shown:
            self._shown = text
            self._notify(text)

    def describe(self) -> str:
        """The state of the workers in a line."""
        ready = [member for member in self.members.values() if member.state is State.READY]
        nodes = {member.node for member in ready}
        here = f"{_many(len(ready), 'worker')} on {_many(len(nodes), 'node')}"
        parts = [here] if ready else []
        starting, silent = self.count(State.STARTING), self.count(State.SILENT)
        if not ready and not self._fit():
            parts.append(f"waiting: {self._nothing_fits()}")
        elif starting:
            more = f"waiting for {starting} more" if ready else f"starting {starting} workers"
            parts.append(more)
        parts += [f"{silent} silent"] * bool(silent)
        parts += [_many(self.faults.retries, "retry", "retries")] * bool(self.faults.retries)
        parts += [f"{_many(self.faults.nodes_lost, 'node')} lost"] * bool(self.faults.nodes_lost)
        parts += ["the head does not answer"] * self.head.is_silent
        return ", ".join(parts) or "no workers"

    def close(self) -> None:
        """End all workers; without a head they end by themselves."""
        for member in [] if self.head.is_silent else list(self.members.values()):
            with contextlib.suppress(Exception):  # where the connection is gone, so are they
                ray.kill(member.handle, no_restart=True)
        self.members.clear()
        self._refs.clear()
        self._open.clear()


def _tells_of_lost_node(error: BaseException) -> bool:
    """Whether a worker died because its node did."""
    return (
        isinstance(error, (NodeDiedError, ActorUnavailableError))
        or getattr(error, "preempted", False)
        or "node has died" in str(error)
    )


def _cause(error: RayTaskError) -> BaseException:
    """What a task raised: itself, without Ray's exception around it."""
    cause: BaseException = error.cause
    if not isinstance(cause, DedupeError):
        cause.add_note(str(error))
    return cause


def _compare(expected: dict[str, str], greeting: dict[str, Any]) -> None:
    found = greeting["identity"]
    differences = [
        f"{name} {found.get(name, 'missing')} there, {value} here"
        for name, value in expected.items()
        if found.get(name) != value
    ]
    if differences:
        raise EngineError(
            f"the worker on node {greeting['address']} is not like the driver "
            f"({'; '.join(differences)}; it has dedupe from {greeting['path']}, the driver has it "
            f"from {package_path()}): {SAME_CODE}"
        )


def _many(number: int, one: str, several: str | None = None) -> str:
    return f"{number} {one if number == 1 else several or one + 's'}"
