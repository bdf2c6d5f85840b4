"""One virtual environment for each peer, and one for this project, from `peers.py` and `locks/`.

    python benchmarks/peers/install.py --into venvs               # all of them
    python benchmarks/peers/install.py rensa daft --into venvs    # these environments
    python benchmarks/peers/install.py --into venvs --lock        # write locks/ from what is there

An environment that has what is asked for is left as it is. The Pythons of `peers.py` must be
installed: as `python3.11` on the path, or where pyenv keeps them.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from peers import ENVIRONMENTS, Environment

LOCKS = Path(__file__).with_name("locks")


def find_python(version: str) -> str:
    """An interpreter of that version."""
    named = [shutil.which(f"python{version}"), sys.executable]
    kept = Path.home().glob(f".pyenv/versions/{version}.*/bin/python")
    for path in filter(None, [*named, *sorted(map(str, kept))]):
        ask = "import sys; print('%d.%d' % sys.version_info[:2])"
        said = subprocess.run([path, "-c", ask], capture_output=True, text=True)
        if said.stdout.strip() == version:
            return path
    raise SystemExit(f"no Python {version}: install it so that python{version} is on the path")


def install(environment: Environment, into: Path) -> bool:
    """Make the environment, or make it again if it is of other packages; False if nothing to do."""
    lock = LOCKS / f"{environment.name}.txt"
    constraints = lock.read_text(encoding="utf-8") if lock.exists() else ""
    folder = into / environment.name
    done = folder / "installed.json"
    wanted = json.dumps([environment.python, environment.packages, constraints])
    if done.exists() and done.read_text(encoding="utf-8") == wanted:
        return False
    subprocess.run([find_python(environment.python), "-m", "venv", "--clear", folder], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--upgrade", "pip"], check=True)
    held = ["--constraint", str(lock)] if constraints else []
    subprocess.run([*pip, *held, *environment.packages], check=True)
    done.write_text(wanted, encoding="utf-8")
    return True


def lock(environment: Environment, into: Path) -> None:
    """Write down every version that the environment has."""
    python = into / environment.name / "bin" / "python"
    said = subprocess.run(
        [python, "-m", "pip", "freeze"], check=True, capture_output=True, text=True
    )
    lines = [line for line in said.stdout.splitlines() if re.match(r"[\w.-]+==", line)]
    LOCKS.mkdir(exist_ok=True)
    target = LOCKS / f"{environment.name}.txt"
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [environment.name for environment in ENVIRONMENTS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    parser.add_argument("--into", type=Path, required=True, metavar="DIR")
    parser.add_argument("--lock", action="store_true", help="write locks/ instead of installing")
    known = parser.parse_args()
    if unknown := set(known.names) - set(names):
        parser.error(f"no environment is called {', '.join(sorted(unknown))}: {', '.join(names)}")
    failed = []
    for environment in ENVIRONMENTS:
        if known.names and environment.name not in known.names:
            continue
        if known.lock:
            lock(environment, known.into)
            continue
        print(f"{environment.name} …", flush=True)
        try:
            print("  installed" if install(environment, known.into) else "  there already")
        except subprocess.CalledProcessError:
            failed.append(environment.name)
    if failed:
        raise SystemExit(f"not installed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
