"""Signatures of a finished run are those of its band keys, and datasketch finds with them what it
finds with its own."""

from __future__ import annotations

import json

import corpora
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from naive_hash import band_keys

import dedupe
from dedupe import SettingsError, Tuning
from dedupe.config import Settings
from dedupe.planning.banding import plan_banding
from dedupe.stages.sign import Signer


def signatures_in(path):
    table = pq.read_table(path).combine_chunks()
    size = int(table.schema.metadata[b"num_perm"])
    values = table["hashvalues"].chunk(0).flatten().to_numpy().reshape(-1, size)
    return table, values


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    folder = tmp_path_factory.mktemp("signatures")
    (folder / "corpus").mkdir()
    texts = corpora.mixed(240, seed=4)
    for number, part in enumerate((texts[:100], texts[100:100], texts[100:])):
        lines = "".join(json.dumps({"text": text}) + "\n" for text in part)
        (folder / "corpus" / f"{number}.jsonl").write_text(lines)
    dedupe.deduplicate(folder / "corpus", folder / "out")
    return folder, texts


def test_they_are_those_of_the_band_keys_on_any_cut(here, tmp_path):
    folder, texts = here
    assert dedupe.write_signatures(folder / "out", tmp_path / "a.parquet") == 240
    table, values = signatures_in(tmp_path / "a.parquet")
    assert table["row"].to_pylist() == [*range(100), *range(140)]
    assert [path.rpartition("/")[2] for path in table["shard"].unique().to_pylist()] == [
        "0.jsonl",
        "2.jsonl",
    ]
    settings = Settings()
    banding = plan_banding(settings)
    batch = pa.RecordBatch.from_pydict({"text": pa.array(texts, pa.large_string())})
    keys = Signer(settings, banding).sign(batch).keys
    counted = np.array([bool((text or "").strip()) for text in texts])
    for row in np.flatnonzero(counted)[::7].tolist():
        own = band_keys(values[row].tolist(), banding.bands, banding.rows)
        assert own == keys[row].tolist()
    tuning = Tuning(audit_text=3_000, batch_bytes=500)
    dedupe.write_signatures(folder / "out", tmp_path / "b.parquet", workers=2, tuning=tuning)
    assert (tmp_path / "b.parquet").read_bytes() == (tmp_path / "a.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet"]


def test_datasketch_finds_the_duplicates_with_them(here, tmp_path):
    datasketch = pytest.importorskip("datasketch")
    folder, _ = here
    out = dedupe.Result(folder / "out")
    dedupe.write_signatures(out, tmp_path / "a.parquet")
    _, values = signatures_in(tmp_path / "a.parquet")
    sketches = [datasketch.LeanMinHash(seed=1, hashvalues=row, scheme="affine32") for row in values]
    index = datasketch.MinHashLSH(threshold=0.7, num_perm=values.shape[1])
    for number, sketch in enumerate(sketches):
        index.insert(number, sketch)
    keep_list = out.keep_list().to_pylist()
    starts = {shard["path"]: start for shard, start in zip(out.shards, (0, 100, 100), strict=True)}
    dropped = [(n, row) for n, row in enumerate(keep_list) if row["jaccard"] is not None]
    assert len(dropped) > 30
    for number, row in dropped:
        witness = starts[row["witness_shard"]] + row["witness_row"]
        estimated = sketches[number].jaccard(sketches[witness])
        assert estimated == pytest.approx(row["jaccard"], abs=0.2)
        if row["jaccard"] == 1:
            assert witness in index.query(sketches[number])


def test_fields_and_groups_and_the_command(tmp_path, here):
    from commands import dedupe as command

    rows = [{"instruction": f"say {n % 5}", "output": "it is so", "of": n % 2} for n in range(20)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    target = tmp_path / "signatures.parquet"
    done = command(
        "run", tmp_path / "rows.jsonl", "--output", tmp_path / "out", "--within", "of",
        "--num-perm", "64", "--signatures", target, "--quiet",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    _, values = signatures_in(target)
    assert values.shape == (20, 64)
    same = (values[:, None] == values[None]).all(axis=2)
    wanted = np.array(
        [[a["of"] == b["of"] and a["instruction"] == b["instruction"] for b in rows] for a in rows]
    )
    assert (same == wanted).all()
    with pytest.raises(SettingsError, match="is no file"):
        dedupe.write_signatures(tmp_path / "out", f"{tmp_path}/")
