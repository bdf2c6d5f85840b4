"""Print the lowest versions that pyproject.toml allows, as constraints for pip.

Extras of which tests at these versions make no use are left out.
"""

import re
import tomllib
from pathlib import Path

EXTRAS = ("pandas", "polars")

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
extras = project["optional-dependencies"]
for requirement in [*project["dependencies"], *(one for name in EXTRAS for one in extras[name])]:
    print(re.sub(r"\[.*\]", "", requirement).replace(">=", "=="))
