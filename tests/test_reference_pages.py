"""The reference says what the code says: tables that are made of it, and the keys of JSON files."""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

import dedupe
from dedupe.pipeline import ADDING_STAGES, EARLIER_STAGES, STAGES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
CODE = Path(dedupe.__file__).parent


@pytest.fixture(scope="module")
def writer():
    spec = importlib.util.spec_from_file_location("write_reference", DOCS / "write_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a finished run of two rows in out/, and its work directory in work/."""
    folder = tmp_path_factory.mktemp("pages")
    rows = [{"id": "a", "text": "one two three"}, {"id": "b", "text": "One, two, three."}]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "rows.jsonl").write_text(text, encoding="utf-8")
    out, work = folder / "out", folder / "work"
    dedupe.deduplicate(folder / "rows.jsonl", out, id="id", work_dir=work)
    return folder


def page(name):
    return (DOCS / name).read_text(encoding="utf-8")


def first_column(text):
    """Names in the first column of each table of a page, or of a part of one."""
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


def section(name, title):
    return page(name).partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_pages_are_what_the_code_says(writer):
    for path in writer.PAGES:
        text = path.read_text(encoding="utf-8")
        assert writer.written(text) == text, f"run python docs/write_reference.py: {path.name}"
    shown = "".join(path.read_text(encoding="utf-8") for path in writer.PAGES)
    for make in writer.PARTS:
        assert f"<!-- {make.__name__} -->" in shown


def test_results_of_all_stages_are_on_the_page(writer):
    known = {*writer.RESULTS.values(), *writer.COMMAND_RESULTS.values()}
    for kind in writer.TaskResult.__subclasses__():
        of_stage = kind.__module__.rpartition(".")[2] in STAGES  # a survey leaves no results
        assert kind in known or not of_stage, kind
    for kind in known:
        assert set(writer.meanings_of(kind)) >= kind.__annotations__.keys() - {"FILES"}, kind


def test_every_column_has_a_meaning(writer):
    of_splits = (*writer.SPLIT_ARTIFACTS, *writer.LEAK_ARTIFACTS)
    for kind in (*writer.ARTIFACTS, *writer.AUDIT_ARTIFACTS, *of_splits):
        assert set(kind.columns.names) == set(kind.meaning), kind.name


def test_run_file_is_as_described(finished):
    run = json.loads((finished / "work" / "run.json").read_text(encoding="utf-8"))
    named = first_column(section("reference/work-directory.md", "run.json"))
    assert named == {*run, *run["fingerprint"]}


def test_summary_is_as_described(finished):
    summary = json.loads((finished / "out" / "summary.json").read_text(encoding="utf-8"))
    text = section("reference/keep-list.md", "summary.json")
    assert first_column(text) == set(summary)
    shard = summary["corpus"]["shards"][0]
    for key in (*shard, *summary["resources"], *summary["faults"], *summary["stages"]["sign"]):
        assert f"`{key}`" in text, key


@pytest.mark.parametrize("kind", [dedupe.Settings, dedupe.Execution])
def test_python_page_has_every_field(kind):
    text = section("reference/python.md", kind.__name__)
    shown = {}
    for line in text.splitlines():
        if line.startswith("| `"):
            names, default = line.split("|")[1:3]
            shown |= dict.fromkeys(re.findall(r"`(\w+)`", names), default.strip().strip("`"))
    defaults = {one.name: one.default for one in fields(kind)}
    assert shown == {
        name: f'"{value}"'
        if isinstance(value, str)
        else re.sub(r"Tuning\(.*", "Tuning()", f"{value}")
        for name, value in defaults.items()
    }


def rooms_of(folder):
    """Names of the modules and packages of a folder of the code."""
    modules = {path.stem for path in folder.glob("*.py")}
    return modules - {"__init__"} | {path.parent.name for path in folder.glob("*/__init__.py")}


def code_map():
    return (ROOT / "README.md").read_text(encoding="utf-8").partition("## Map of the code")[2]


def test_map_of_the_code_names_every_room():
    named = set(re.findall(r"`(?:\w+/)?(\w+)(?:\.py|/)`", code_map()))
    assert rooms_of(CODE) | rooms_of(CODE / "commands") == named - {"dedupe"}


def test_reading_order_is_that_of_the_stages():
    in_map = re.findall(rf"`({'|'.join(STAGES)})`", code_map())
    lines = re.findall(r"^ +(\w+)(?: +⇒ (\w+))?  ", dedupe.__doc__, re.MULTILINE)
    in_docstring = [name for line in lines for name in line if name in STAGES]
    of_index = [*EARLIER_STAGES, *ADDING_STAGES]
    for found in (in_map, in_docstring):
        names = list(dict.fromkeys(found))
        assert [name for name in names if name in of_index] == of_index
        own = [name for name in STAGES if name not in of_index]
        assert [name for name in names if name not in of_index] == own
