"""One virtual environment for each peer, and one for this project, from `peers.toml` and `locks/`.

    python -m benchmarks.peers.install --into venvs               # all of them
    python -m benchmarks.peers.install rensa daft --into venvs    # these environments

An environment that has what is asked for is left as it is. The Pythons of `peers.toml` must be
installed: as `python3.11` on the path, or where pyenv keeps them.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.peers.peers import ENVIRONMENTS, HERE, Environment


def find_python(version: str) -> str:
    """An interpreter of that version."""
    kept = sorted(map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python")))
    for path in filter(None, [shutil.which(f"python{version}"), sys.executable, *kept]):
        ask = "import sys; print('%d.%d' % sys.version_info[:2])"
        said = subprocess.run([path, "-c", ask], capture_output=True, text=True)
        if said.stdout.strip() == version:
            return path
    raise SystemExit(f"no Python {version}: install it so that python{version} is on the path")


def install(environment: Environment, into: Path) -> bool:
    """Make the environment, or make it again if it is of other packages; False if nothing to do."""
    lock = HERE / "locks" / f"{environment.name}.txt"
    folder = into / environment.name
    done = folder / "installed.json"
    wanted = json.dumps([environment.python, environment.packages, lock.read_text("utf-8")])
    if done.exists() and done.read_text(encoding="utf-8") == wanted:
        return False
    subprocess.run([find_python(environment.python), "-m", "venv", "--clear", folder], check=True)
    pip = [environment.interpreter(into), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--upgrade", "pip"], check=True)
    subprocess.run([*pip, "--constraint", str(lock), *environment.packages], check=True)
    done.write_text(wanted, encoding="utf-8")
    return True


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(ENVIRONMENTS))
    parser.add_argument("--into", type=Path, required=True, metavar="DIR")
    known = parser.parse_args()
    if unknown := set(known.names) - set(ENVIRONMENTS):
        parser.error(f"no environment is called {', '.join(sorted(unknown))}")
    failed = []
    for name in known.names or ENVIRONMENTS:
        print(f"{name} …", flush=True)
        try:
            made = install(ENVIRONMENTS[name], known.into)
            print("  installed" if made else "  there already")
        except subprocess.CalledProcessError:
            failed.append(name)
    if failed:
        raise SystemExit(f"not installed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
