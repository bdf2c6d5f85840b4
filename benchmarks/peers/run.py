"""Run one peer: its library or program, as its documentation says, from Parquet to rows kept.

    python run.py RUNNER SETTINGS OUTPUT FILE...

Runs in the environment of the peer, so it needs pyarrow alone, and nothing of this project. RUNNER
is a function below; `peers.toml` says how it departs from the documentation. SETTINGS is JSON:
`workers`, `threshold`, and the settings of `peers.toml`. OUTPUT is a Parquet file to write: one
column `row` of int64, the rows kept, numbered through FILEs in their order.
"""

import gzip
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import tomllib
import zlib
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import accumulate, chain, groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

NGRAM, SEED = 5, 42
MERSENNE = 2**31 - 1
BATCH = 5000  # rows of which a process holds texts and shingles at a time, at most
RECIPES = tomllib.loads(Path(__file__).with_name("peers.toml").read_text("utf-8"))["recipes"]
Given = dict[str, Any]
Files = list[str]
Group = tuple[str, int, int]  # a row group of a file, and its first row's number in the corpus


def row_groups(files: Files) -> list[Group]:
    """The row groups of the corpus, in order."""
    found, first = [], 0
    for path in files:
        metadata = pq.read_metadata(path)
        for group in range(metadata.num_row_groups):
            found.append((path, group, first))
            first += metadata.row_group(group).num_rows
    return found


def texts_of(group: Group) -> Iterator[tuple[int, list[str]]]:
    """Yield the texts of a row group, some thousand at a time; a null is an empty text."""
    path, number, first = group
    for batch in pq.ParquetFile(path).iter_batches(BATCH, row_groups=[number], columns=["text"]):
        yield first, [text or "" for text in batch["text"].to_pylist()]
        first += batch.num_rows


def corpus(files: Files) -> Iterator[tuple[int, list[str]]]:
    """Yield all texts, some thousand at a time, with the number of the first."""
    return chain.from_iterable(map(texts_of, row_groups(files)))


def number_rows(
    files: Files, folder: Path, by_file: bool = False, text: str = "text", row: str = "row"
) -> list[str]:
    """Write the corpus into `folder`/corpus: with row numbers, nulls as empty texts, in order.

    A file for each row group, or `by_file` for each file, so that peers can share the work.
    """
    (folder / "corpus").mkdir()
    for _, groups in groupby(row_groups(files), lambda one: one[0] if by_file else one):
        tables = []
        for first, texts in chain.from_iterable(map(texts_of, groups)):
            rows = pa.array(range(first, first + len(texts)), pa.int64())
            columns = {text: pa.array(texts, pa.string()), row: rows, "id": rows.cast(pa.string())}
            tables.append(pa.table(columns))
        if tables:
            first = tables[0][row][0].as_py()
            pq.write_table(pa.concat_tables(tables), folder / "corpus" / f"{first:010d}.parquet")
    return sorted(map(str, (folder / "corpus").iterdir()))


def column(place: Any, name: str, form: str = "parquet") -> list[Any]:
    """A column of the files that a peer has left."""
    return ds.dataset(place, format=form).to_table([name])[name].to_pylist()


def words(text: str) -> list[str]:
    """Lower-cased words."""
    return re.findall(r"\w+", text.lower())


def shingles(text: str) -> list[str]:
    """Distinct word 5-grams in order; of fewer words one shingle of them all, and of none none."""
    tokens = words(text)
    starts = range(max(1, len(tokens) - NGRAM + 1)) if tokens else ()
    return list(dict.fromkeys(" ".join(tokens[i : i + NGRAM]) for i in starts))


def in_processes(work: Callable[[list[str]], Any], files: Files, given: Given) -> Iterator[Any]:
    """Yield what `work` makes of some thousand texts, in order, with the number of the first.

    Two row groups for each worker are under way, so that a slow reader has no backlog in memory.
    """
    under_way: deque[Any] = deque()
    with ProcessPoolExecutor(given["workers"]) as pool:
        for group in row_groups(files):
            if len(under_way) == 2 * given["workers"]:
                yield from under_way.popleft().result()
            under_way.append(pool.submit(_work, work, group))
        while under_way:
            yield from under_way.popleft().result()


def _work(work: Callable[[list[str]], Any], group: Group) -> list[tuple[int, Any]]:
    return [(first, work(some)) for first, some in texts_of(group)]


def sketched(sketch: Callable[..., Iterable[Any]], texts: list[str]) -> list[Any]:
    """What a library makes of the shingles of texts; None for those without words."""
    sets = [shingles(text) for text in texts]
    made = iter(sketch([one for one in sets if one]))
    return [next(made) if one else None for one in sets]


def recipe_of(name: str, **values: Any) -> Given:
    """A recipe of peers.toml with values in place of names in braces, less what has no value."""
    written = json.dumps(RECIPES[name])
    for key, value in {"bands": None, "rows": None, **values}.items():
        written = written.replace(f'"{{{key}}}"', json.dumps(value, default=str))
        written = written.replace(f"{{{key}}}", str(value))
    return json.loads(
        written, object_pairs_hook=lambda pairs: {k: v for k, v in pairs if v is not None}
    )


def run_program(name: str, *arguments: Any, **environment: str) -> None:
    """Run a program of this environment."""
    program = Path(sys.executable).with_name(name)
    subprocess.run([program, *arguments], check=True, env=os.environ | environment)


def _datasketch_sign(num_perm: int, how: str, sets: list[list[str]]) -> Iterator[Any]:
    from datasketch import MinHash

    hashes = {}
    if how == "xxhash":
        from xxhash import xxh32_intdigest

        hashes = {"hashfunc": xxh32_intdigest}
    encoded = ([one.encode() for one in found] for found in sets)
    return (one.hashvalues for one in MinHash.generator(encoded, num_perm=num_perm, **hashes))


def datasketch(given: Given, files: Files, folder: Path) -> Iterator[int]:
    """MinHashLSH: a row is kept when the index holds no candidate for it."""
    from datasketch import MinHash, MinHashLSH

    num_perm = given["num_perm"]
    params = (given["bands"], given["rows"]) if "bands" in given else None
    index = MinHashLSH(given["threshold"], num_perm, params=params)
    like = MinHash(num_perm=num_perm)
    same = {"num_perm": num_perm, "permutations": like.permutations, "scheme": like.scheme}
    work = partial(sketched, partial(_datasketch_sign, num_perm, given["hash"]))
    for first, made in in_processes(work, files, given):
        for row, values in enumerate(made, first):
            if values is not None:
                minhash = MinHash(hashvalues=values, **same)
                if index.query(minhash):
                    continue
                index.insert(row, minhash)
            yield row


def _rensa_sign(num_perm: int, sets: list[list[str]]) -> list[Any]:
    from rensa import RMinHash

    return RMinHash.from_token_sets(sets, num_perm, SEED)


def rensa_lsh(given: Given, files: Files, folder: Path) -> Iterable[int]:
    """RMinHashLSH: a row is kept when no candidate among the kept looks similar."""
    from rensa import RMinHashLSH

    num_perm, threshold = given["num_perm"], given["threshold"]
    index = RMinHashLSH(threshold=threshold, num_perm=num_perm, num_bands=given["bands"])
    kept: dict[int, Any] = {}
    work = partial(sketched, partial(_rensa_sign, num_perm))
    for first, sketches in in_processes(work, files, given):
        for row, sketch in enumerate(sketches, first):
            if sketch is not None:
                if any(sketch.jaccard(kept[other]) >= threshold for other in index.query(sketch)):
                    continue
                index.insert(row, sketch)
            kept[row] = sketch
    return kept


def rensa_streaming(given: Given, files: Files, folder: Path) -> Iterator[int]:
    """RMinHashDeduplicator, which does both."""
    from rensa import RMinHashDeduplicator

    deduplicator = RMinHashDeduplicator(**recipe_of("rensa_streaming", **given), seed=SEED)
    work = partial(sketched, partial(_rensa_sign, given["num_perm"]))
    for first, sketches in in_processes(work, files, given):
        worded = [(str(row), one) for row, one in enumerate(sketches, first) if one is not None]
        flags = iter(deduplicator.add_pairs(worded))
        yield from (row for row, one in enumerate(sketches, first) if one is None or next(flags))


def _rensa_hashes(texts: list[str]) -> tuple[Any, list[int]]:
    from rensa import RMinHash

    found = RMinHash.hash_token_sets([shingles(text) for text in texts])
    return array("Q", chain.from_iterable(found)), [len(one) for one in found]


def rensa_rho(given: Given, files: Files, folder: Path) -> Iterable[int]:
    """Sketches of sampled shingles: a row is kept when the one-shot index does not flag it.

    Tokens are hashed in several processes: all of a corpus at a time take too much memory as text.
    """
    from rensa import RMinHash, RMinHashLSH

    flat, sizes = array("Q"), []
    for _, (some, counts) in in_processes(_rensa_hashes, files, given):
        flat += some
        sizes += counts
    starts, how = array("Q", accumulate(sizes, initial=0)), {"num_perm": given["num_perm"]}
    sketch = RMinHash.digest_matrix_from_flat_token_hashes_rho
    matrix = sketch(flat, starts, seed=SEED, probes=given["probes"], **how)
    index = RMinHashLSH(threshold=given["threshold"], num_bands=given["bands"], **how)
    flags = index.query_duplicate_flags_matrix_one_shot(matrix)
    return [row for row, flag in enumerate(flags) if not (flag and sizes[row])]


def gaoya(given: Given, files: Files, folder: Path) -> Iterable[int]:
    """MinHashStringIndex with its own analyzer: a row with an earlier similar row is dropped."""
    from gaoya.minhash import MinHashStringIndex

    bands = {"num_bands": given.get("bands"), "band_size": given.get("rows")}  # None: by threshold
    how = recipe_of("gaoya", **given) | bands
    index = MinHashStringIndex(**how, ngram_range=(NGRAM, NGRAM))
    for first, texts in corpus(files):
        index.par_bulk_insert_docs(list(range(first, first + len(texts))), texts)
    kept: set[int] = set()
    for first, texts in corpus(files):
        for row, similar in enumerate(index.par_bulk_query(texts), first):
            if not any(other < row and other in kept for other in similar):
                kept.add(row)
    return kept


def daft(given: Given, files: Files, folder: Path) -> Iterable[int]:
    """Normalize, minhash, bands and connected components, of which the first row is kept."""
    import daft
    import numpy as np
    from daft import col
    from daft.functions import minhash, normalize
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    bands, rows = given["bands"], given["rows"]
    how = recipe_of("daft", hashes=bands * rows)
    text = minhash(normalize(col("text").fill_null(""), **how["normalize"]), **how["minhash"])
    signed = daft.read_parquet(files).select(text.alias("hashes")).to_arrow()
    signatures = signed["hashes"].combine_chunks()
    matrix = signatures.flatten().to_numpy().reshape(len(signatures), bands, rows)
    first, same = col("row").min().alias("first"), col("row").list_agg().alias("row")
    edges = []
    for band in range(bands):
        hashes = {f"h{i}": matrix[:, band, i] for i in range(rows)}
        frame = daft.from_pydict({"row": np.arange(len(matrix)), **hashes})
        groups = frame.groupby(*hashes).agg(first, same).where(col("row").list_count() > 1)
        pairs = groups.explode("row").select("first", "row").to_arrow()
        edges.append([pairs["first"].to_numpy(), pairs["row"].to_numpy()])
    left, right = np.concatenate(edges, axis=1)
    graph = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(len(matrix),) * 2)
    _, component = connected_components(graph, directed=False)
    return np.unique(component, return_index=True)[1]


def _fastsketch_sign(size: int, sets: list[list[str]]) -> Any:
    from FastSketchLSH import FastSimilaritySketch

    return FastSimilaritySketch(size=size, seed=SEED).batch(sets, num_threads=1)


def fastsketch(given: Given, files: Files, folder: Path) -> Iterable[int]:
    """Sketches of all shingles, banded: a row with an earlier candidate is dropped."""
    import numpy as np
    from FastSketchLSH import LSH

    work = partial(sketched, partial(_fastsketch_sign, given["num_perm"]))
    made = [one for _, some in in_processes(work, files, given) for one in some]
    matrix = np.stack([one for one in made if one is not None])
    kept = np.array([one is None for one in made])
    how = {"num_bands": given["bands"], "num_threads": given["workers"]}
    index = LSH(num_perm=given["num_perm"], **how)
    index.insert(matrix)
    candidates, starts = index.query(matrix, format="csr")
    earliest = np.minimum.reduceat(candidates, starts[:-1].astype(np.int64))
    kept[~kept] = earliest == np.arange(len(matrix))
    return np.flatnonzero(kept)


def _fastminhash_sign(coefficients: list[tuple[int, int]], texts: list[str]) -> list[Any]:
    from minhash import minhash_all

    made: list[Any] = []
    for tokens in map(words, texts):
        made.append(" ".join(tokens))
        if len(tokens) >= NGRAM:
            numbers = [zlib.crc32(token.encode()) & MERSENNE for token in tokens]
            made[-1] = tuple(minhash_all(NGRAM, MERSENNE, MERSENNE, coefficients, numbers))
    return made


def fastminhash(given: Given, files: Files, folder: Path) -> Iterator[int]:
    """Signatures of word 5-grams in C; a row is kept that shares no band with a kept one."""
    bands, rows = given["bands"], given["rows"]
    draw = random.Random(SEED).randrange
    coefficients = [(draw(1, MERSENNE), draw(MERSENNE)) for _ in range(bands * rows)]
    seen: set[Any] = set()
    for first, made in in_processes(partial(_fastminhash_sign, coefficients), files, given):
        for row, one in enumerate(made, first):
            keys = [one] if one else []
            if not isinstance(one, str):
                keys = [(band, one[band * rows : (band + 1) * rows]) for band in range(bands)]
            if seen.isdisjoint(keys):
                seen.update(keys)
                yield row


def dedup_rs(given: Given, files: Files, folder: Path) -> Iterable[int]:
    """EmbedFunc, its clusters and its filter of duplicates, with its own tokens."""
    import numpy as np
    from dedup_rs import EmbedFunc

    embed = EmbedFunc.from_b_r(**recipe_of("dedup_rs", **given))
    numbers = np.array(range(ds.dataset(files).count_rows()), np.uint32)
    for first, texts in corpus(files):
        embed.batch_embed_shard(texts, numbers[first : first + len(texts)])
    return embed.filter_duplicates(embed.cluster(), numbers)


def dolma(given: Given, files: Files, folder: Path) -> Iterable[int]:
    """`dolma dedupe` by 5-grams in a Bloom filter, a whole document as one paragraph."""
    (folder / "documents").mkdir()
    for first, texts in corpus(files):
        target = folder / "documents" / f"{first:010d}.jsonl.gz"
        with gzip.open(target, "wt", encoding="utf-8", compresslevel=1) as lines:
            for row, text in enumerate(texts, first):
                lines.write(json.dumps({"id": str(row), "text": text, "source": "p"}) + "\n")
    rows = range(ds.dataset(files).count_rows())
    documents = len(rows) * given["ngrams_per_row"]
    recipe = recipe_of("dolma", folder=folder, documents=documents, **given)
    (folder / "recipe.json").write_text(json.dumps(recipe), encoding="utf-8")
    run_program("dolma", "-c", folder / "recipe.json", "dedupe")
    written = ds.dataset(folder / "attributes" / "seen", format="json").to_table()
    seen = pc.list_value_length(pc.struct_field(written["attributes"], "seen"))
    return set(rows) - set(map(int, written.filter(pc.greater(seen, 0))["id"].to_pylist()))


def spark(given: Given, files: Files, folder: Path) -> Iterable[int]:
    """MinHashLSH and its approxSimilarityJoin, which computes the distance of candidates."""
    from pyspark.ml.feature import HashingTF, MinHashLSH, NGram, RegexTokenizer
    from pyspark.sql import SparkSession
    from pyspark.sql import functions as f

    number_rows(files, folder)
    config = recipe_of("spark", folder=folder, **given)
    session = SparkSession.builder.config(map=config).getOrCreate()
    splits = {"pattern": r"(?U)\w+", "gaps": False, "toLowercase": True}
    hashed = {"binary": True, "numFeatures": given["features"]}
    frame = session.read.parquet(f"{folder}/corpus")
    for step in (
        RegexTokenizer(inputCol="text", outputCol="words", **splits),
        NGram(n=NGRAM, inputCol="words", outputCol="grams"),
        HashingTF(inputCol="grams", outputCol="set", **hashed),
    ):
        frame = step.transform(frame)
    frame = frame.where(f.size("grams") > 0).select("row", "set").cache()
    lsh = MinHashLSH(inputCol="set", outputCol="hashes", numHashTables=given["tables"], seed=SEED)
    joined = lsh.fit(frame).approxSimilarityJoin(frame, frame, 1 - given["threshold"] + 1e-9)
    later = joined.where("datasetA.row < datasetB.row").select("datasetB.row").distinct()
    dropped = {found[0] for found in later.collect()}
    session.stop()
    return set(range(ds.dataset(files).count_rows())) - dropped


def text_dedup(given: Given, files: Files, folder: Path) -> Iterable[int]:
    """`text_dedup.minhash` with a configuration file, as its README shows. It stops at nulls."""
    os.environ["HF_DATASETS_CACHE"] = f"{folder}/cache"
    from datasets import load_from_disk
    from text_dedup.config.base import load_config_from_toml
    from text_dedup.minhash import main as deduplicate

    recipe = recipe_of("text_dedup", folder=folder, files=number_rows(files, folder), **given)
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in recipe.items())
    (folder / "config.toml").write_text(lines, encoding="utf-8")
    deduplicate(load_config_from_toml(folder / "config.toml"))
    return load_from_disk(f"{folder}/out")["__INDEX__"]


def data_juicer(given: Given, files: Files, folder: Path) -> Iterable[int]:
    """`dj-process` with a recipe, by its default executor or by Ray."""
    number_rows(files, folder)
    recipe = recipe_of("data_juicer", folder=folder, **given)
    operator = recipe.pop("operator")
    ray = given["executor"] == "ray"
    name = "ray_bts_minhash_deduplicator" if ray else "document_minhash_deduplicator"
    kept = f"{folder}/out/kept" if ray else f"{folder}/out/kept.jsonl"
    recipe |= {"export_path": kept, "process": [{name: operator}]}
    recipe |= {"ray_address": "local"} if ray else {}
    (folder / "recipe.yaml").write_text(json.dumps(recipe), encoding="utf-8")  # JSON is YAML
    home = {"DATA_JUICER_CACHE_HOME": f"{folder}/home"}
    run_program("dj-process", "--config", folder / "recipe.yaml", **home)
    return column(kept, "row", "json")


def data_prep_kit(given: Given, files: Files, folder: Path) -> Iterable[int]:
    """The fuzzy dedup transform, by the Python runtime."""
    from dpk_fdedup.transform_python import Fdedup

    recipe = recipe_of("data_prep_kit", folder=folder, **given)
    text, row = recipe["contents_column"], recipe["document_id_column"]
    number_rows(files, folder, text=text, row=row)
    if status := Fdedup(**recipe).transform():
        raise SystemExit(f"fuzzy dedup ended with {status}")
    return column(sorted(map(str, (folder / "out" / "cleaned").glob("*.parquet"))), row)


def datatrove(given: Given, files: Files, folder: Path) -> Iterable[int]:
    """Its four MinHash stages by the local executor; rows without a text its reader leaves out."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline import readers, writers
    from datatrove.pipeline.dedup import MinhashDedupSignature as Signature
    from datatrove.pipeline.dedup import minhash
    from datatrove.utils.hashing import HashConfig
    from datatrove.utils.typeshelper import Languages

    bands, workers, name = given["bands"], given["workers"], str(folder)
    number_rows(files, folder, by_file=len(files) >= workers)  # a task takes whole files
    sizes = {"n_grams": NGRAM, "num_buckets": bands, "hashes_per_bucket": given["rows"]}
    config = minhash.MinhashConfig(**sizes, hash_config=HashConfig(precision=64))
    reader = readers.ParquetReader(name + "/corpus", text_key="text", id_key="id")
    kept = writers.ParquetWriter(name + "/kept")
    stages = (
        (workers, [reader, Signature(name + "/sig", config, Languages.english)]),
        (bands, [minhash.MinhashDedupBuckets(name + "/sig", name + "/dup", config=config)]),
        (1, [minhash.MinhashDedupCluster(name + "/dup", name + "/remove", config=config)]),
        (workers, [reader, minhash.MinhashDedupFilter(name + "/remove"), kept]),
    )
    for number, (tasks, pipeline) in enumerate(stages):
        logs = f"{name}/logs{number}"
        LocalPipelineExecutor(pipeline, tasks=tasks, workers=workers, logging_dir=logs).run()
    empty = (row for first, texts in corpus(files) for row, t in enumerate(texts, first) if not t)
    return {*map(int, column(folder / "kept", "id")), *empty}


def datatrove_decont(given: Given, files: Files, folder: Path) -> Iterable[int]:
    """Its n-gram decontamination: rows of the first file that have no n-gram of the second one's.

    Its indexer asks for lighteval, also where items are given: so the hashes that it makes of them
    are written here, as its filter reads them.
    """
    import numpy as np
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline import readers, writers
    from datatrove.pipeline.decont import n_grams

    corpus_file, items_file = files
    name = str(folder)
    (folder / "index").mkdir()
    config = n_grams.NGramsDecontConfig(find_query_ngrams=given["questions"])
    decontaminate = n_grams.NGramsDecontFilter(name + "/index", config=config)
    hashes: set[int] = set()
    for item in pq.read_table(items_file, columns=["question", "answer"]).to_pylist():
        asked, replied = item["question"], item["answer"]
        hashes.update(n_grams.NGramsDecontIndexer.compute_hashes(decontaminate, replied, asked))
    np.array(list(hashes), config.hash_config.np_descr).tofile(name + "/index/items.index.hashes")
    number_rows([corpus_file], folder)
    pipeline = [
        readers.ParquetReader(name + "/corpus", text_key="text", id_key="id"),
        decontaminate,
        writers.ParquetWriter(name + "/kept"),
    ]
    LocalPipelineExecutor(pipeline, tasks=1, logging_dir=name + "/logs").run()
    return map(int, column(folder / "kept", "id"))


def main() -> None:
    """Run a peer, and write the rows that were kept."""
    runner, settings, output, *files = sys.argv[1:]
    with tempfile.TemporaryDirectory() as name:
        kept = sorted(map(int, globals()[runner](json.loads(settings), files, Path(name))))
    pq.write_table(pa.table({"row": pa.array(kept, pa.int64())}), output)


if __name__ == "__main__":
    main()
