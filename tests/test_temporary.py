"""Folders for runs over rows in memory: where they are, and that they go with their process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest

from dedupe import SettingsError, deduplicate
from dedupe.machine import ControlGroups
from dedupe.storage.temporary import MEMORY_DISK, MemoryDisk, room_for, temporary_folder

TABLE = pa.table({"text": ["one two three", "One, two: three!", "other words"]})


def disk_of(folder, free):
    """A file system in memory of a machine that has so many bytes to spare."""
    (folder / "proc").mkdir(exist_ok=True)
    (folder / "memory").mkdir(exist_ok=True)
    (folder / "proc" / "meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable: {free // 1024} kB\n")
    return MemoryDisk(folder / "memory", ControlGroups(folder / "cgroup", folder / "proc"))


def test_folders_are_in_memory_where_they_fit_twice(tmp_path):
    disk = disk_of(tmp_path, 1 << 20)
    for room, parent in (
        (1, disk.folder),
        ((1 << 19) - 1, disk.folder),
        (1 << 19, Path(tempfile.gettempdir())),
        (0, Path(tempfile.gettempdir())),
    ):
        folder, remove = temporary_folder(room, disk)
        assert folder.parent == parent
        assert folder.is_dir()
        remove()
        assert not folder.exists()
    assert os.listdir(disk.folder) == []
    folder, remove = temporary_folder(1, MemoryDisk(tmp_path / "nowhere"))
    assert folder.parent == Path(tempfile.gettempdir())
    remove()


@pytest.mark.skipif(MEMORY_DISK.free() < 10**8, reason="no file system in memory here")
def test_rows_in_memory_touch_no_disk_where_they_fit():
    before = set(os.listdir(MEMORY_DISK.folder))
    result = deduplicate(TABLE, text="text")
    assert result.path.parent.parent == MEMORY_DISK.folder
    assert result.mask().tolist() == [True, False, True]
    with pytest.raises(SettingsError):
        deduplicate(TABLE, text="text", engine="ray")
    del result
    assert set(os.listdir(MEMORY_DISK.folder)) <= before


RUN = """
import os, sys
from pathlib import Path
from dedupe.machine import ControlGroups
from dedupe.storage.temporary import MemoryDisk, temporary_folder

memory, *places = map(Path, sys.argv[1:4])
disk = MemoryDisk(memory, ControlGroups(*places))
folder, remove = temporary_folder(1, disk)
(folder / "rows").write_text("some")
print(folder, flush=True)
if sys.argv[4] == "fork" and os.fork() == 0:
    remove()
    os._exit(0)
if sys.argv[4] == "fork":
    os.wait()
    assert (folder / "rows").exists()
if sys.argv[4] == "kill":
    os.kill(os.getpid(), 9)
remove()
"""


def test_folders_in_memory_end_with_their_process_or_at_the_next_run(tmp_path):
    disk = disk_of(tmp_path, 1 << 20)

    def left_by(how):
        places = map(str, (disk.folder, disk.groups.cgroups, disk.groups.proc))
        done = subprocess.run(
            [sys.executable, "-c", RUN, *places, how], capture_output=True, text=True, check=False
        )
        assert done.stdout.startswith(str(disk.folder)), done.stderr
        assert (done.returncode == 0) is (how != "kill"), done.stderr
        return os.listdir(disk.folder)

    assert left_by("exit") == left_by("fork") == []
    (killed,) = left_by("kill")
    (disk.folder / "other").mkdir()
    in_use, remove = temporary_folder(1, disk)
    assert killed not in os.listdir(disk.folder)
    another, remove_other = temporary_folder(1, disk)
    assert {*os.listdir(disk.folder)} == {"other", in_use.name, another.name}
    remove()
    remove_other()
    assert os.listdir(disk.folder) == ["other"]


RESULT = """
import os, dedupe, pyarrow as pa
result = dedupe.deduplicate(pa.table({"text": ["a b", "A b"]}))
print(result.path, flush=True)
if os.fork() == 0:
    raise SystemExit
os.wait()
assert result.kept == result.mask().sum() == 1
"""


def test_a_result_goes_with_its_process_and_not_with_a_fork_of_it():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RESULT], capture_output=True, text=True, check=True
    )
    assert not Path(done.stdout.split()[0]).parent.exists()


def test_memory_is_that_of_the_control_group(tmp_path):
    disk = MemoryDisk(tmp_path, ControlGroups(tmp_path, tmp_path))
    assert disk.free() == 0
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable: 700 kB\n")
    assert disk.free() == 700 * 1024
    for controllers, folder, limit, used in (
        ("", "", "memory.max", "memory.current"),
        ("cpu,memory", "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        (tmp_path / "self").mkdir(exist_ok=True)
        (tmp_path / "self" / "cgroup").write_text(f"4:{controllers}:/pod/box\n")
        for group, most in (("pod", "9000"), ("pod/box", "max")):
            (tmp_path / folder / group).mkdir(parents=True)
            (tmp_path / folder / group / limit).write_text(most)
            (tmp_path / folder / group / used).write_text("1000")
        assert disk.free() == 8000
        (tmp_path / folder / "pod" / "box" / limit).write_text("1500")
        assert disk.free() == 500


def test_free_memory_is_at_most_what_is_there():
    if not MEMORY_DISK.folder.is_dir():
        assert MEMORY_DISK.free() == 0
    else:
        assert 0 < MEMORY_DISK.free() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_room_grows_with_rows_and_text():
    assert 0 < room_for(1, 0) < room_for(1, 100) < room_for(2, 100)
