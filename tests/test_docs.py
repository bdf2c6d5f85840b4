"""What the how-to pages tell people to type, typed."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import corpora
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

DOCS = Path(__file__).parents[1] / "docs"
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


FILTERS = [title for title, blocks in sections("how-to/filter-a-corpus.md") if title and blocks]


def make_corpus(folder):
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
    run(folder, "python", story)


def run(folder, kind, code):
    """Run a block in a folder; what it prints."""
    command = [sys.executable, "-c", code] if kind == "python" else ["sh", "-ec", code]
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_OFFLINE": "1",
        "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    }
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with the corpus, and its finished run in out/."""
    folder = tmp_path_factory.mktemp("docs")
    make_corpus(folder)
    _, blocks = next(sections("how-to/filter-a-corpus.md"))
    for kind, code, _ in blocks:
        run(folder, kind, code)
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
def test_every_filter_leaves_the_rows_that_the_keep_list_keeps(finished, title):
    if title in NEEDS and importlib.util.find_spec(NEEDS[title]) is None:
        pytest.skip(f"{NEEDS[title]} is not installed")
    expected = expected_rows(finished)
    assert 20 < len(expected) < 110
    for _, blocks in [one for one in sections("how-to/filter-a-corpus.md") if one[0] == title]:
        if title == "Ray Data":  # which takes seconds to start
            blocks = [("python", "\n".join(code for _, code, _ in blocks), "")]
        printed = [run(finished, kind, code) for kind, code, _ in blocks]
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


@pytest.mark.parametrize(
    "page", ["apply", "audit", "keep-the-best-row", "several-datasets", "from-python"]
)
def test_pages_run_from_top_to_bottom(tmp_path, page):
    make_corpus(tmp_path)
    for _, blocks in sections(f"how-to/{page}.md"):
        for kind, code, said in blocks:
            printed = run(tmp_path, kind, code)
            if said:
                assert printed.strip() == said.strip()


def test_readme_commands_are_those_of_the_command_line(tmp_path):
    make_corpus(tmp_path)
    shutil.copy(tmp_path / "stories.jsonl", tmp_path / "chat.jsonl")
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    lines = [line for line in readme.splitlines() if line.startswith("dedupe ")]
    assert len(lines) >= 5
    from dedupe.cli import cli

    for line in lines:
        words = line.partition("#")[0].split()
        known = {name for one in cli.commands[words[1]].params for name in one.opts}
        assert {word for word in words if word.startswith("--")} <= known, line
