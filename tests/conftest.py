"""Shared fixtures: the plain oracles are imported by name, and hypothesis keeps no deadlines."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1]))  # benchmarks, behind what is installed

settings.register_profile("default", deadline=None)
settings.load_profile("default")

ENDED = pytest.StashKey[int]()
"""How the tests ended."""

SHARED = Path(
    os.environ.get("DEDUPE_TEST_DATA", Path(__file__).parents[1] / ".." / "shared" / "data")
)


@pytest.fixture
def new_pyarrow() -> None:
    """Skip a test whose input the oldest pyarrow that is supported cannot write."""
    if int(pa.__version__.partition(".")[0]) < 20:
        pytest.skip(f"pyarrow {pa.__version__} cannot write such a file")


@pytest.fixture
def real_data() -> Path:
    """Real corpora, where this checkout has them beside it."""
    if not SHARED.is_dir():
        pytest.skip("no real corpora beside this checkout")
    return SHARED


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A disk with room for 64 kB, where this process may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("cannot mount a small disk here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture(scope="session")
def forks():
    """Runs programs in processes that need no time for imports."""
    from forks import Forks

    made = Forks()
    yield made
    made.close()


@pytest.fixture(scope="module")
def server():
    pytest.importorskip("s3fs")
    pytest.importorskip("moto")
    import fsspec
    import stores

    store = stores.Store()
    yield store
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    store.close()


@pytest.fixture
def store(server, monkeypatch):
    """An S3 server with an empty s3://bucket."""
    import fsspec
    import stores

    for name, value in {**stores.ENVIRONMENT, "AWS_ENDPOINT_URL": server.url}.items():
        monkeypatch.setenv(name, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # of tests without credentials
    fs = fsspec.filesystem("s3", use_listings_cache=False)
    fs.mkdir("bucket")
    server.asked.clear()
    yield server
    server.answer = lambda method, path: None
    fs.rm("bucket", recursive=True)


@pytest.fixture
def impatient(monkeypatch):
    """Waits between attempts are cut short."""
    sleep, pause = asyncio.sleep, time.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda wait, *more: sleep(min(wait, 0.01), *more))
    monkeypatch.setattr(time, "sleep", lambda wait: pause(min(wait, 0.01)))


def pytest_sessionfinish(session, exitstatus):
    """Remember how the tests ended, for `pytest_unconfigure`."""
    session.config.stash[ENDED] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config):
    """End this process at once where tests have joined and left Ray clusters in it.

    Threads of Ray (of its RPCs, of Ray Data) outlive `ray.shutdown()`, and go on while the
    interpreter takes itself apart. Of clusters that were killed under them some have crashed there
    now and then, after all tests had passed. What users run is tested in processes of its own, to
    the exit code.
    """
    if "ray" in sys.modules and ENDED in config.stash:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(config.stash[ENDED])
