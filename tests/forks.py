"""Programs in processes of their own, of which none waits for imports.

One process imports what a run needs, and forks for each program: a fork can be killed, has a
directory and an environment of its own, and begins at once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from typing import NamedTuple

SERVER = """
import json, os, sys, traceback

import dedupe.commands.apply.run, dedupe.commands.show, dedupe.pipeline, dedupe.summary
from dedupe import kernels

kernels.load(lambda text: None)
sys.path.insert(0, sys.argv[1])


def child(job):
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(job[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update(job["environment"])
    os.chdir(job["folder"])
    sys.argv = ["-c", *job["arguments"]]
    code = 0
    try:
        exec(compile(job["code"], "<program>", "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        child(json.loads(line))
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Done(NamedTuple):
    """How a program ended, in the words of `subprocess`."""

    returncode: int
    stdout: str
    stderr: str


class Forks:
    """Runs programs, one after the other."""

    def __init__(self) -> None:
        here = os.path.dirname(__file__)
        self._folder = tempfile.TemporaryDirectory(prefix="dedupe-forks-")
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVER, here],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, code: str, *arguments, folder=None, environment=None) -> Done:
        """Run Python code with arguments in a folder; how it ended."""
        out, err = (os.path.join(self._folder.name, name) for name in ("stdout", "stderr"))
        job = {
            "code": code,
            "arguments": [str(one) for one in arguments],
            "folder": str(folder or os.getcwd()),
            "environment": dict(os.environ if environment is None else environment),
            "stdout": out,
            "stderr": err,
        }
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()
        code_of_end = int(self._server.stdout.readline())
        texts = []
        for name in (out, err):
            with open(name, encoding="utf-8", errors="replace") as file:
                texts.append(file.read())
        return Done(code_of_end, *texts)

    def close(self) -> None:
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait()
        self._folder.cleanup()
