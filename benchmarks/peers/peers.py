"""The peers: what each is made of, how it is run, and its settings.

`documented` is what the peer's own documentation recommends for near-duplicates of text, at a
threshold of 0.8; the page is named beside it. A peer with `bands` can also be set to any number of
bands and rows; without them in `documented` it chooses its own for the threshold.

Versions are those that the registry gave on 2026-11-23; `locks/` has what came with them. This
project has an environment as well, so that no tool finds packages that it did not ask for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

THRESHOLD = 0.8
MATCHED = (16, 6)
"""Bands and rows of `dedupe run` for its default recall: 0.992 at the threshold."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment: the version of Python and the packages, pinned."""

    name: str
    packages: tuple[str, ...]
    python: str = "3.11"

    def pinned(self) -> dict[str, str]:
        """Versions by name of package."""
        pairs = (package.split("==") for package in self.packages if "==" in package)
        return {name.partition("[")[0]: version for name, version in pairs}


@dataclass(frozen=True)
class Peer:
    """A way to run a package, and the page that documents it."""

    name: str
    environment: str
    runner: str
    page: str
    documented: dict[str, Any] = field(default_factory=dict)
    bands: bool = True

    def settings(self, kind: str) -> dict[str, Any] | None:
        """What the runner is given for `documented`, `matched` or BANDSxROWS; None if it cannot."""
        if kind == "documented":
            return self.documented
        if not self.bands:
            return None
        bands, rows = MATCHED if kind == "matched" else map(int, kind.split("x"))
        return {**self.documented, "bands": bands, "rows": rows, "num_perm": bands * rows}


FAST = (
    *("datasketch-xxhash", "rensa-lsh", "rensa-streaming", "rensa-sampled", "gaoya", "daft"),
    *("fastsketchlsh", "fastminhash", "dedup-rs", "dolma"),
)
"""Peers that take minutes for a million rows, not hours."""

OWN = {
    "dedupe": [],
    "dedupe-ray": ["--engine", "ray"],
}
"""This project, with these options of `dedupe run`."""

OWN_ENVIRONMENT = Environment(
    "dedupe",
    ("--editable", f"{ROOT}[ray]", "numba==0.68.1", "numpy==2.4.6", "pyarrow==26.0.1"),
)

ENVIRONMENTS = (
    OWN_ENVIRONMENT,
    Environment("datasketch", ("datasketch==2.0.0", "xxhash==4.1.0", "pyarrow==26.0.1")),
    Environment("rensa", ("rensa==0.5.0", "pyarrow==26.0.1")),
    Environment("gaoya", ("gaoya==0.2.2", "pyarrow==26.0.1")),
    Environment("daft", ("daft==0.7.26", "scipy==1.17.1", "pyarrow==25.0.1")),
    Environment("fastsketchlsh", ("fastsketchlsh==1.0.1", "pyarrow==26.0.1")),
    Environment("fastminhash", ("fastminhash==0.1.1", "pyarrow==26.0.1")),
    Environment("dedup-rs", ("dedup-rs==0.4.0", "pyarrow==26.0.1")),
    Environment("dolma", ("dolma==1.2.1", "pyarrow==19.0.1")),  # it holds numpy below 2
    Environment("spark", ("pyspark==4.3.0", "numpy==2.4.6", "pyarrow==26.0.1")),  # needs Java 17
    Environment("text-dedup", ("text-dedup==0.4.1",), python="3.12"),
    Environment("data-juicer", ("py-data-juicer[distributed]==1.6.1",)),
    Environment(
        "data-prep-kit", ("data-prep-toolkit-transforms[fdedup]==1.1.8", "pyarrow==19.0.1")
    ),
    Environment("datatrove", ("datatrove[io,processing]==0.10.1", "spacy==3.8.18")),
)

PEERS = (
    Peer(
        "datasketch",
        "datasketch",
        "run_datasketch.py",
        # "MinHash LSH": threshold and num_perm=128, bands by the library
        "https://ekzhu.com/datasketch/lsh.html",
        {"num_perm": 128, "hash": "sha1"},
    ),
    Peer(
        "datasketch-xxhash",
        "datasketch",
        "run_datasketch.py",
        # "Use Different Hash Functions": another hash function for speed
        "https://ekzhu.com/datasketch/minhash.html",
        {"num_perm": 128, "hash": "xxhash"},
    ),
    Peer(
        "rensa-lsh",
        "rensa",
        "run_rensa.py",
        # "Deduplication with RMinHashLSH": num_perm=128, 16 bands, candidates checked by estimate
        "https://pypi.org/project/rensa/0.3.0/",
        {"num_perm": 128, "bands": 16, "path": "lsh"},
    ),
    Peer(
        "rensa-streaming",
        "rensa",
        "run_rensa.py",
        # "Keep unique documents": threshold=0.8, num_perm=128, use_lsh=True
        "https://pypi.org/project/rensa/0.5.0/",
        {"num_perm": 128, "path": "streaming"},
    ),
    Peer(
        "rensa-sampled",
        "rensa",
        "run_rensa.py",
        # its benchmark: the rho sketch with 4 probes, 128 slots, 8 bands, threshold 0.8
        "https://github.com/beowolx/rensa/blob/main/benchmarks/full_benchmark.py",
        {"num_perm": 128, "bands": 8, "probes": 4, "path": "rho"},
    ),
    Peer(
        "gaoya",
        "gaoya",
        "run_gaoya.py",
        # docstring of MinHashStringIndex: bands "calculated according to S-curve" from num_hashes
        "https://github.com/serega/gaoya",
        {"num_perm": 128},
    ),
    Peer(
        "daft",
        "daft",
        "run_daft.py",
        # "MinHash Deduplication": K=64, 5-grams, xxhash, bands by optimal_param
        "https://docs.daft.ai/en/stable/examples/minhash-dedupe/",
        {"num_perm": 64},
    ),
    Peer(
        "fastsketchlsh",
        "fastsketchlsh",
        "run_fastsketch.py",
        # "Deduplication with LSH": size 128, 16 bands. Sizes are powers of two, so 16x6 cannot be
        "https://github.com/pzcddm/FastSketchLSH",
        {"num_perm": 128, "bands": 16},
        bands=False,
    ),
    Peer(
        "fastminhash",
        "fastminhash",
        "run_fastminhash.py",
        # signatures only; bands as datasketch would choose them for 128
        "https://github.com/starcatmeow/fastminhash",
        {"num_perm": 128},
    ),
    Peer(
        "dedup-rs",
        "dedup-rs",
        "run_dedup_rs.py",
        # no page but its signatures; bands as datasketch would choose them for 128
        "https://pypi.org/project/dedup-rs/",
        {"num_perm": 128},
    ),
    Peer(
        "dolma",
        "dolma",
        "run_dolma.py",
        # and `dolma dedupe --help`: paragraphs by_ngram; a document counts as one paragraph
        "https://github.com/allenai/dolma/blob/main/docs/deduplication.md",
        {"ngrams_per_row": 200, "false_positive_rate": 0.0001},
        bands=False,
    ),
    Peer(
        "spark",
        "spark",
        "run_spark.py",
        # "MinHash for Jaccard Distance": numHashTables=5
        "https://spark.apache.org/docs/latest/ml-features.html#minhash-for-jaccard-distance",
        {"tables": 5, "features": 1 << 20, "memory": "6g"},
        bands=False,
    ),
    Peer(
        "text-dedup",
        "text-dedup",
        "run_text_dedup.py",
        # "MinHash Near Deduplication": num_perm=240, check_false_positive=true
        "https://pypi.org/project/text-dedup/",
        {"num_perm": 240, "check_false_positive": True},
    ),
    Peer(
        "text-dedup-unchecked",
        "text-dedup",
        "run_text_dedup.py",
        # its default of the same option
        "https://github.com/ChenghaoMou/text-dedup",
        {"num_perm": 240, "check_false_positive": False},
    ),
    Peer(
        "data-juicer",
        "data-juicer",
        "run_data_juicer.py",
        # document_minhash_deduplicator: 256 permutations, bands by optimal_param
        "https://modelscope.github.io/data-juicer/en/main/docs/Operators.html",
        {"num_perm": 256, "executor": "default"},
    ),
    Peer(
        "data-juicer-ray",
        "data-juicer",
        "run_data_juicer.py",
        # ray_bts_minhash_deduplicator, the same
        "https://modelscope.github.io/data-juicer/en/main/docs/Operators.html",
        {"num_perm": 256, "executor": "ray"},
    ),
    Peer(
        "data-prep-kit",
        "data-prep-kit",
        "run_data_prep_kit.py",
        # "Fuzzy Dedup": 112 permutations, 14 bands of 8, the threshold checked by estimate
        "https://github.com/data-prep-kit/data-prep-kit/tree/dev/transforms/universal/fdedup",
        {"num_perm": 112, "bands": 14, "rows": 8},
    ),
    Peer(
        "datatrove",
        "datatrove",
        "run_datatrove.py",
        # its example: 14 buckets of 8 hashes, 64 bit
        "https://github.com/huggingface/datatrove/blob/main/examples/minhash_deduplication.py",
        {"bands": 14, "rows": 8},
    ),
)
