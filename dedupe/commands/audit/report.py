"""What an audit found: as an object, as JSON, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from dedupe.commands.audit.intervals import Share
from dedupe.notebook import html_table
from dedupe.screen import console


@dataclass(frozen=True)
class Audit:
    """What was measured on a finished run.

    rows: of the corpus. sample: rows whose true partners were looked for, all of them with `every`;
    asked: how many there should have been. target: of recall, None where the run has none. recall:
    true pairs not left with both rows kept; by_similarity: the same for ranges of it. A pair counts
    for each of its rows that is in the sample, with `every` once. missed_rows: kept though a true
    partner is kept. wrongly_dropped: of the dropped rows of the sample, those without a kept row
    or reference that is similar enough. beside_reference: of the kept rows of the sample, those
    that a reference is like; None where there are no references. beside_earlier: the same of
    earlier rows, with an index. taken_out: dropped rows that nobody can verify any more, as their
    witnesses were taken out of the index, or changed in it. broken: for each guarantee how often it
    does not hold, by kind of fault.
    examples: of each kind, and of pairs that were missed, lists of [path, row in the shard], or
    [path, row, crawl] for an earlier row.
    """

    rows: int
    sample: int
    asked: int
    every: bool
    seed: int
    threshold: float
    target: float | None
    recall: Share
    by_similarity: Mapping[str, Share]
    missed_rows: Share
    wrongly_dropped: Share
    beside_reference: Share | None
    beside_earlier: Share | None
    taken_out: int
    broken: Mapping[str, Mapping[str, int]]
    examples: Mapping[str, Sequence[Any]]
    seconds: float

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        caption = "as promised" if self.ok else "; ".join(self.faults)
        shares = (*self.by_similarity.items(), ("all", self.recall))
        rows = [(name, one.of, one.of - one.count, *_shown(one)) for name, one in shares]
        return html_table(
            caption, ("similarity", "pairs", "missed", "recall", "95 % interval"), rows
        )

    @property
    def faults(self) -> list[str]:
        """What is not as promised, in words; nothing where all is well."""
        found = [
            f"{guarantee}: {kind}, {count:,} times"
            for guarantee, kinds in self.broken.items()
            for kind, count in kinds.items()
        ]
        high = self.recall.high
        if self.target is not None and high is not None and high < self.target:
            found.append(f"recall: at most {high:.5f}, and {self.target} was asked for")
        return found

    @property
    def ok(self) -> bool:
        """Whether all is as promised."""
        return not self.faults

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"ok": self.ok, "faults": self.faults, **asdict(self)}


GUARANTEES = {
    "witness": "1 witness",
    "no survivors": "2 no survivors",
    "nothing lost": "5 nothing lost",
    "untouched": "6 untouched means untouched",
}


def print_audit(found: Audit) -> None:
    """Print it as tables, what is broken last."""
    shown = console()
    what = "all rows" if found.every else f"a sample of {found.sample:,} rows"
    table = Table(
        title=f"pairs with Jaccard >= {found.threshold:g} of {what} out of {found.rows:,}"
    )
    for name in ("similarity", "pairs", "missed", "recall", "95 % interval"):
        table.add_column(name, justify="left" if name == "similarity" else "right")
    for name, share in (*found.by_similarity.items(), ("all", found.recall)):
        table.add_row(name, f"{share.of:,}", f"{share.of - share.count:,}", *_shown(share))
    shown.print(table)
    table = Table()
    for name in ("rows", "looked at", "found", "share", "95 % interval"):
        table.add_column(name, justify="left" if name == "rows" else "right")
    looked = [
        ("missed: kept, and so is a true partner", found.missed_rows),
        ("wrongly dropped: no kept row proves it", found.wrongly_dropped),
    ]
    if found.beside_reference is not None:
        looked.append(("missed: kept, and a reference is like it", found.beside_reference))
    if found.beside_earlier is not None:
        looked.append(("missed: kept, and an earlier row is like it", found.beside_earlier))
    for name, share in looked:
        table.add_row(name, f"{share.of:,}", f"{share.count:,}", *_shown(share))
    shown.print(table)
    if found.taken_out:
        told = f"{found.taken_out:,} dropped rows cannot be verified: their witnesses were taken"
        shown.print(f"{told} out of the index, or changed in it", style="yellow", soft_wrap=True)
    for guarantee, kinds in found.broken.items():
        state = Text("broken", style="bold red") if kinds else Text("holds")
        shown.print(Text.assemble(f"guarantee {GUARANTEES[guarantee]}: ", state))
        for kind, count in kinds.items():
            shown.print(f"  {count:,} x {kind}", style="red")
            for example in found.examples.get(kind, ()):
                shown.print(f"    {_place(example)}", soft_wrap=True)
    if found.target is not None:
        high = found.recall.high
        short = high is not None and high < found.target
        state = Text("not reached", style="bold red") if short else Text("holds")
        shown.print(Text.assemble(f"guarantee 3 recall, {found.target:g} asked for: ", state))
    for example in found.examples.get("missed", ()):
        shown.print(f"  missed: {_place(example)}", soft_wrap=True)


def _shown(share: Share) -> tuple[str, str]:
    if share.share is None:
        return "-", "-"
    return f"{share.share:.6f}", f"{share.low:.6f} to {share.high:.6f}"


def _place(example: Sequence[Any]) -> str:
    if isinstance(example[0], str):
        crawl = "" if len(example) < 3 else f" in the crawl {example[2]}"
        return f"row {example[1]} of {example[0]}{crawl}"
    return " and ".join(_place(row) for row in example)
