"""The shape of the house: imports point strictly downwards, and heavy ones stay in their rooms."""

from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dedupe
from dedupe import pipeline
from dedupe.pipeline import ADDING_STAGES, EARLIER_STAGES, STAGES

ROOT = Path(dedupe.__file__).parent
REPOSITORY = Path(__file__).parents[1]

LAYERS = [
    {"errors", "hiding", "machine", "schema", "threads", "version"},
    {"screen"},
    {"progress"},
    {"documents.template"},
    {"documents.shapes"},
    {"config", "evals"},
    {"arrays", "kernels", "planning", "remote"},
    {"checks", "shingling"},
    {"documents", "stages"},
    {"corpus", "engines", "storage"},
    {"calibration", "index", "notebook", "pairs", "summary_schema"},
    {"result", "tasks"},
    {"replan", "stage_runner"},
    {"contamination"},
    {"pipeline", "session"},
    {"indexing", "warnings"},
    {"summary"},
    {"api", "commands", "demo", "orphans"},
    {"indexes", "plans", "splitting", "sweeping"},
    {"reporting"},
    {"cli", "ray"},
    {"__init__", "__main__"},
]
"""Rooms from the bottom up; a room may import those below it, at any place in its files."""

BLIND = [
    ({"stages"}, {"corpus", "storage", "engines", "tasks"}),
    ({"storage"}, {"stages", "corpus", "engines", "tasks"}),
    ({"planning"}, {"tasks", "stages", "storage", "engines"}),
    ({"result"}, {"kernels", "engines", "stages", "tasks", "planning"}),
    ({"tasks"}, {"engines"}),
    ({"commands"}, {"api", "engines"}),
]
"""Rooms that do not know others, whichever is above."""

PARQUET = {
    "corpus.opening", "corpus.reading.parquet", "corpus.rewriting.parquet",
    "corpus.rewriting.parquet_schema", "storage.keep_lists", "tasks.keep",
    "commands.edges.file", "commands.index.tables", "commands.problems.table",
    "commands.signatures",
    "commands.split.tables", "commands.split.writing", "contamination.report",
}  # fmt: skip

RAY = {
    "ray", "engines.ray_engine", "engines.ray_pool", "engines.ray_session", "engines.ray_worker",
}  # fmt: skip

HEAVY = {
    "numba": {"kernels"},
    "llvmlite": {"kernels"},
    "click": {"cli"},
    "ray": RAY,
    "ray.data": {"ray"},
    "matplotlib": {"commands.report.plot", "commands.sweep.plot", "planning.report"},
    "fsspec": {"remote"},
    "upath": {"remote"},
    "pyarrow.parquet": PARQUET,
}
"""Who may import what, by the beginnings of names of modules."""


def modules():
    """Every module of the package by its name without `dedupe.`, with its file."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        found[name] = path
    return found


MODULES = modules()


def room_of(module):
    """The room that a module is in."""
    own = [room for names in LAYERS for room in names if is_in(module, room)]
    return max(own, key=len)


def is_in(module, room):
    return module == room or module.startswith(f"{room}.")


def level(room):
    return next(i for i, names in enumerate(LAYERS) if room in names)


def imports(module, *, at_once=False):
    """Names that a module imports; at_once: when it is imported itself, and not in a function."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    for node in _now(tree) if at_once else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole path"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _now(node):
    """The nodes that run when a module is imported."""
    for child in ast.iter_child_nodes(node):
        checked = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        if not checked and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
            yield from _now(child)


def ours(names):
    """The modules of the package among these names, and the packages that they are in."""
    found = {name.removeprefix("dedupe.") for name in names if name.startswith("dedupe.")}
    return {name for name in found if name in MODULES}


def arrows():
    """Every pair of rooms of which the first imports the second."""
    pairs = {
        (room_of(module), room_of(other)) for module in MODULES for other in ours(imports(module))
    }
    return sorted((one, other) for one, other in pairs if one != other)


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_downwards(module):
    room = room_of(module)
    for name in ours(imports(module)):
        other = room_of(name)
        assert other == room or level(other) < level(room), f"{module} imports {name}"
        for one, two in BLIND:
            assert not (room in one and other in two), f"{module} must not know {name}"


def test_every_room_is_in_the_house():
    assert {room_of(module) for module in MODULES} == set().union(*LAYERS)


@pytest.mark.parametrize("module", [name for name in MODULES if is_in(name, "stages")])
def test_stages_never_import_one_another(module):
    assert not [name for name in ours(imports(module)) if is_in(name, "stages")]


@pytest.mark.parametrize("module", MODULES)
def test_heavy_libraries_stay_in_their_rooms(module):
    for name in imports(module):
        for library, allowed in HEAVY.items():
            if is_in(name, library):
                assert any(is_in(module, one) for one in allowed), f"{module} imports {name}"


LIGHT = [
    "cli",
    "config",
    "commands.split.result",
    "result",
    "storage",
    "corpus",
    "planning",
    "tasks.costs",
    "commands.show",
]
"""What is imported before it is known that there is work to do."""

WITH_KERNELS = ["corpus.rewriting"]
"""Within these: copying lines of text for apply."""


def loaded_with(module):
    """All modules of the package that are imported with one, by imports that run at once."""
    seen, todo = set(), [module]
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        parents = {name.rpartition(".")[0]} & MODULES.keys()
        todo += [*ours(imports(name, at_once=True)), *parents]
    return seen


@pytest.mark.parametrize("room", LIGHT)
def test_neither_kernels_nor_engines_are_below_what_answers_at_once(room):
    for module in MODULES:
        if is_in(module, room) and not any(is_in(module, one) for one in WITH_KERNELS):
            loaded = loaded_with(module)
            assert not [n for n in loaded if is_in(n, "kernels") or is_in(n, "engines.")], module
            assert not [n for n in loaded if is_in(n, "engines") and n != "engines"], module


# --- what is loaded, as a process sees it -----------------------------------------------------


def loads(code, *libraries, arguments=()):
    """Which of these libraries a process has loaded when it has run some code."""
    end = f"import sys, json; print(json.dumps(sorted({set(libraries)!r} & set(sys.modules))))"
    command = [sys.executable, "-c", f"{code}\n{end}", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_help_loads_nothing_heavy():
    code = "from dedupe.cli import cli\ncli.main(['run', '--help'], standalone_mode=False)"
    heavy = ["numba", "numpy", "pyarrow", "ray", "rich", "fsspec", "upath"]
    assert loads(code, *heavy) == []


ANSWERS = """
import sys
from pathlib import Path
from dedupe.cli import main

out, corpus, folder = sys.argv[1:]


def answer(code, *words):
    sys.argv = ["dedupe", *words]
    try:
        main()
        ended = 0
    except SystemExit as end:
        ended = end.code
    assert ended == code, (words, ended)
    heavy = {"numba", "llvmlite", "ray"} & set(sys.modules)
    assert not heavy, (words, heavy)


answer(0, "show", out)
answer(0, "show", out, "--json")
answer(0, "show", out, "--row", "0:1")
answer(0, "plan")
answer(0, "plan", "--recall", "exact", "--json")
run = ("run", corpus, "--output", folder + "/new", "--quiet")
answer(2, "run", folder + "/nosuch.parquet", "--output", folder + "/new")
answer(2, *run, "--text", "nosuch")
answer(2, *run, "--id", "nosuch")
answer(2, *run, "--keep", "max:nosuch")
answer(2, *run, "--threshold", "2")
answer(2, *run, "--nosuch")
answer(2, *run, "--memory", "1MB")
answer(2, "run", corpus, "--output", folder)
split = ("split", corpus, "--output", folder + "/new", "--quiet")
answer(2, "split", folder + "/nosuch.parquet", "--output", folder + "/new")
answer(2, *split, "--test", "x")
answer(2, *split, "--group", "nosuch")
answer(2, *split, "--threshold", "2")
answer(2, "apply", folder + "/nosuch", "--output", folder + "/new")
answer(2, "audit", folder + "/nosuch")
sweep = ("sweep", corpus, "--thresholds")
answer(2, *sweep, "0.5")
answer(2, *sweep, "0.5:0.9:0.1", "--text", "nosuch")
answer(2, *sweep, "0.5:0.9:0.1", "--png", folder + "/a.jpg")
answer(0, "edges", out, "--output", folder + "/edges.parquet")
answer(2, "edges", folder + "/nosuch", "--output", folder + "/new")
answer(2, "edges", out, "--output", corpus, "--from", "0.5")
assert not Path(folder, "new").exists()
import dedupe
result = dedupe.Result(out)
assert result.mask().sum() == result.kept
assert len(result.keep_list()) == result.rows
assert "numba" not in sys.modules
"""


def test_what_reads_a_finished_run_or_refuses_a_mistake_loads_no_kernels(tmp_path):
    corpus = tmp_path / "in" / "a.jsonl"
    corpus.parent.mkdir()
    corpus.write_text("".join(f'{{"text": "some words of row {i // 2}"}}\n' for i in range(20)))
    dedupe.deduplicate(corpus, tmp_path / "out")
    assert loads(ANSWERS, "numba", arguments=(tmp_path / "out", corpus, tmp_path)) == []


OWN_PROCESS = """
import gc, json, os
from dedupe.cli import main

before = gc.get_threshold()
try:
    main()
except SystemExit:
    pass
names = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
print(json.dumps([gc.get_threshold() != before, *map(os.environ.get, names)]))
"""


def test_only_a_command_sets_what_belongs_to_its_process(monkeypatch):
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    lines = []
    for code in (OWN_PROCESS, OWN_PROCESS.replace("main()", "import dedupe.pipeline")):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        lines.append(json.loads(done.stdout.splitlines()[-1]))
    assert lines == [[True, "1", "3"], [False, None, "3"]]


def test_a_run_on_local_paths_loads_no_fsspec(tmp_path):
    corpus = tmp_path / "a.csv"
    corpus.write_text("text\nsome words\n")
    code = "import sys; from dedupe import deduplicate; deduplicate(*sys.argv[1:])"
    heavy = ["fsspec", "upath", "s3fs", "aiohttp", "ray"]
    assert loads(code, *heavy, arguments=(corpus, tmp_path / "out")) == []


# --- the order in which to read; `test_reference_pages` has the rest ---------------------------


def test_the_pipeline_runs_the_stages_in_their_order():
    in_order = (
        pipeline.sign_corpus,
        pipeline.bring_earlier,
        pipeline.gather,
        pipeline.decide,
        pipeline.run_stages,
        pipeline._write_segment,
    )
    code = "".join(map(inspect.getsource, in_order))
    named = re.findall(r"\b(?:run|stages\.run|stages\.run_tree)\((?:job, )?\"(\w+)\"", code)
    assert tuple(dict.fromkeys(named)) == STAGES  # sign comes again for rows of an index
    for name in {*STAGES} - {*EARLIER_STAGES, *ADDING_STAGES}:  # those are two modules
        assert f"tasks.{name}" in MODULES
        assert f"stages.{name}" in MODULES


def floors():
    """The rooms of each floor, as the README tells them from the ground up."""
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    table = readme.partition("## Map of the code")[2].partition("four shuffles")[0]
    top = {name.partition(".")[0] for name in MODULES}
    rows = re.findall(r"^\| [^|`]+ \|(.*)\|$", table, re.MULTILINE)
    told = (re.findall(r"`(\w+)(?:\.py|/)`", row) for row in rows)
    return [set(names) & top for names in told if names]


def test_imports_point_downwards_in_the_map_of_the_readme():
    """Or stay on their floor, where `LAYERS` says who is above whom."""
    told = [(room, number) for number, floor in enumerate(floors()) for room in floor]
    floor_of = dict(told)
    assert len(floor_of) == len(told) > 20
    for one, other in arrows():
        if one != "__init__":
            above, below = floor_of[one.partition(".")[0]], floor_of[other.partition(".")[0]]
            assert above >= below, f"{one} imports {other}"
