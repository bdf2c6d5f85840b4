"""The whole job from thousands to millions of rows: time, memory, disk and exchange.

    python benchmarks/scale.py CORPUS... --json results/scale.json [options of dedupe run]

Runs `dedupe run` once to warm the kernel cache (on a few rows), then --runs times on each CORPUS,
each in a new process. Writes, for each, the run of median wall time: rows, text bytes, wall and CPU
seconds in all and per stage, peak resident memory, the most bytes in the work directory, what each
stage left there, and what the other runs took. "MB per CPU s" is text bytes / CPU seconds, "wall
MB/s" text bytes / wall seconds; CPU seconds are those of the whole process, imports included.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from measuring import measure_run, median_run, parser, warm_up, write_result


def main() -> None:
    """Parse arguments, measure, write."""
    known, options = parser(__doc__).parse_known_args()
    lines = []
    with tempfile.TemporaryDirectory(dir=Path(known.json).absolute().parent) as name:
        folder = Path(name)
        warm_up(folder)
        for corpus in known.corpus:
            runs = [measure_run([corpus], options, folder) for _ in range(known.runs)]
            line = median_run(runs)
            lines.append(line)
            print(
                f"{line['rows']:,} rows, {line['text_bytes'] / 1e6:,.0f} MB of text: "
                f"{line['wall_seconds']:.1f} s wall, {line['cpu_seconds']:.1f} s CPU, "
                f"{line['mb_per_second_and_core']:.0f} MB per CPU s, peak "
                f"{line['peak_rss_bytes'] / 1e6:,.0f} MB, "
                f"disk {line['peak_disk_bytes'] / 1e6:,.0f} MB",
                flush=True,
            )
    lines.sort(key=lambda line: line["rows"])
    write_result(known.json, {"options": options, "lines": lines})


if __name__ == "__main__":
    main()
