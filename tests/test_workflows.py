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
