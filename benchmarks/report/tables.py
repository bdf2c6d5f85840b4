"""Write the tables of the pages from the result files, between their markers.

    python -m benchmarks.report.tables

`tables.toml` has the tables, whose cells are made of what result files have and of functions here;
`sentences.toml` has the sentences that quote numbers.
"""

import gzip
import json
import math
import re
import tomllib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import dedupe
from benchmarks.common import ROOT, comparisons, read_result
from benchmarks.report import scaling
from dedupe.config import ALGORITHM
from dedupe.demo import corpus_path
from dedupe.stages.problems import PROBLEMS  # noqa: F401 (tables.toml asks for them)

WITH_TABLES = "benchmarks peers how-to/choose-settings how-to/decontaminate how-to/report"
WITH_TABLES += " how-to/problems how-to/plan how-to/edges how-to/split how-to/sweep"
WITH_TABLES += " explanation/budgets explanation/join explanation/scaling"
PAGES = [ROOT / "README.md", *(ROOT / "docs" / f"{page}.md" for page in WITH_TABLES.split())]
SPECS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
SENTENCES = tomllib.loads(Path(__file__).with_name("sentences.toml").read_text(encoding="utf-8"))
NUMBER = r"\d[\d.,]*(?<![.,])"
DEFAULT = {"shingle": "word:5", "threshold": 0.8, "recall": 0.99}
TAKEN = ("wall_seconds", "cpu_seconds", "peak_pss_bytes")
Line = dict[str, Any]


def markdown(heads: Iterable[str], rows: Iterable[list[str]]) -> str:
    """A Markdown table: the first column to the left, and those whose head begins with <."""
    first, *others = heads
    left = [not first.startswith(">"), *(head.startswith("<") for head in others)]
    aligned = ["---" if is_left else "---:" for is_left in left]
    lines = [[head.lstrip("<>") for head in (first, *others)], aligned, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cell(form: str, line: Line) -> str:
    """An f-string of what a line has; nothing where it has not."""
    try:
        return str(eval(f"f{form!r}", globals() | line))
    except NameError:
        return ""


def table(name: str) -> str:
    """A table of tables.toml, with what is said of it; of comparisons with peers one for each."""
    spec, parts = SPECS[name], []
    file = spec.get("result")
    *columns, (head, form) = spec["columns"]
    for result in comparisons() if file == "peers" else [read_result(file) if file else {}]:
        names = globals() | result | {"result": result}
        found, across = eval(spec["lines"], names), eval(spec.get("across", "[None]"), names)
        named = found.items() if isinstance(found, dict) else enumerate(found)
        lines = [{"name": name, **line, "line": line, "result": result} for name, line in named]
        heads = [*(first for first, _ in columns), *(cell(head, {"one": one}) for one in across)]
        rows = [
            [*(cell(first, line) for _, first in columns)]
            + [cell(form, {**line, "one": one}) for one in across]
            for line in lines
        ]
        if rows:
            above, below = (cell(spec.get(at, ""), result | lines[0]) for at in ("above", "below"))
            noted = (
                f"Measured{older(result)}." if older(result) and file not in (None, "peers") else ""
            )
            parts += [part for part in (above, markdown(heads, rows), below, noted) if part]
    return "\n\n".join(parts)


def algorithm_of(made: Line) -> int:
    """The algorithm that something was measured with; the first did not say so."""
    return int(made.get("algorithm", 1))


def older(made: Line) -> str:
    """What stands behind a figure that was measured with another algorithm than this one."""
    algorithm = algorithm_of(made)
    return "" if algorithm == ALGORITHM else f" with algorithm {algorithm}"


def said_of(result: Line) -> str:
    """With which algorithm a comparison, or a line of it with a star, was made, if not this one."""
    whole, stars = older(result), {older(line) for line in by_speed(result) if line["star"]}
    said = [f"Measured{whole}."] if whole else []
    said += [
        rf"\* Measured in another hour, beside dedupe{one}; × is to what that took."
        for one in sorted(stars)
    ]
    return " ".join(said)


def share(part: float, whole: float, form: str = ".5f") -> str:
    """A share of what there is, or a dash where there is nothing."""
    return format(part / whole, form) if whole else "–"


def percent(part: float | None) -> str:
    """A share in per cent, or a dash where it is of nothing."""
    return "–" if part is None else f"{100 * part:.1f}"


def runs_of(kind: Line, **given: Any) -> list[Line]:
    """The runs on a kind of text with these settings; `planned` ones unless that is given."""
    wanted = {"planned": True, **given}
    return [r for r in kind["runs"] if all(r.get(name) == wanted[name] for name in wanted)]


def kinds() -> dict[str, Line]:
    """What was measured on each kind of text."""
    return read_result("quality")["kinds"]


def default_run() -> list[Line]:
    """The run on each kind of text with the default settings."""
    runs = ((name, kind, *runs_of(kind, **DEFAULT)) for name, kind in kinds().items())
    return [{**run, "name": name, "of": kind} for name, kind, run in runs]


def near(kind: Line, like: Line) -> tuple[int, int]:
    """Pairs just above any of the thresholds, and those that runs with these bands found."""
    asked = ("recall",) if like["planned"] else ("bands", "rows", "planned")
    runs = runs_of(kind, shingle="word:5", **{name: like[name] for name in asked})
    pairs = sum(run["near_pairs"] for run in runs)
    return pairs, pairs - sum(run["near_missed"] for run in runs)


def seconds_of(run: Line, stage: str, what: str) -> float:
    """What a stage of a run took, or what was taken besides all stages."""
    of = {name: found[what] for name, found in run["stages"].items()}
    return of.get(stage, run[what] - sum(of.values()))


def seconds_of_rules(rules: Line) -> str:
    """CPU seconds of each rule of the contamination study."""
    return "; ".join(f"{name} {said['cpu_seconds']:.1f}" for name, said in rules.items())


def requests_of(run: Line, stage: str) -> str:
    """What a stage read, looked up and wrote in a store, or all but `apply` for each shard."""
    stages = {name: Counter(asked) for name, asked in run["stages"].items()}
    whole = sum((asked for name, asked in stages.items() if name != "apply"), Counter())
    asked = stages.get(stage, whole)
    get, look = asked["GET"], asked["LIST"] + asked["HEAD"]
    three = get, look, asked.total() - get - look
    if stage in stages:
        return " / ".join(f"{count:,}" for count in three)
    return " / ".join(f"{count / run['shards']:.1f}" for count in three)


def by_speed(result: Line, kind: str = "") -> list[Line]:
    """The tools of a comparison, the fastest first; instead of seconds why there are none.

    `times` are what each took beside ours in the same hour.
    """
    lines = [line for line in result["tools"] if kind in ("", line["kind"])]
    shown = []
    for line in lines:
        failure = (line["failure"] or "").partition("\n")[0]
        wall = f"{line['wall_seconds']:.1f}" if line["runs"] else failure
        later = f", then {failure}" if failure and line["runs"] else ""
        made = algorithm_of({**result, **line})
        star = "" if made == algorithm_of(result) else r"\*"
        ours = line.get("beside", result["tools"][0])
        times = {what: line[what] / ours[what] for what in ours if what in TAKEN and what in line}
        told = {"algorithm": made, "star": star, "wall": wall, "later": later, "times": times}
        shown.append({**line, **told})
    return sorted(shown, key=lambda line: line["times"].get(TAKEN[0], math.inf))


def by_truth(result: Line) -> list[Line]:
    """The tools of a comparison that were judged, fewest wrongly dropped rows first."""
    lines = [{**line, **line["truth"]} for line in result["tools"] if line.get("truth")]
    return sorted(lines, key=lambda line: line["wrongly_dropped"])


def million() -> list[Line]:
    """The largest comparison, beside what the same settings did to the fewest rows judged."""
    found = comparisons()
    judged = {line["name"]: line for result in found[::-1] for line in by_truth(result)
              if line["kind"] == "documented"}  # fmt: skip
    lines = by_speed(found[-1], "documented")
    return [{**line, "truth": judged.get(line["name"], {})} for line in lines]


def peer(name: str, kind: str = "documented", rows: int = 1_000_000) -> Line:
    """A tool in the comparison of so many rows; of a million with what was judged of fewer."""
    (found,) = (result for result in comparisons() if result["rows"] == rows)
    judged = {line["name"]: line for line in million()}
    (line,) = (line for line in by_speed(found, kind) if line["name"] == name)
    if rows < 1_000_000:
        return line
    few = comparisons()[0]
    truths = {(one["name"], one["kind"]): one["truth"] for one in by_truth(few)}
    return {**line, "truth": truths.get((name, kind), judged.get(name, {}).get("truth", {}))}


def found_of(mode: str) -> float:
    """Share of the questions of 12 words or more, planted in this way, that are found."""
    modes = read_result("contamination")["rules"]["dedupe"]["modes"]
    (one,) = (one for one in modes if one["mode"] == mode and not one["short"])
    return float(one["found"] / one["rows"])


def random_leaks() -> list[float]:
    """Shares of the rows of a random test set that leak, of each corpus and draw."""
    lines = read_result("splits")["lines"]
    return [leaks / line["test"] for line in lines for leaks in line["random"]]


def of_a_million() -> Line:
    """The run of a million rows."""
    (line,) = (line for line in read_result("scale")["lines"] if line["rows"] == 1_000_000)
    return dict(line)


def stage_of_a_million(name: str) -> Line:
    """What a stage of that run took."""
    return dict(of_a_million()["stages"][name])


def of_steps(first: int = 0, last: int | None = None) -> float:
    """Nanoseconds per byte of text of these steps of the kernel of sign, or of all of them."""
    return float(sum([*read_result("steps")["steps"].values()][first:last]))


def token_bytes() -> float:
    """Bytes of text for each token, where the steps of sign were measured."""
    return float(read_result("steps")["bytes_per_token"])


def share_of_decoding() -> float:
    """Decoding Parquet, of decoding and signing."""
    steps = read_result("steps")
    return float(steps["decode"] / (steps["decode"] + steps["sign"]))


def adversary(name: str) -> Line:
    """What was measured of a corpus that breaks naive methods, or of ordinary text beside it."""
    result = read_result("adversaries")
    return dict({**result["ordinary"], **result["lines"]}[name])


def bytes_beside(name: str) -> float:
    """How many times as many bytes as ordinary prompts and answers such a corpus has in a row."""
    one, other = (adversary(of) for of in (name, "fields"))
    return float(one["text_bytes"] / one["rows"] / (other["text_bytes"] / other["rows"]))


def stages_beside(name: str) -> float:
    """How many times as long as those of ordinary prompts and answers its stages take for a row."""
    one, other = (
        sum(stage["wall_seconds"] for stage in line["stages"].values()) / line["rows"]
        for line in (adversary(name), adversary("fields"))
    )
    return float(one / other)


def wrong_of(name: str, kind: str) -> float:
    """The share of what a tool dropped of 100,000 rows that it dropped wrongly."""
    return float(peer(name, kind, 100_000)["truth"]["wrongly_dropped_share"])


def stage_seconds_of_a_million() -> float:
    """CPU seconds of all stages for a million rows, by the largest run."""
    line = scaling.largest("scale")
    taken = sum(stage["cpu_seconds"] for stage in line["stages"].values())
    return float(taken / line["rows"] * 1e6)


def pattern_of(sentence: str) -> str:
    """What finds a sentence on a page: its text between the numbers as groups."""
    parts = re.split(r"\{[^}]*\}", sentence)
    spaced = [re.sub(r"(?:\\ )+", r"\\s+", re.escape(part)) for part in parts]
    return NUMBER.join(f"({part})" for part in spaced)


def quoted(text: str, sentence: str) -> str:
    """A page with the numbers of one of its sentences put in anew.

    text: the page. sentence: a part of a sentence, with expressions in braces. Raises ValueError
    where the page has no such sentence, or several.
    """
    pattern = pattern_of(sentence)
    values = [cell(form, {}) for form in re.findall(r"\{[^}]*\}", sentence)]
    if len(re.findall(pattern, text)) != 1:
        raise ValueError(f"not there, or more than once: {sentence}")

    def filled(found: re.Match[str]) -> str:
        pieces = zip(found.groups(), [*values, ""], strict=True)
        return "".join(literal + value for literal, value in pieces)

    return re.sub(pattern, filled, text)


SIMILAR = (
    ("lib32asan8-amd64-cross", "libasan8-amd64-cross", '"(32bit)" is not in the other'),
    ("gdc-12-multilib-i686-linux-gnu", "gdc-12-multilib-s390x-linux-gnu", '"i386" is "s390x"'),
    ("thunderbird-l10n-af", "thunderbird-l10n-th", '"Africaans" is "Thai", twice'),
)
"""Pairs of the demo corpus, by their ids, and what differs."""


def similar_rows() -> list[Line]:
    """How similar some pairs of the demo corpus are."""
    with gzip.open(corpus_path(), "rt", encoding="utf-8") as lines:
        rows = {row["id"]: row for row in map(json.loads, lines)}
    found = []
    for one, other, differs in SIMILAR:
        run = dedupe.deduplicate([rows[one], rows[other]], threshold=0.1, recall="exact")
        jaccard, words = run.keep_list()["jaccard"][1].as_py(), len(rows[one]["text"].split())
        line = {"one": one, "other": other, "differs": differs}
        found.append({**line, "jaccard": jaccard, "words": words})
    return found


def main() -> None:
    """Rewrite every marked part of the pages, and the numbers in their sentences."""
    for path in PAGES:
        page = path.read_text(encoding="utf-8")
        for name in SPECS:
            before, marker, rest = page.partition(f"<!-- {name} -->\n")
            if marker:
                after = f"<!-- /{name} -->"
                page = f"{before}{marker}{table(name)}\n{after}{rest.partition(after)[2]}"
        path.write_text(page, encoding="utf-8")
    for one in SENTENCES["sentence"]:
        path = ROOT / one["page"]
        path.write_text(quoted(path.read_text(encoding="utf-8"), one["text"]), encoding="utf-8")


if __name__ == "__main__":
    main()
