"""What a container lets a process use, told from files like the kernel's."""

from __future__ import annotations

import pytest

from dedupe import Execution
from dedupe.config import SMALLEST_MEMORY, USUAL_MEMORY, default_memory
from dedupe.machine import ControlGroups, cores


def groups_of(folder, files, line="0::/pod/box"):
    """Control groups with these files. files: contents by path."""
    (folder / "proc" / "self").mkdir(parents=True)
    (folder / "proc" / "self" / "cgroup").write_text(line + "\n")
    for name, content in files.items():
        path = folder / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return ControlGroups(folder / "cgroup", folder / "proc")


@pytest.mark.parametrize(
    ("files", "line", "count"),
    [
        ({"pod/box/cpu.max": "150000 100000"}, "0::/pod/box", 2),
        ({"pod/cpu.max": "100000 100000", "pod/box/cpu.max": "max 100000"}, "0::/pod/box", 1),
        ({"cpu.max": "10000 100000"}, "0::/", 1),
        (
            {"cpu/box/cpu.cfs_quota_us": "300000", "cpu/box/cpu.cfs_period_us": "100000"},
            "3:cpu,cpuacct:/box",
            3,
        ),
        (
            {"cpu/box/cpu.cfs_quota_us": "-1", "cpu/box/cpu.cfs_period_us": "100000"},
            "3:cpu,cpuacct:/box",
            None,
        ),
        ({"pod/box/cpu.max": "nonsense"}, "0::/pod/box", None),
        ({}, "0::/pod/box", None),
    ],
)
def test_cores_are_those_of_the_container(tmp_path, files, line, count):
    groups = groups_of(tmp_path, files, line)
    assert groups.cores() == count
    assert cores(groups) == min(cores(), count or cores())


@pytest.mark.parametrize(
    ("limit", "memory"),
    [
        ("2000000000", 1_500_000_000),
        ("64000000000", USUAL_MEMORY),
        ("max", USUAL_MEMORY),
        ("100000000", SMALLEST_MEMORY),
    ],
)
def test_the_default_of_memory_leaves_room_in_the_container(tmp_path, limit, memory):
    files = {"pod/box/memory.max": limit, "pod/box/memory.current": "5"}
    assert default_memory(groups_of(tmp_path, files)) == memory


def test_without_control_groups_nothing_is_bounded(tmp_path):
    groups = ControlGroups(tmp_path / "nowhere", tmp_path / "nowhere")
    assert groups.cores() is None
    assert groups.memory() is None
    assert default_memory(groups) == USUAL_MEMORY


def test_what_is_given_is_taken(monkeypatch):
    monkeypatch.setattr("dedupe.config.cores", lambda: 3)
    monkeypatch.setattr("dedupe.config.default_memory", lambda: 700_000_000)
    assert Execution().resources.threads == 3
    assert Execution().resources.memory == 700_000_000
    assert Execution(workers=9, memory="9GB").resources.memory == 9 * 10**9
    assert Execution(engine="ray").resources.memory == USUAL_MEMORY
