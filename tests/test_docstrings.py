"""Docstrings say what is handed in: whoever calls a function need not read it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import dedupe

ROOT = Path(dedupe.__file__).parent

NOT_FOR_CALLERS = ("self", "cls", "typing_context")
"""Parameters that Python, or numba for an intrinsic, hands in."""

FROM = 3
"""Parameters from which each has to be named."""

_SEE = re.compile(r"See `(?:[\w.]*\.)?(\w+)\.(\w+)`")


def functions(path):
    """(class or None, function) of all public functions and methods of a module."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        owner = node if isinstance(node, ast.ClassDef) else None
        if owner and owner.name.startswith("_"):
            continue
        for one in owner.body if owner else [node]:
            is_function = isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
            if is_function and not one.name.startswith("_") and not is_command(one):
                yield owner, one


def is_command(function):
    """Whether a function is a command of click, whose options say themselves what they are for."""
    made = ("cli.command", "index_group.command")
    decorators = map(ast.unparse, function.decorator_list)
    return any(one.startswith(made) for one in decorators)


def parameters(function):
    """Names of all parameters but self, cls, and those that are not for callers."""
    given = function.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    names = [one.arg for one in every if one is not None]
    return [name for name in names if name not in NOT_FOR_CALLERS and not name.startswith("_")]


MODULES = sorted(ROOT.rglob("*.py"))
PROTOCOLS = {
    (owner.name, function.name): ast.get_docstring(function) or ""
    for path in MODULES
    for owner, function in functions(path)
    if owner and any("Protocol" in ast.unparse(base) for base in owner.bases)
}


def unnamed(function):
    """Parameters that neither the docstring names nor that of the protocol to which it refers."""
    said = ast.get_docstring(function) or ""
    for owner, name in _SEE.findall(said):
        said += PROTOCOLS.get((owner, name), "")
    return [name for name in parameters(function) if not re.search(rf"\b{name}\b", said)]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_name_every_parameter(path):
    wrong = {
        f"{owner.name}.{function.name}" if owner else function.name: unnamed(function)
        for owner, function in functions(path)
        if len(parameters(function)) >= FROM
    }
    assert not {name: missing for name, missing in wrong.items() if missing}


def test_a_parameter_that_is_not_named_is_found():
    (made,) = ast.parse('def f(self, one, two, *, three=3):\n    """Of one and two."""').body
    assert parameters(made) == ["one", "two", "three"]
    assert unnamed(made) == ["three"]
    (made,) = ast.parse('def f(rows, take, beside):\n    """See `Writer.write`."""').body
    assert unnamed(made) == []
