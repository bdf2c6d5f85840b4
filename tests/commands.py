"""The command line in this process: what `dedupe …` prints, and how it ends."""

from __future__ import annotations

import contextlib
import io
import sys
from typing import NamedTuple

from dedupe.cli import main


class Done(NamedTuple):
    """How a command ended, in the words of `subprocess`."""

    returncode: int
    stdout: str
    stderr: str


def dedupe(*arguments) -> Done:
    """Run a command here, by the entry point that turns errors into messages."""
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    code = 0
    sys.argv = ["dedupe", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.argv = before
    return Done(code, out.getvalue(), err.getvalue())


def in_one_line(printed: str) -> str:
    """What was wrapped, in a frame or not, as words with a space between them."""
    return " ".join(printed.replace("│", " ").split())
