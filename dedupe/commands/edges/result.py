"""`Edges`: a list of edges, read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dedupe.config import StorageOptions
from dedupe.notebook import html_table
from dedupe.remote.given import using
from dedupe.screen import console

if TYPE_CHECKING:
    import pyarrow as pa


class Edges:
    """A list of edges: pairs of rows of a finished run, of which `dedupe.edges` makes a file.

    path: the Parquet file. storage_options: as in `deduplicate`. Raises SettingsError where there
    is no such file.

    said: what the file says of itself: `edges`, of which `drops` are of rows and their witnesses
    and `pairs` are others; `least`, the similarity from which these are listed, and `cap`, how many
    of them at most for one component, both None where only witnesses were asked for; `cut`, the
    components that have more pairs than that, and `cut_components`, the first 1000 of them as the
    column `component` has them; `run`, the digest of the run's fingerprint.
    """

    def __init__(self, path: str | Path, *, storage_options: StorageOptions | None = None) -> None:
        self.path = str(path)
        with using(storage_options, [self.path]):
            from dedupe.commands.edges.file import said_of

            self.said: dict[str, Any] = said_of(self.path)

    def table(self, *columns: str) -> pa.Table:
        """The edges, all in memory.

        columns: names of those to read, none for all; see docs/how-to/edges.md.
        """
        from dedupe.commands.edges.file import read_edges

        return read_edges(self.path, columns)

    def __len__(self) -> int:
        return int(self.said["edges"])

    def __repr__(self) -> str:
        return f"Edges({self.path!r}, edges={len(self)})"

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"path": self.path, **self.said}

    @property
    def lines(self) -> list[str]:
        """What is said of the edges, a sentence each."""
        said = self.said
        told = [f"{said['drops']:,} rows with their witnesses"]
        if said["least"] is not None:
            told.append(
                f"{said['pairs']:,} other pairs of one component with a similarity of "
                f"{said['least']:g} or more"
            )
            told.append(
                f"{said['cut']:,} components have more than {said['cap']:,} such pairs, and the "
                "others of them are not listed"
                if said["cut"]
                else f"no component has more than {said['cap']:,} such pairs: none is left out"
            )
        return told

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        said = self.said
        rows: list[tuple[str, object]] = [("rows with their witnesses", said["drops"])]
        if said["least"] is not None:
            rows.append((f"other pairs from {said['least']:g} on", said["pairs"]))
            rows.append((f"components with more than {said['cap']:,}", said["cut"]))
        return html_table(f"{self.path}: {len(self):,} edges", ("edges", "count"), rows)


def print_edges(found: Edges) -> None:
    """Print what a list of edges has."""
    shown = console()
    shown.print(f"{found.path}: {len(found):,} edges", soft_wrap=True)
    for line in found.lines:
        shown.print(f"  {line}", soft_wrap=True)
