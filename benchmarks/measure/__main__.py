"""Measure something and write its result file.

    python -m benchmarks.measure WHAT [CORPUS...] [--json benchmarks/results/WHAT.json]

WHAT is a function of the modules below, whose docstring says what it measures. A corpus is a file
or folder of Parquet with a column `text`.
"""

import argparse
import tempfile
from importlib import import_module
from pathlib import Path

from benchmarks.common import RESULTS, write_result

COMMANDS = (
    "scale start adversaries formats others apply audit report problems sweep edges against "
    "recall-exact ray-speed ray-shards"
)
HOMES = {
    **dict.fromkeys(COMMANDS.split(), "benchmarks.measure.commands"),
    **dict.fromkeys(("kernels", "steps", "link-scale"), "benchmarks.studies.kernels"),
    "decontaminate": "benchmarks.measure.evals",
    "index": "benchmarks.measure.indexes",
    "plan": "benchmarks.measure.plans",
    "quality": "benchmarks.studies.quality",
    "lookalikes": "benchmarks.studies.lookalikes",
    "splits": "benchmarks.studies.splits",
    "contamination": "benchmarks.studies.contamination",
    "one-component": "benchmarks.studies.one_component",
    "store-requests": "benchmarks.studies.store_requests",
}


def main() -> None:
    """Parse arguments, measure, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=HOMES)
    parser.add_argument("corpus", nargs="*")
    parser.add_argument("--json", type=Path, help="result file")
    parser.add_argument("--runs", type=int, default=3, help="of each (3)")
    parser.add_argument("--sizes", type=int, nargs="+", help="rows, shards or bytes to measure")
    known = parser.parse_args()
    known.json = target = known.json or RESULTS / f"{known.what}.json"
    measure = getattr(import_module(HOMES[known.what]), known.what.replace("-", "_"))
    with tempfile.TemporaryDirectory(dir=target.absolute().parent) as name:
        write_result(target, measure(known, Path(name)))


if __name__ == "__main__":
    main()
