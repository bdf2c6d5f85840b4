"""Showing what was found of test sets: the table of a summary, and items beside their rows."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from rich.table import Table
from rich.text import Text

from dedupe.config import Settings
from dedupe.corpus import Projection, find_shards, plan_slices, read_as, read_slice
from dedupe.documents.shapes import one_text
from dedupe.errors import CorpusError, SettingsError
from dedupe.evals import from_json
from dedupe.result import Result, shard_as_read
from dedupe.schema import CONTAMINATED
from dedupe.storage.keep_lists import read_keep_list

if TYPE_CHECKING:
    from rich.console import Console

SHOWN_SOURCES = 5
"""Sources that have a column of their own in the table of test sets, those with the most rows."""
SHOWN_AROUND = 200
"""Characters around an item that are shown of its row."""
SHOWN_QUESTION = 1000
"""Characters of a question that are shown."""


def about_evals(found: Mapping[str, Any]) -> Iterator[str]:
    """How rows were held against test sets, and which items were not.

    found: what summary.json says of them.
    """
    settings, common = found["settings"], found["common"]
    yield (
        f"test sets: {found['items']:,} items, containment {settings['containment']} of "
        f"{settings['shingle']}; {common['shingles']:,} of {common['of']:,} shingles are common: "
        f"in more than {common['rows']:,} rows and in several sources"
    )
    if found["uncheckable"]:
        told = "; ".join(f"{count:,}: {why}" for why, count in found["uncheckable"].items())
        yield f"not looked for: {told} (evals.parquet names them)"


def evals_table(found: Mapping[str, Any]) -> Table:
    """The table of test sets by source. found: what summary.json says of them."""
    rows: dict[str, int] = {}
    for one in found["benchmarks"]:
        for source, count in one["rows_by_source"].items():
            rows[source] = rows.get(source, 0) + count
    sources = sorted(rows, key=lambda name: (-rows[name], name))[:SHOWN_SOURCES]
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("test set")
    for name in ("items", "contaminated", "uncheckable", "rows", *(f"of {s}" for s in sources)):
        table.add_column(Text(name), justify="right")
    for one in found["benchmarks"]:
        by_source = one["rows_by_source"]
        numbers = [one["items"], one["contaminated"], one["uncheckable"], sum(by_source.values())]
        numbers += [by_source.get(source, 0) for source in sources]
        table.add_row(Text(one["benchmark"]), *(f"{number:,}" for number in numbers))
    return table


def whole_text(result: Result, shard: int, row: int) -> str | None:
    """The document of a row as items are looked for in it: all of it, as one text.

    result: the run. shard: number of the shard. row: in it.
    """
    template = one_text(result.documents.of_file(shard))
    try:
        opened = shard_as_read(result, result.shards[shard])
        found = _read(opened, Projection((template,)), row)
    except (CorpusError, SettingsError) as error:
        return f"(cannot be read: {error})"
    return found[0] if found else None


def item_texts(result: Result, items: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
    """The parts of some items of test sets.

    result: the run. items: the path of the file, and the row in it, of each. What cannot be read
    has no parts, but an `error`.
    """
    settings = Settings(**result.summary["settings"])
    files = {one["path"]: one for one in result.summary["contamination"]["files"]}
    found = []
    for path, row in items:
        listed = files[path]
        parts = from_json(listed["parts"])
        try:
            (shard,) = find_shards([path], settings.delimiter, settings.unit)
            if (shard.size, shard.version) != (listed["size"], listed["version"]):
                raise CorpusError("has changed since the run: run again", path=path)
            texts = _read(read_as(shard), Projection(tuple(parts.values()), named=True), row)
            found.append(dict(zip(parts, texts, strict=True)))
        except (CorpusError, SettingsError) as error:
            found.append({"error": str(error)})
    return found


def _read(shard: Any, projection: Projection, row: int) -> list[str | None]:
    """The texts of one row of a shard; none where it has no such row."""
    import numpy as np

    (part,) = plan_slices(shard, projection.text_columns, 1 << 62, 1 << 62)
    for batch in read_slice(shard, part, projection, batch_bytes=1 << 24, rows=np.array([row])):
        texts = [column.cast(pa.large_binary())[0].as_py() for column in batch.columns]
        return [None if text is None else text.decode("utf-8", "replace") for text in texts]
    return []


def print_contaminated(shown: Console, found: Mapping[str, Any]) -> None:
    """Print a contaminated row with the item marked, and the item.

    shown: where to. found: what `explain_row` found of it.
    """
    share = f"containment {found['containment']:.4f}, by {found['evidence']}"
    shown.print(f"{share}: row {found['witness_row']} of {found['witness_shard']}", soft_wrap=True)
    item = found["item"]
    for name, text in item.items():
        label = Text(f"{name}: ", style="bold")
        shown.print(label.append(_first(text or "", SHOWN_QUESTION), style="not bold"))
    shown.print(marked(found["text"] or "", found["span_start"], found["span_end"], shown))


def marked(text: str, start: int, end: int, shown: Console) -> Text:
    """A text around an item, which is marked.

    text: the document. start, end: characters of the item. shown: where it is printed, in colour or
    in brackets.
    """
    first, last = max(start - SHOWN_AROUND, 0), min(end + SHOWN_AROUND, len(text))
    colour = shown.color_system is not None and not shown.no_color
    result = Text("this row: ", style="bold")
    result.append("… " * (first > 0) + text[first:start], style="not bold")
    if colour:
        result.append(text[start:end], style="not bold red")
    else:
        result.append(f"[-{text[start:end]}-]")
    return result.append(text[end:last] + " …" * (last < len(text)), style="not bold")


def _first(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]} …"


def contaminated_pairs(result: Result, count: int, seed: int) -> list[dict[str, Any]]:
    """Some contaminated rows with their items, those of the least containment first.

    result: the run. count: how many, drawn from all. seed: another one draws others.
    """
    import pyarrow.compute as pc

    def wanted(rows: pa.Table) -> pa.Array:
        return pc.equal(rows["reason"].cast(pa.string()), CONTAMINATED)

    places = [
        (shard, row)
        for shard, listed in enumerate(result.shards)
        for row in read_keep_list(result.storage, listed, ["row", "reason"], wanted)[
            "row"
        ].to_pylist()
    ]
    drawn = random.Random(seed).sample(places, min(count, len(places)))  # noqa: S311
    from dedupe.commands.show import explain_row

    found = [explain_row(result, f"{shard}:{row}") for shard, row in drawn]
    return sorted(found, key=lambda one: (one["containment"], one["shard"], one["row"]))


def print_contaminated_pairs(shown: Console, found: Sequence[Mapping[str, Any]]) -> None:
    """Print what `contaminated_pairs` found. shown: where to."""
    if not found:
        shown.print("no row is contaminated")
    for one in found:
        shown.rule(style="dim")
        shown.print(f"row {one['row']} of {one['shard']}", style="bold", soft_wrap=True)
        print_contaminated(shown, one)
