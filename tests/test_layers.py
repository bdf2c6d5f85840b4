"""The shape of the house: imports point strictly downwards, and heavy ones stay in their rooms."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dedupe

ROOT = Path(dedupe.__file__).parent
REPOSITORY = Path(__file__).parents[1]

LAYERS = [
    {"errors", "schema", "threads", "version"},
    {"templates"},
    {"config"},
    {"arrays", "kernels", "lsh", "remote"},
    {"stages", "documents"},
    {"corpus", "storage", "exchange", "engines", "planning", "progress", "temporary"},
    {"tasks", "frames"},
    {"pipeline"},
    {"publish"},
    {"runs"},
    {"api"},
    {"show", "plan_report", "demo", "rewrite", "auditing"},
    {"cli"},
    {"__main__", "__init__"},
]
"""Rooms from the bottom up; a room may import those below it."""

BLIND = [({"stages"}, {"corpus", "storage", "engines", "planning"})]
"""Rooms that do not know each other, though they are on different layers."""

HEAVY = {
    "numba": {"kernels"},
    "llvmlite": {"kernels"},
    "click": {"cli"},
    "ray": {"engines"},
    "matplotlib": {"plan_report"},
    "fsspec": {"remote"},
    "upath": {"remote"},
}


def rooms():
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield parts[0], path


def imports(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def level(room):
    return next(i for i, names in enumerate(LAYERS) if room in names)


def ours(path):
    for name in imports(path):
        if name.startswith("dedupe.") and name.split(".")[1] in set().union(*LAYERS):
            yield name.split(".")[1]


@pytest.mark.parametrize(
    ("room", "path"), list(rooms()), ids=lambda value: getattr(value, "name", value)
)
def test_imports_point_downwards(room, path):
    for other in ours(path):
        assert other == room or level(other) < level(room), f"{room} imports {other}"
        for one, two in BLIND:
            assert not (room in one and other in two), f"{room} must not know {other}"
            assert not (room in two and other in one), f"{room} must not know {other}"


@pytest.mark.parametrize("path", sorted((ROOT / "stages").glob("*.py")), ids=lambda p: p.name)
def test_stages_never_import_one_another(path):
    assert not [name for name in imports(path) if name.startswith("dedupe.stages")]


@pytest.mark.parametrize(
    ("room", "path"), list(rooms()), ids=lambda value: getattr(value, "name", value)
)
def test_heavy_libraries_stay_in_their_rooms(room, path):
    for name in imports(path):
        allowed = HEAVY.get(name.split(".")[0])
        assert allowed is None or room in allowed, f"{room} imports {name}"


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from dedupe.cli import cli;"
        "cli.main(['run', '--help'], standalone_mode=False);"
        "heavy = {'numba', 'numpy', 'pyarrow', 'ray', 'rich', 'fsspec', 'upath'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.splitlines()[-1] == "[]"


def stage_names():
    from dedupe.storage.work_dir import STAGE_NAMES

    return list(STAGE_NAMES)


def in_order(text):
    """The stage names in the order in which a text first lists them."""
    return [
        name for name in re.findall(r"^\W*`?(\w+)`?\b", text, re.MULTILINE) if name in stage_names()
    ]


def test_reading_order_is_the_same_everywhere():
    tasks = (ROOT / "tasks.py").read_text(encoding="utf-8")
    assert re.findall(r"^def ([a-z]+)_task\(", tasks, re.MULTILINE) == stage_names()
    pipeline = (ROOT / "pipeline.py").read_text(encoding="utf-8")
    assert re.findall(r"\brun\(\s*\"([a-z]+)\"", pipeline) == stage_names()
    assert in_order(dedupe.__doc__) == stage_names()
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    code_map = readme.partition("## Map of the code")[2]
    found = re.findall(r"`stages/(\w+)\.py`", code_map)
    assert found == stage_names()
