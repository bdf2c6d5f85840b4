"""What a type checker says of callers: a misspelt keyword is found before anything runs."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields

from dedupe import Execution, Settings
from dedupe.config import ExecutionKeywords, SettingsKeywords

CALLS = """import dedupe

dedupe.deduplicate("corpus", "out", threshold=0.7, keep="longest", workers=2)
dedupe.deduplicate("corpus", settings=dedupe.Settings(), execution=dedupe.Execution())
dedupe.apply("out", "clean", memory="2GB")
dedupe.deduplicate("corpus", treshold=0.7)
dedupe.deduplicate("corpus", threshold="high")
dedupe.apply("out", "clean", enigne="ray")
dedupe.audit("out", memory=[])
"""
WRONG = {6, 7, 8, 9}
"""Lines of these calls that are wrong."""


def test_keywords_are_the_fields_of_both_objects():
    for kind, keywords in ((Settings, SettingsKeywords), (Execution, ExecutionKeywords)):
        assert {one.name: one.type for one in fields(kind)} == {
            name: one.__forward_arg__ for name, one in keywords.__annotations__.items()
        }


def test_a_misspelt_or_mistyped_keyword_is_an_error_of_the_checker(tmp_path):
    caller = tmp_path / "caller.py"
    caller.write_text(CALLS)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(caller)]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    wrong = re.findall(r"caller\.py:(\d+): .*error", said)
    assert {int(line) for line in wrong} == WRONG, said
