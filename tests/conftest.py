"""Shared fixtures: the plain oracles are imported by name, and hypothesis keeps no deadlines."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

settings.register_profile("default", deadline=None)
settings.load_profile("default")

SHARED = Path(
    os.environ.get("DEDUPE_TEST_DATA", Path(__file__).parents[1] / ".." / "shared" / "data")
)


@pytest.fixture
def real_data() -> Path:
    """Real corpora, where this checkout has them beside it."""
    if not SHARED.is_dir():
        pytest.skip("no real corpora beside this checkout")
    return SHARED
