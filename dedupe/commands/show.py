"""Showing finished runs: the summary, one row and why, the demo's findings."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from dedupe.commands.show_evals import (
    about_evals,
    evals_table,
    item_texts,
    print_contaminated,
    whole_text,
)
from dedupe.config import SKIP, Settings
from dedupe.corpus.names import said_left_out
from dedupe.documents.template import DocumentTemplate
from dedupe.errors import CorpusError, SettingsError, listed
from dedupe.pairs import around, changes, values_of
from dedupe.remote import is_uri
from dedupe.result import EARLIER, Result, shard_as_read
from dedupe.schema import BESIDE, CONTAMINATED, UNREADABLE
from dedupe.screen import console
from dedupe.storage.keep_lists import read_keep_list

if TYPE_CHECKING:
    from rich.console import Console

MEANING = {
    "unique": "kept: no other row is like it",
    "representative": "kept: others are duplicates of it",
    "exact": "dropped: an exact copy of a kept row",
    "near": "dropped: a near-duplicate of a kept row",
    "empty": "kept: no text, so nothing to compare",
    UNREADABLE: "dropped: it could not be read",
    "reference": "dropped: a duplicate of a reference",
    CONTAMINATED: "dropped: a question of a test set stands in it",
    BESIDE: "kept: beside a kept row that it is a duplicate of",
}
SHOWN_VALUE = 80
"""Characters of another column that are shown."""
SHOWN_TEXT = 500
"""Characters of a document that are shown."""
ORIGINS = re.compile(
    r"(?i)(.*_)?(id|ids|uuid|guid|idx|index|key|hash|md5|sha\d*|digest|source|sources|origin|dataset|"
    r"subset|split|dump|domain|url|uri|link|path|file|file_?name|date|time|timestamp|created|"
    r"updated|created_at|updated_at|version|commit|author|user|license|count|length|len|tokens)"
)
"""Columns that say where a row is from, or how long it is: they differ between most copies."""
SHOWN_FILES = 10
"""Files that could not be read, of which each is named."""
SHOWN_MEMBERS = 20
"""Rows of a cluster that are shown."""


def print_summary(result: Result, *, where: bool = True, stages: bool = False) -> None:
    """Print what a run found: how it was found, then how many rows stay, and what comes next.

    result: the run. where: whether its output stays, so that there is a next step. stages: print
    what each stage took, too.
    """
    shown = console()
    summary = result.summary
    settings, lsh = summary["settings"], summary["lsh"]
    evals = summary.get("contamination")
    keep = settings["keep"] if isinstance(settings["keep"], str) else ", ".join(settings["keep"])
    if stages:
        shown.print(_stages(summary))
    for line in _about_documents(result):
        shown.print(line)
    for line in _about_others(summary):
        shown.print(line, style="yellow")
    for line in _about_rules(settings):
        shown.print(line)
    if evals is not None:
        for line in about_evals(evals):
            shown.print(line, soft_wrap=True)
        shown.print(evals_table(evals))
    found = summary["components"]
    alone = evals is not None and evals["only"]
    if not alone:
        shown.print(
            f"threshold {settings['threshold']}, shingles {settings['shingle']}, "
            f"cluster {settings['cluster']}, keep {keep}; " + _candidates(settings, lsh)
        )
        shown.print(
            f"{_count(found['rows'], 'row')} in {_count(found['count'], 'component')}, the largest "
            f"of {found['largest']:,}; {_count(found['pairs_compared'], 'pair')} compared exactly"
        )
    corpus = summary["corpus"]
    for told in said_left_out(corpus.get("left_out", {}), corpus.get("repeated", {})):
        shown.print(f"left out: {told}")
    for line in _about_unreadable(corpus["unreadable"]):
        shown.print(line, style="yellow", soft_wrap=True)
    for one in summary["references"]:
        told = f"{_count(one['rows'], 'row')} untouched, {one['dropped']:,} duplicates dropped"
        shown.print(f"reference {one['given']}: {told}", soft_wrap=True)
    for line in _about_index(summary.get("index")):
        shown.print(line, soft_wrap=True)
    for line in [*_about_clusters(summary), *_about_lost(summary)]:
        shown.print(line)
    if summary["corpus"]["bad_text_replaced"]:
        shown.print(f"{summary['corpus']['bad_text_replaced']:,} rows had malformed UTF-8")
    warnings = [*_about_ids(summary["ids"]), *(f"warning: {one}" for one in summary["warnings"])]
    for line in warnings:
        shown.print(line, style="yellow", soft_wrap=True)
    shown.print(_reasons(result))
    if where:
        dropped = result.rows - result.kept
        out = shlex.quote(_from_here(str(result.path)))
        for what, command in (
            *([("look at what goes", f"dedupe show {out} --pairs 20")] if dropped else []),
            ("write what stays", f"dedupe apply {out} --output CLEAN"),
            *([] if alone else [("measure the recall", f"dedupe audit {out}")]),
        ):
            shown.print(f"{what + ':':20}{command}", soft_wrap=True)


def _about_index(found: Mapping[str, Any] | None) -> Iterator[str]:
    """What a run was held against of earlier crawls, and whether it was added to them."""
    if found is None:
        return
    rows = "earlier rows" if found["earlier"] else "rows that stay untouched"
    told = (
        f"{found['rows']:,} {rows}, {found['kept']:,} of them kept, {found['compared']:,} compared"
    )
    yield f"index {found['path']}: {told}, {found['dropped']:,} duplicates dropped"
    if found["late"]:
        pairs = _count(found["late"], "pair")
        yield f"{pairs} of earlier rows are similar, which bands had missed: both rows stay"
    if found["added"]:
        name = "" if found["name"] is None else f" as {found['name']}"
        yield f"added to the index{name}"


def _about_unreadable(found: Mapping[str, Any]) -> Iterator[str]:
    """What was left out, as it could not be read."""
    if found["rows"]:
        one = found["examples"][0]
        count = _count(found["rows"], "row")
        yield f"{count} could not be read, the first: {one['path']}, row {one['row']}: {one['why']}"
    for path, why in islice(found["files"].items(), SHOWN_FILES):
        yield f"left out: {path}: {why}"
    if len(found["files"]) > SHOWN_FILES:
        yield f"left out: {len(found['files']) - SHOWN_FILES:,} more files, see summary.json"


def _about_documents(result: Result) -> Iterator[str]:
    """What was compared, and what was not."""
    documents, settings = result.documents, Settings(**result.summary["settings"])
    others = [settings.not_compared(one) for one in documents.own]
    if len(documents.own) > 1:
        yield "compared, each file by its own format:"
        yield from documents.told(
            [shard["path"] if shard["size"] else None for shard in result.read_shards], others
        )
        return
    yield f"compared: {documents.whole}"
    if others[0]:
        yield f"not compared: {listed(others[0])}"


def _from_here(path: str) -> str:
    """A local path below the current directory as a relative one."""
    if is_uri(path):
        return path
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


def _reasons(result: Result) -> Table:
    rows = result.rows
    title = f"{rows:,} rows: {result.kept:,} kept, {rows - result.kept:,} dropped"
    table = Table(
        title=title, title_style="bold", title_justify="left", box=None, padding=(0, 2, 0, 0)
    )
    table.add_column("reason")
    table.add_column("rows", justify="right")
    table.add_column("share", justify="right")
    table.add_column("meaning")
    summary = result.summary
    possible = {
        UNREADABLE: summary["settings"]["on_bad_row"] == SKIP,
        "reference": bool(summary["references"])
        or not summary.get("index", {"earlier": True})["earlier"],
        CONTAMINATED: "contamination" in summary,
        BESIDE: Settings(**summary["settings"]).keeps_extras,
    }
    for reason, count in summary["reasons"].items():
        if not possible.get(reason, True):
            continue
        table.add_row(reason, f"{count:,}", f"{count / max(rows, 1):.1%}", MEANING[reason])
    return table


def _stages(summary: dict[str, Any]) -> Table:
    at_a_time = summary["resources"]["concurrency"]
    seconds = Table(title=f"{summary['wall_seconds']:.1f} s with {at_a_time} tasks at a time")
    for heading in ("stage", "tasks", "done before", "wall s", "cpu s"):
        seconds.add_column(heading, justify="left" if heading == "stage" else "right")
    for name, stage in summary["stages"].items():
        seconds.add_row(
            name,
            f"{stage['tasks']:,}",
            f"{stage['resumed']:,}" if stage["resumed"] else "",
            f"{stage['wall_seconds']:.2f}",
            f"{stage['cpu_seconds']:.2f}",
        )
    return seconds


def _about_others(summary: dict[str, Any]) -> list[str]:
    """In how many dropped rows the columns differ that were not compared and may matter."""
    found = {n: c for n, c in summary["not_compared"].items() if not is_origin(n)}
    dropped = summary["reasons"]["exact"] + summary["reasons"]["near"]
    if not found or not dropped or not summary["settings"]["differences"]:
        return []
    counts = {name: count for name, count in found.items() if count is not None}
    differ = sorted((name for name in counts if counts[name]), key=lambda name: -counts[name])
    lines = []
    if differ:
        told = ", ".join(f"{name} in {counts[name]:,}" for name in differ)
        within = differ[0] if len(differ) == 1 else "COLUMN"
        lines.append(
            f"differs from that of the kept row: {told} of {_count(dropped, 'dropped row')}; "
            f"--within {within} demands equal ones"
        )
    elif counts:
        lines.append(f"in no dropped row does it differ: {listed(list(counts))}")
    untold = [name for name in found if name not in counts]
    if untold:
        lines.append(f"not counted, as values are nested, bytes or mixed: {listed(untold)}")
    return lines


def is_origin(name: str) -> bool:
    """Whether a column says where a row is from, or how long it is, by its name."""
    return ORIGINS.fullmatch(name) is not None


def _about_clusters(summary: dict[str, Any]) -> list[str]:
    """How many clusters there are of which size."""
    sizes = [(name, count) for name, count in summary["clusters"].items() if count]
    if not sizes:
        return []
    return ["rows in a cluster: " + ", ".join(f"{name} in {count:,}" for name, count in sizes)]


def _about_rules(settings: dict[str, Any]) -> list[str]:
    """What does not count, or must be equal besides."""
    rules = [("ignored", "ignore"), ("only within equal", "within"), ("told apart by", "distinct")]
    given = [(words, settings[name]) for words, name in rules if settings[name]]
    told = [f"{words}: {one if isinstance(one, str) else ', '.join(one)}" for words, one in given]
    if settings["per"] is not None:
        told.append(f"of each cluster the first row of each {settings['per']} stays")
    elif settings["keep_at_most"] > 1:
        told.append(f"of each cluster the first {settings['keep_at_most']:,} rows stay")
    return told


def _about_lost(summary: dict[str, Any]) -> list[str]:
    """How many words in a row are lost with the rows that are dropped."""
    ranges = [(name, count) for name, count in summary["lost"].items() if count]
    if not ranges:
        return []
    listed = ", ".join(f"{name} in {count:,}" for name, count in ranges)
    return [f"words in a row that a dropped row loses: {listed} rows"]


def _candidates(settings: dict[str, Any], lsh: dict[str, Any] | None) -> str:
    """How pairs were found."""
    if lsh is not None:
        return f"{lsh['bands']} bands x {lsh['rows']} rows"
    return "exact join, no bands" if settings["near"] else "exact duplicates only"


def print_manifest(manifest: dict[str, Any], output: str, dropped: str | None) -> None:
    """Print what `apply` has written.

    manifest: what it returned. output: where the kept rows are. dropped: where the others are, None
    where they were not asked for.
    """
    shown = console()
    files, seconds = len(manifest["files"]), max(manifest["seconds"], 1e-3)
    shown.print(
        f"{manifest['kept'] - manifest['repeated']:,} rows kept and {manifest['dropped']:,} "
        f"dropped; {files:,} files, {manifest['bytes'] / 1e6:,.1f} MB, in {seconds:.1f} s",
    )
    if manifest["repeated"]:
        shown.print(f"with those that are repeated {manifest['kept']:,} rows were written")
    for name, place in (("kept", output), ("dropped", dropped)):
        if place is not None:
            shown.print(f"{name}: {place}", soft_wrap=True)


def _about_ids(found: dict[str, Any] | None) -> list[str]:
    """What is odd about the ids of a run."""
    if found is None:
        return []
    lines = [f"{found['missing']:,} rows have no id"] if found["missing"] else []
    if found["repeated"]:
        lines.append(f"{found['repeated']:,} rows have the id of an earlier row, for instance")
    for example in found["examples"]:
        (path, row), (other, again) = example["rows"]
        lines.append(f"  {example['id']}: {path} row {row}, {other} row {again}")
    return lines


def explain_row(result: Result, where: str) -> dict[str, Any]:
    """What became of the row `SHARD:ROW`, with the texts where the corpus is as the run read it.

    SHARD is a shard's ordinal or the end of its path. Of the similarities there are those of the
    fields that the two rows' formats have. Raises SettingsError if there is no such row.
    """
    shard, row = _locate(result, where)
    shards = result.shards
    table = result.keep_list_of(shard).slice(row, 1)
    decision: dict[str, Any] = table.to_pylist()[0]
    documents = result.documents
    names = set(documents.of_file(shard).names)
    found = {
        "shard": shards[shard]["path"],
        **decision,
        "count_by": result.summary["settings"]["count_by"],
        "meaning": MEANING[decision["reason"]],
        "text": _text(result, shard, row),
    }
    if decision["reason"] == CONTAMINATED:
        item = item_texts(result, [(decision["witness_shard"], decision["witness_row"])])[0]
        found |= {"text": whole_text(result, shard, row), "item": item}
    elif decision["witness_shard"] is not None:
        crawl = decision.get("witness_crawl")
        witness, at = result.place_of(decision["witness_shard"], decision["witness_row"], crawl)
        if witness == EARLIER:
            names.update(documents.whole.names)
            found["witness_text"] = _earlier_text(result, at)
        else:
            names.update(documents.of_file(witness).names)
            found["witness_text"] = _text(result, witness, at)
    elif decision["cluster"] is not None:
        found["duplicates"], found["duplicate_count"] = _cluster(result, decision["cluster"])
    for name in set(documents.whole.names) - names:  # of other formats
        found.pop(f"jaccard_{name}", None)
    return found


def _locate(result: Result, where: str) -> tuple[int, int]:
    shards = result.shards
    name, colon, number = where.rpartition(":")
    if not colon or not (number.isascii() and number.isdigit()):
        raise SettingsError(f"--row is {where!r}: write it as SHARD:ROW, for instance 0:1234")
    if name.isascii() and name.isdigit() and int(name) < len(shards):
        matches = [int(name)]
    else:
        matches = [i for i, shard in enumerate(shards) if name and shard["path"].endswith(name)]
    if len(matches) != 1:
        raise SettingsError(
            f"{len(matches)} shards match {name!r}: use a number from 0 to {len(shards) - 1}, "
            "or more of the path"
        )
    rows = shards[matches[0]]["rows"]
    if int(number) >= rows:
        raise SettingsError(f"{shards[matches[0]]['path']} has rows 0 to {rows - 1}, not {number}")
    return matches[0], int(number)


def _text(result: Result, shard: int, row: int) -> str | None:
    """The document of one row, None for a null; a word about it where the corpus cannot be read."""
    document, listed = result.documents.of_file(shard), result.read_shards[shard]
    fields = tuple(document.fields.values())
    try:
        found = values_of([(0, row)], [listed], [fields], (), partial(shard_as_read, result))
    except (CorpusError, SettingsError) as error:
        return f"(cannot be read: {error})"
    if (0, row) not in found:
        return f"(no such row in {listed['path']})"
    return _with_names(document.names, found[0, row].texts)


def _earlier_text(result: Result, row: int) -> str | None:
    """The document of a row of an index; a word about it where it was taken out."""
    names = result.documents.whole.names
    texts = result.values_at([(EARLIER, row)])[EARLIER, row].texts
    if all(text is None for text in texts):
        return "(taken out of the index)"
    there = [place for place, text in enumerate(texts) if text is not None]
    if len(names) == 1:
        return texts[0]
    return _with_names([names[place] for place in there], [texts[place] for place in there])


def _with_names(names: Sequence[str], texts: Sequence[str | None]) -> str | None:
    """A document of one field as it is, of several each under its name."""
    if len(names) == 1:
        return texts[0]
    if all(text is None for text in texts):
        return None
    return "\n\n".join(f"{name}:\n{text or ''}" for name, text in zip(names, texts, strict=True))


def _cluster(result: Result, cluster: int) -> tuple[list[dict[str, Any]], int]:
    """The first of the other rows of a cluster, and how many there are."""
    import pyarrow.compute as pc  # here, as the summary is shown without it

    def others(rows: pa.Table) -> pa.Array:
        return pc.and_(pc.equal(rows["cluster"], cluster), pc.is_valid(rows["jaccard"]))

    columns = ["row", "reason", "jaccard", "cluster"]
    rows: list[dict[str, Any]] = []
    count = 0
    for shard in result.shards:
        found = read_keep_list(result.storage, shard, columns, others)
        count += len(found)
        first = found.select(columns[:3]).slice(0, SHOWN_MEMBERS - len(rows))
        for row in first.to_pylist():
            rows.append({"shard": shard["path"], **row})
    return rows, count


def print_row(found: dict[str, Any]) -> None:
    """Print what `explain_row` found."""
    shown = console()
    shown.print(f"{found['shard']}, row {found['row']}", style="bold", soft_wrap=True)
    shown.print(f"{found['reason']}: {found['meaning']}")
    for line in _about_copies(found):
        shown.print(line)
    if "item" in found:
        print_contaminated(shown, found)
        return
    shown.print(_document("this row", found["text"], found.get("witness_text")))
    if "witness_text" in found:
        witness = "the reference" if found["reason"] == "reference" else "the kept row"
        row = "row" if found["reason"] == "reference" else witness
        shown.print(
            f"Jaccard {found['jaccard']:.4f}{_of_fields(found)} with {row} "
            f"{found['witness_row']} of {found['witness_shard']}{_of_crawl(found)}",
            soft_wrap=True,
        )
        if found["lost"]:
            lost = _count(found["lost"], "word")
            shown.print(f"{lost} in a row that {witness} does not have")
        shown.print(_document(witness, found["witness_text"], found["text"]))
    if "duplicates" in found:
        count = found["duplicate_count"]
        shown.print(
            f"{count:,} {'row is a duplicate' if count == 1 else 'rows are duplicates'} of it:"
        )
        for row in found["duplicates"]:
            shown.print(
                f"  row {row['row']} of {row['shard']}: {row['reason']}, "
                f"Jaccard {row['jaccard']:.4f}",
                soft_wrap=True,
            )
        if count > len(found["duplicates"]):
            shown.print(f"  … and {count - len(found['duplicates']):,} more")


def _of_crawl(found: Mapping[str, Any]) -> str:
    """The crawl of a witness that came before the corpus."""
    crawl = found.get("witness_crawl")
    return "" if crawl is None else f" in the crawl {crawl}"


def _about_copies(found: Mapping[str, Any]) -> Iterator[str]:
    """For how many rows a kept row stays, where they are several."""
    if (found["copies"] or 1) > 1:
        told = (
            f"it stays for {found['copies']:,} rows, {found['copies_exact']:,} of them exact copies"
        )
        if found.get("copies_values") is not None:
            told += f", of {_count(found['copies_values'], 'value')} of {found['count_by']}"
        yield told


def print_pairs(
    table: pa.Table, document: DocumentTemplate, by: str | None = None, *, full: bool
) -> None:
    """Print what `Result.pairs` found: what differs is marked, with some words around it.

    table: the pairs. document: what was compared. by: the column whose values were taken in turn.
    full: print all of the texts.
    """
    shown = console()
    colour = shown.color_system is not None and not shown.no_color
    if not len(table):
        shown.print("no dropped row is like that")
    for pair in table.to_pylist():
        shown.rule(style="dim")
        place = f"row {pair['row']} of {pair['shard']}"
        ids = f" ({pair['id']!r})" if "id" in pair else ""
        shown.print(
            f"{pair['reason']} {place}{ids}: "
            f"Jaccard {pair['jaccard']:.4f}{_of_fields(pair)}"
            + (f", lost: {_count(pair['lost'], 'word')} in a row" if pair["lost"] else ""),
            soft_wrap=True,
        )
        ids = f" ({pair['witness_id']!r})" if "id" in pair else ""
        place = f"row {pair['witness_row']} of {pair['witness_shard']}{_of_crawl(pair)}{ids}"
        shown.print(f"because of {place}", soft_wrap=True)
        _print_others(shown, pair, by)
        for name in document.names:
            label = "text" if len(document.names) == 1 else f"text_{name}"
            one, other = ((pair[at] or "").strip() for at in (label, f"witness_{label}"))
            if not one and not other:
                continue
            if len(document.names) > 1:
                shown.print(name, style="bold")
            shown.print(difference(one, other, full, colour=colour))
    if len(table):
        told = any(table["differs"].to_pylist())
        shown.rule(style="dim")
        legend = Text("marked: ", style="dim")
        legend.append_text(_marked("-", "what only that row has", colour=colour)).append(", ")
        legend.append_text(_marked("+", "what only its witness has", colour=colour))
        legend.append("; not compared: its value / that of its witness" if told else "")
        shown.print(legend)


def _print_others(shown: Console, pair: dict[str, Any], by: str | None) -> None:
    """Print the value that the pair was taken for, and what differs besides what was compared."""
    if by is not None:
        both = [_short(value) for value in (pair["by"], pair["witness_by"])]
        told = f"{by}: {' because of '.join(dict.fromkeys(both))}"
        shown.print(told)
    if pair["differs"]:
        told = ", ".join(
            f"{one['column']} {_short(one['value'])} / {_short(one['witness_value'])}"
            for one in sorted(pair["differs"], key=lambda one: is_origin(one["column"]))
        )
        shown.print(f"not compared: {told}")


def _short(value: str | None) -> str:
    """The beginning of a value of another column."""
    if value is None:
        return "(none)"
    return value if len(value) <= SHOWN_VALUE else value[:SHOWN_VALUE] + " …"


def difference(one: str, other: str, full: bool, *, colour: bool) -> Text:
    """Two texts as one, in which what only one of them has is marked.

    one, other: the texts. full: all of them, not some words around what differs. colour: whether
    marks are colours, or brackets.
    """
    if one == other:
        words = one if full or len(one) <= SHOWN_TEXT else one[:SHOWN_TEXT] + " …"
        return Text(words, style="dim")
    found = list(changes(one, other))
    text = Text()
    for mark, words in found if full else around(found):
        if mark == " ":
            text.append(words)
            continue
        text.append_text(_marked(mark, words.rstrip(), colour=colour))
        text.append(words[len(words.rstrip()) :])
    return text


def _marked(mark: str, words: str, *, colour: bool) -> Text:
    """Words that only one of two texts has, in colour or in brackets."""
    if colour:
        return Text(words, style="red strike" if mark == "-" else "green")
    return Text(f"[-{words}-]" if mark == "-" else f"{{+{words}+}}")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _of_fields(found: dict[str, Any]) -> str:
    """The similarity in each field, where there are several; of a pair in those that it has."""
    names = [key.removeprefix("jaccard_") for key in found if key.startswith("jaccard_")]
    if "witness_text" not in found:
        names = [name for name in names if found[f"text_{name}"] or found[f"witness_text_{name}"]]
    shown = [f"{name} {found[f'jaccard_{name}']:.4f}" for name in names]
    return f" ({', '.join(shown)})" if shown else ""


def _document(title: str, text: str | None, other: str | None) -> Panel:
    """A document, cut to the part in which it begins to differ from the other one."""
    if text is None:
        return Panel("(null)", title=Text(title))
    pairs = enumerate(zip(text, other or "", strict=False))
    same = next((i for i, (one, two) in pairs if one != two), 0)
    start = max(0, same - SHOWN_TEXT // 2)
    end = start + SHOWN_TEXT
    shown = "… " * (start > 0) + text[start:end] + " …" * (len(text) > end)
    return Panel(shown, title=Text(title))


def print_demo(result: Result, *, where: bool) -> None:
    """Print the summary and three near-duplicates with their witnesses."""
    print_summary(result, where=where)
    import pyarrow.compute as pc

    table = result.keep_list()
    near = table.filter(pc.equal(table["reason"].cast(pa.string()), "near"))
    near = near.sort_by([("jaccard", "ascending"), ("row", "ascending")])
    shown = console()
    shown.print("\nThree of the dropped rows, each with its proof", style="bold")
    for place in (0, len(near) // 2, len(near) - 1):
        found = explain_row(result, f"0:{near['row'][place].as_py()}")
        shown.print(
            f"\n{found['id']} was dropped: Jaccard {found['jaccard']:.4f} with "
            f"{found['witness_id']}, which is kept"
        )
        shown.print(_document(found["id"], found["text"], found["witness_text"]))
        shown.print(_document(found["witness_id"], found["witness_text"], found["text"]))
