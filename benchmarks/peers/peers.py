"""The peers, as `peers.toml` has them: packages and versions, settings, pages."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
THRESHOLD = 0.8
MATCHED = (16, 6)
"""Bands and rows of `dedupe run` for its default recall: 0.992 at the threshold."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment: the version of Python and the packages, pinned."""

    name: str
    packages: list[str]
    python: str = "3.11"

    def pinned(self) -> dict[str, str]:
        """Versions by name of package."""
        pairs = (package.split("==") for package in self.packages if "==" in package)
        return {name.partition("[")[0]: version for name, version in pairs}

    def interpreter(self, venvs: Path) -> str:
        """Its Python, in the folder of environments."""
        return str(venvs.absolute() / self.name / "bin" / "python")


@dataclass(frozen=True)
class Peer:
    """A way to run a package (a function of run.py), and the page that documents it."""

    name: str
    environment: str
    runner: str
    page: str
    documented: dict[str, Any] = field(default_factory=dict)
    bands: bool = True

    def settings(self, kind: str) -> dict[str, Any] | None:
        """What the runner is given for `documented`, `matched` or BANDSxROWS; None if it cannot."""
        if kind == "documented":
            return self.documented
        if not self.bands:
            return None
        bands, rows = MATCHED if kind == "matched" else map(int, kind.split("x"))
        return {**self.documented, "bands": bands, "rows": rows, "num_perm": bands * rows}


_text = (HERE / "peers.toml").read_text(encoding="utf-8").replace("{root}", str(HERE.parents[1]))
_read = tomllib.loads(_text)
FAST: list[str] = _read["fast"]
OWN: dict[str, list[str]] = _read["own"]
ENVIRONMENTS = {name: Environment(name, **made) for name, made in _read["environments"].items()}
PEERS = {peer["name"]: Peer(**peer) for peer in _read["peers"]}
