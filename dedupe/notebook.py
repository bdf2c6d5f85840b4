"""What a notebook shows of a result: a table, in which all text is escaped."""

from __future__ import annotations

from collections.abc import Sequence

from dedupe.errors import printable


def html_table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table as HTML.

    caption: what stands above it. heads: of the columns, of which all but the first are numbers.
    rows: the values of each.
    """
    from markupsafe import Markup

    def cell(tag: str, value: object, place: int) -> Markup:
        text = f"{value:,}" if isinstance(value, int) else printable(str(value))
        side = "left" if place == 0 else "right"
        return Markup('<{0} style="text-align: {1}">{2}</{0}>').format(tag, side, text)

    def line(tag: str, values: Sequence[object]) -> Markup:
        cells = Markup("").join(cell(tag, value, place) for place, value in enumerate(values))
        return Markup("<tr>{}</tr>").format(cells)

    body = Markup("").join(line("td", row) for row in rows)
    return Markup(
        '<table><caption style="text-align: left">{}</caption><thead>{}</thead><tbody>{}</tbody>'
        "</table>"
    ).format(printable(caption), line("th", heads), body)
