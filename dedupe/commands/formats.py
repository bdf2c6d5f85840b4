"""Showing what is known: formats, their columns and what is compared of them; test sets."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from dedupe.documents.shapes import MEDIA_COLUMNS, SHAPES, Shape
from dedupe.documents.template import TEXT, ColumnPath
from dedupe.evals import PUBLIC_SETS
from dedupe.screen import console


def print_formats() -> None:
    """Print every format as a table."""
    shown = console()
    table = Table(show_lines=True)
    for name in ("format", "columns", "compared"):
        table.add_column(name, overflow="fold")
    for name, shape in SHAPES.items():
        about = Text(f"{name}\n").append(shape.about, style="dim")
        table.add_row(about, ", ".join(columns_of(shape)), "\n".join(compared(shape)))
    shown.print(table)
    shown.print(
        "A ? marks what may be missing. Of several formats the one that knows the most columns is "
        f"taken. {', '.join(MEDIA_COLUMNS)} must be equal in all of them. Of a column of messages "
        ":answer are the turns of the assistant, :system system prompts, :prompt all others, "
        ":media images and the like; :data is a value of any type.",
    )


def columns_of(shape: Shape) -> list[str]:
    """The columns of a shape, those that may be missing with a ?."""
    return [name + "?" * (name not in shape.needed) for name in shape.known]


def compared(shape: Shape) -> Iterator[str]:
    """What is compared of a shape, line by line: its fields, and what must be equal."""
    for name, text in shape.fields.items():
        yield text if name == TEXT else f"{name} {text}"
    equal = [str(ColumnPath.parse(path)) for path in shape.equal]
    if equal:
        yield f"equal {', '.join(equal)}"


def print_public_sets() -> None:
    """Print public test sets as a table."""
    shown = console()
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("test set", "columns", "address"):
        table.add_column(name, overflow="fold")
    for one in PUBLIC_SETS:
        table.add_row(one.name, ", ".join(one.columns), one.address)
    shown.print(table)
    shown.print("Any of them goes with --evals, for which dedupe-engine needs huggingface_hub.")
