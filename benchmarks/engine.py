"""Everything that benchmarks use of the package besides its command line, in one place.

Each name is imported when it is first asked for, so that a benchmark loads what it measures alone.
"""

from importlib import import_module
from typing import Any

HOMES = {
    "dedupe.api": "deduplicate",
    "dedupe.arrays": "text_buffers",
    "dedupe.commands.apply.run": "apply",
    "dedupe.config": "Resources Settings",
    "dedupe.corpus": "Projection find_shards plan_slices read_slice",
    "dedupe.demo": "corpus_path",
    "dedupe.documents.template": "SHAPES Template",
    "dedupe.kernels.grouping": "bucket_edges partition_records",
    "dedupe.kernels.intrinsics": "store64",
    "dedupe.kernels.minhash": "band_keys permutations signature",
    "dedupe.kernels.text": "_find_tokens _fold_ascii _roll _scan_tokens",
    "dedupe.kernels.unicode": "SLACK SPACES fold",
    "dedupe.kernels.verify": "verify_components",
    "dedupe.kernels.xxh3": "SECRET xxh3_128",
    "dedupe.planning.banding": "plan_banding",
    "dedupe.planning.estimate": "estimate workload",
    "dedupe.planning.sizes": "Planner",
    "dedupe.progress": "Silent",
    "dedupe.remote.objects": "upload",
    "dedupe.schema": "EDGES",
    "dedupe.stages.components": "ComponentFinder",
    "dedupe.stages.fetch": "shingle_sets",
    "dedupe.stages.sign": "Signer",
    "dedupe.tasks.costs": "COSTS STAGE_COSTS",
}
"""The names that each module has."""


def __getattr__(name: str) -> Any:
    """Import a name from its home."""
    for home, names in HOMES.items():
        if name in names.split():
            return getattr(import_module(home), name)
    raise AttributeError(f"benchmarks use no {name!r} of the package: add it to HOMES")
