"""llvmlite's `ir` and numba's `cgutils`, for intrinsics: imported when one of them is made."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {"ir": "llvmlite.ir", "cgutils": "numba.core.cgutils"}


def __getattr__(name: str) -> Any:
    """Import on first use."""
    if name not in _HOMES:
        raise AttributeError(name)
    return importlib.import_module(_HOMES[name])
