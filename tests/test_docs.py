"""What the how-to pages tell people to type, typed."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import corpora
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shell_commands import commands

import dedupe
from dedupe import Settings, SettingsError
from dedupe.cli import cli

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"
SECTION = re.compile(r"^## (.*)$", re.MULTILINE)
BLOCK = re.compile(
    r"^```(python|sh)\n(.*?)^```(?:\n\n```text\n(.*?)^```)?", re.MULTILINE | re.DOTALL
)
NEEDS = {
    "Hugging Face datasets": "datasets", "pandas": "pandas", "Polars": "polars",
    "DuckDB": "duckdb", "Ray Data": "ray", "PyTorch": "torch", "datatrove": "datatrove",
}  # fmt: skip


def sections(page):
    """(title, blocks) of a page; the first section has no title."""
    parts = SECTION.split((DOCS / page).read_text(encoding="utf-8"))
    for title, text in zip(["", *parts[1::2]], parts[::2], strict=True):
        yield title, BLOCK.findall(text)


FILTERS = [
    pytest.param(title, marks=[pytest.mark.ray, pytest.mark.slow] if title == "Ray Data" else [])
    for title, blocks in sections("how-to/filter-a-corpus.md")
    if title and blocks
]


def make_corpus(folder, forks):
    """corpus/ with two Parquet files, and the stories of the tutorial."""
    texts = corpora.mixed(120, seed=11)
    table = pa.table(
        {
            "id": [f"row-{i}" for i in range(len(texts))],
            "text": pa.array(texts),
            "source": [("human", "synthetic")[i % 2] for i in range(len(texts))],
        }
    )
    (folder / "corpus").mkdir()
    for number in range(2):
        half = table.slice(number * 60, 60)
        pq.write_table(half, folder / "corpus" / f"part-{number}.parquet", row_group_size=25)
    tutorial = (DOCS / "tutorial" / "first-run.md").read_text(encoding="utf-8")
    (story,) = (code for kind, code, _ in BLOCK.findall(tutorial) if "HARE = (" in code)
    run(forks, folder, "python", story)


COMMAND = "from dedupe.cli import main; main()"

RAYLETS = re.compile(r"^(\x1b\[\d+m)?\(raylet\).*\n", re.MULTILINE)
"""What Ray says among what a program prints, such as that workers start slowly."""


def run(forks, folder, kind, code):
    """Run a block in a folder; what it prints.

    Python, and commands of ours that need no shell, are forks of a process that has imported what
    they need; everything else is a shell.
    """
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_OFFLINE": "1",
        "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    }
    where = {"folder": folder, "environment": environment}
    if kind == "python":
        programs = [(code, [])]
    elif re.fullmatch(r"(dedupe [^|&;<>$*\n]*\n)+", code):
        programs = [(COMMAND, shlex.split(line)[1:]) for line in code.splitlines()]
    else:
        done = subprocess.run(
            ["sh", "-ec", code], cwd=folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
        return done.stdout
    printed = ""
    for program, arguments in programs:
        done = forks.run(program, *arguments, **where)
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
        printed += RAYLETS.sub("", done.stdout)
    return printed


@pytest.fixture(scope="module")
def finished(tmp_path_factory, forks):
    """A folder with the corpus, and its finished run in out/."""
    folder = tmp_path_factory.mktemp("docs")
    make_corpus(folder, forks)
    _, blocks = next(sections("how-to/filter-a-corpus.md"))
    for kind, code, _ in blocks:
        run(forks, folder, kind, code)
    return folder


def expected_rows(folder):
    """The rows that the keep-list keeps, by another way."""
    rows = []
    for number in range(2):
        keep = pq.read_table(folder / "out" / "keep" / f"0000{number}-part-{number}.parquet")
        table = pq.read_table(folder / "corpus" / f"part-{number}.parquet")
        rows += [r for r, k in zip(table.to_pylist(), keep["keep"].to_pylist(), strict=True) if k]
    return rows


@pytest.mark.parametrize("title", FILTERS)
def test_every_filter_leaves_the_rows_that_the_keep_list_keeps(finished, forks, title):
    if title in NEEDS and importlib.util.find_spec(NEEDS[title]) is None:
        pytest.skip(f"{NEEDS[title]} is not installed")
    expected = expected_rows(finished)
    assert 20 < len(expected) < 110
    for _, blocks in [one for one in sections("how-to/filter-a-corpus.md") if one[0] == title]:
        if title == "Ray Data":  # which takes seconds to start
            blocks = [("python", "\n".join(code for _, code, _ in blocks), "")]
        printed = [run(forks, finished, kind, code) for kind, code, _ in blocks]
    if title == "DuckDB":
        assert pq.read_table(finished / "clean.parquet").to_pylist() == expected
    elif title == "PyArrow dataset":
        assert pq.read_table(finished / "clean").to_pylist() == expected
    elif title == "datatrove":
        (made,) = (finished / "trove").glob("*.jsonl")
        ids = [json.loads(line)["id"] for line in made.read_text().splitlines()]
        with_text = [row["id"] for row in expected if row["text"]]
        assert ids == with_text  # its reader leaves out rows without text
    elif title == "pandas":
        counts = [int(line.split()[-1]) for line in printed[1].splitlines()]
        assert sum(counts) == len(expected)
    elif title == "PyTorch":
        assert [int(line) for out in printed for line in out.split()] == [len(expected)] * 3
    else:  # one number is enough: each example has another way to its rows
        found = re.findall(r"^(\d+) (?:of|rows)", "\n".join(printed), re.MULTILINE)
        counts = [int(count) for count in found]  # among what Ray's workers say
        assert counts == [len(expected)] * sum(code.count("print(") for _, code, _ in blocks)


ON_RAY = pytest.param("ray-data", marks=[pytest.mark.ray, pytest.mark.slow])


@pytest.mark.parametrize(
    "page",
    [
        "apply",
        "audit",
        "copies",
        "check-with-datasketch",
        "edges",
        "keep-the-best-row",
        "look-before-you-trust",
        "split",
        "threshold-and-shingle",
        "several-datasets",
        "sweep",
        "from-python",
        "hold-against",
        "new-crawls",
        ON_RAY,
    ],
)
def test_pages_run_from_top_to_bottom(tmp_path, forks, page):
    make_corpus(tmp_path, forks)
    for _, blocks in sections(f"how-to/{page}.md"):
        for kind, code, said in blocks:
            printed = run(forks, tmp_path, kind, code)
            if said:
                assert printed.strip() == said.strip()


SAVED = {
    "HARE = (": "make_stories.py",
    "def problem():": "make_rows.py",
    '"crawl"': "make_shards.py",
    "months = {": "make_crawls.py",
}
"""What blocks that are to be saved have in them, and the names that the tutorials give them."""
NOT_HERE = ("pip install", "s3://")
"""What blocks have in them that change the machine, or need one elsewhere."""
IN_PART = ("dedupe demo", "dedupe run stories.jsonl")
"""Commands whose output has times in it, or more than the page shows."""


def follow(forks, folder, page, not_here=NOT_HERE):
    """Do what a tutorial tells, and compare what it says that is printed."""
    for _, blocks in sections(f"tutorial/{page}.md"):
        for kind, code, said in blocks:
            names = [name for words, name in SAVED.items() if words in code and kind == "python"]
            if names:
                (folder / names[0]).write_text(code, encoding="utf-8")
            elif not any(words in code for words in not_here):
                printed = run(forks, folder, kind, code)
                if said and any(words in code for words in IN_PART):
                    assert all(line in printed for line in said.strip().splitlines())
                elif said:
                    assert printed.strip() == said.strip()


def test_the_tutorial_makes_a_training_set(tmp_path, forks):
    pytest.importorskip("datasets")
    follow(forks, tmp_path, "training-set")
    assert {path.name for path in (tmp_path / "data").glob("*.jsonl")} == {
        f"{name}-00000-of-00001.jsonl" for name in ("train", "validation", "test")
    }


@pytest.mark.parametrize(
    "page",
    ["first-run", "research", pytest.param("cluster", marks=[pytest.mark.ray, pytest.mark.slow])],
)
def test_tutorials_run_from_top_to_bottom(tmp_path, forks, page):
    follow(forks, tmp_path, page)
    if page == "cluster":
        rows = [pq.read_metadata(path).num_rows for path in (tmp_path / "clean").glob("*.parquet")]
        assert (len(rows), sum(rows)) == (4, dedupe.Result(tmp_path / "out").kept)


@pytest.mark.ray
@pytest.mark.slow
def test_the_tutorial_of_crawls_runs_on_a_store_and_on_ray(tmp_path, forks, store):
    store.make("crawls")
    follow(forks, tmp_path, "crawls", not_here=("pip install",))


# --- every command that is told anywhere ------------------------------------------------------


def shell_text(path):
    """What is for a shell in a file: blocks of a page, commands within its lines, or all of it."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".md":
        return [text]
    fenced = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    blocks = [block for kind, block in fenced if kind in ("sh", "bash")]
    text = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)
    blocks += re.findall(r"(?:^    .*\n)+", text, re.MULTILINE)
    blocks += [re.sub(r"\s+", " ", one) for one in re.findall(r"`(dedupe [^`]*)`", text)]
    return [block for block in blocks if re.search(r"\bdedupe ", block)]


PLACES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")
TELLING = [
    *(REPOSITORY / name for name in PLACES),
    *sorted(DOCS.rglob("*.md")),
    *sorted(path for path in (REPOSITORY / "cluster").iterdir() if path.suffix != ".txt"),
]

LEFT_OUT = re.compile(r"…|\[options\]|\[--|COMMAND|\.\.\.$")
"""What stands for arguments, in a command that shows how one is put together."""


def told_commands(path):
    """The arguments of each `dedupe …` in a file."""
    text = path.read_text(encoding="utf-8")
    defaults = dict(re.findall(r"^ *(\w+)=\$\{\1:-(.*)\}$", text, re.MULTILINE))
    for block in shell_text(path):
        try:
            found = commands(block, "dedupe")
        except ValueError:  # prose, with a quote in it
            assert path.suffix == ".md", path
            continue
        for words in found:
            yield [re.sub(r"^\$(\w+)$", lambda m: defaults.get(m[1], m[1]), w) for w in words]


def test_commands_are_found():
    count = {path.name: len(list(told_commands(path))) for path in TELLING if path.exists()}
    assert count["README.md"] >= 5
    assert count["slurm.sh"] >= 1
    assert count["kuberay-job.yaml"] >= 1
    assert sum(count.values()) > 60


def complaints_of(words):
    """What is wrong with a command; one that leaves something out has no unknown options."""
    if not words or words[0].startswith("-"):
        return []
    name, *rest = words
    if name not in cli.commands:
        return [f"there is no command {name}"] if re.fullmatch(r"[a-z]+", name) else []
    command = cli.commands[name]
    if isinstance(command, click.Group):
        if not rest or rest[0].startswith("-"):
            return []
        own, *rest = rest
        if own not in command.commands:
            return [f"there is no command {name} {own}"] if re.fullmatch(r"[a-z]+", own) else []
        name, command = f"{name} {own}", command.commands[own]
    known = {one for option in command.params for one in _names(option)} | {"--help"}
    given = [word.partition("=")[0] for word in rest if word.startswith("--")]
    unknown = [word for word in given if word not in known and not LEFT_OUT.search(word[2:])]
    if unknown:
        return [f"dedupe {name} has no {one}" for one in unknown]
    if any(LEFT_OUT.search(word) for word in words):
        return []
    try:
        rest = ["{}" if word.startswith("@") else word for word in rest]  # a file of options
        given = command.make_context(name, rest).params
        known = Settings.__dataclass_fields__
        chosen = {key: value for key, value in given.items() if key in known}
        Settings(**{key: value for key, value in chosen.items() if value is not None})
    except click.exceptions.Exit:
        return []  # --help
    except click.exceptions.MissingParameter:
        return []  # a command that is named, with an option of it
    except (click.exceptions.ClickException, SettingsError) as error:
        return [f"dedupe {' '.join(words)}: {error}"]
    return []


def _names(option):
    return [*option.opts, *option.secondary_opts]


@pytest.mark.parametrize("path", TELLING, ids=lambda path: path.name)
def test_every_command_that_is_told_has_the_options_of_the_command_line(path):
    if not path.exists():
        pytest.skip("not written yet")
    wrong = [found for words in told_commands(path) for found in complaints_of(words)]
    assert wrong == []


@pytest.mark.parametrize(
    "path", [path for path in TELLING if path.suffix == ".md"], ids=lambda path: path.name
)
def test_python_that_is_told_can_be_compiled(path):
    text = path.read_text(encoding="utf-8")
    for code in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        compile(code, path.name, "exec")


MODULE = re.compile(r"python -m (benchmarks[\w.]*)(?: ([\w-]+))?")


def test_benchmarks_that_are_told_are_there():
    measures = importlib.import_module("benchmarks.measure.__main__").HOMES
    told = {
        found
        for path in TELLING
        for found in MODULE.findall(path.read_text(encoding="utf-8"))
        if path.suffix == ".md"
    }
    assert len(told) > 20
    for module, what in told:
        if module.startswith("benchmarks.peers"):  # a source distribution does not have them
            continue
        assert importlib.util.find_spec(module) is not None, module
        if module == "benchmarks.measure":
            assert what == "WHAT" or what in measures, what


TABLE_ROW = re.compile(r"^\| (`-[^|]*) \|", re.MULTILINE)


def commands_by_name():
    """All commands, those of a group behind its name."""
    for name, command in cli.commands.items():
        yield name, command
        for own, one in getattr(command, "commands", {}).items():
            yield f"{name} {own}", one


def test_the_page_of_commands_has_a_row_for_each_option():
    text = (DOCS / "reference" / "commands.md").read_text(encoding="utf-8")
    parts = re.split(r"^##+ dedupe (\w+(?: \w+)?)$", text, flags=re.MULTILINE)
    pages = dict(zip(parts[1::2], parts[2::2], strict=True))
    known_commands = dict(commands_by_name())
    assert pages.keys() == known_commands.keys()
    for name, page in pages.items():
        page = page.partition("\n## ")[0]
        rows = {one for row in TABLE_ROW.findall(page) for one in re.findall(r"`(-[\w-]+)", row)}
        said = set(re.findall(r"`(--?[a-z][\w-]*)[` ]", page))
        known = {one for option in known_commands[name].params for one in _names(option)}
        known = {one for one in known if one.startswith("-")}
        assert rows <= known, name
        assert {one for one in known if one.startswith("--")} <= said, name
