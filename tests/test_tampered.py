"""A summary that was tampered with, and has a checksum that fits, is an error that names it.

Whatever stands in it: no traceback, no file outside of OUT, and nothing that takes for ever.
"""

from __future__ import annotations

import copy
import json
import random
import shutil
import traceback

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import dedupe
from damage import copied

from dedupe import DamageError, Result, apply, audit, deduplicate
from dedupe.storage.checksums import checksum, digest_of_json, unseal

HOW = {"id": "id", "text": "text", "threshold": 0.6}


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A corpus of two shards, and its run."""
    folder = tmp_path_factory.mktemp("tampered")
    (folder / "corpus").mkdir()
    for name in "ab":
        rows = [
            {"id": i // 2, "text": f"the words of {name} that come with {i // 2} and {i % 2}"}
            for i in range(40)
        ]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "corpus" / f"{name}.jsonl").write_text(lines)
    deduplicate(folder / "corpus", folder / "out", **HOW)
    return folder


def summary_of(out):
    return unseal("summary", (out / "summary.json").read_bytes(), "")


def tampered(here, folder, change):
    """A copy of the run whose summary was changed, and sealed again."""
    out = copied(here / "out", folder / "out")
    summary = summary_of(out)
    change(summary)
    (out / "summary.json").unlink()
    named = {"file": "summary", **summary}
    sealed = {**named, "checksum": digest_of_json(named)}
    (out / "summary.json").write_text(json.dumps(sealed))
    return out


CHANGES = {
    "bands beyond all": (lambda s: s["lsh"].update(bands=10**9), "lsh is not of 1 to 128"),
    "no bands": (lambda s: s.update(lsh=None), "lsh is not there where bands"),
    "negative rows": (lambda s: s["corpus"].update(rows=-1), "corpus.rows is not a count"),
    "rows of a text": (lambda s: s["corpus"].update(rows="80"), "corpus.rows is not a count"),
    "rows that are true": (lambda s: s["corpus"].update(rows=True), "corpus.rows is not a count"),
    "other rows": (lambda s: s["corpus"].update(rows=81), "reasons is not of 81 rows"),
    "too many rows": (
        lambda s: s["corpus"]["shards"][1].update(rows=1 << 50),
        "corpus.shards.1.rows is not a count",
    ),
    "a keep-list outside": (
        lambda s: s["corpus"]["shards"][0].update(keep="keep/../../other.parquet"),
        "corpus.shards.0.keep is not a text like",
    ),
    "a keep-list from the root": (
        lambda s: s["corpus"]["shards"][0].update(keep="/etc/keep.parquet"),
        "corpus.shards.0.keep is not a text like",
    ),
    "a keep-list twice": (
        lambda s: s["corpus"]["shards"][0].update(keep=s["corpus"]["shards"][1]["keep"]),
        "without a keep that comes twice",
    ),
    "a shard twice": (
        lambda s: s["corpus"]["shards"][0].update(path=s["corpus"]["shards"][1]["path"]),
        "without a path that comes twice",
    ),
    "a setting of another version": (
        lambda s: s["settings"].update(fuzziness=3),
        "with settings that this one does not have",
    ),
    "a setting out of range": (lambda s: s["settings"].update(threshold=7), "threshold is 7"),
    "a number without end": (lambda s: s.update(wall_seconds=float("inf")), "wall_seconds is not"),
    "no fields": (lambda s: s["documents"][0].update(fields={}), "documents.0.fields is not"),
    "no documents": (lambda s: s.update(documents=[]), "documents is not one or more"),
    "another document": (
        lambda s: s["corpus"]["shards"][1].update(document=1),
        "each has one of 1 documents",
    ),
    "no reasons": (lambda s: s.pop("reasons"), "the summary is not an object with reasons"),
    "ids without a column": (lambda s: s["settings"].update(id=None), "ids is not there where"),
    "a list": (lambda s: s["documents"].append([]), "documents.1 is not an object"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_wrong_is_said(here, tmp_path, name):
    change, words = CHANGES[name]
    out = tampered(here, tmp_path, change)
    for read in (Result, audit, lambda out: apply(out, tmp_path / "clean")):
        with pytest.raises(DamageError) as found:
            read(out)
        assert words in str(found.value)
        assert f"{out}/summary.json is damaged" in str(found.value)
    done = dedupe("show", out)
    assert done.returncode == 2
    assert words in done.stderr


def test_what_a_run_says_is_what_is_expected(here, tmp_path):
    other = {"no bands": {"recall": "exact"}, "exact": {"near": False}, "no ids": {"id": None}}
    for name, more in other.items():
        deduplicate(here / "corpus", tmp_path / name, **{**HOW, **more})
        assert Result(tmp_path / name).rows == 80
    (tmp_path / "none.jsonl").write_text("")
    assert deduplicate(tmp_path / "none.jsonl").rows == 0


EVIL = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**30, 0.5, -0.0, 1e308, float("nan")),
    *("", "x", "0", "../../x", "keep/../x.parquet", "\x00", "\ud800", "[]", "{a}", "a" * 5000),
    *([], {}, [[]], [None], {"": None}, [0, 1], {"text": ["x"]}, [["text", [], False, ""]]),
)


def places(value, path=()):
    """The way to each value in a summary."""
    yield path
    if isinstance(value, dict | list):
        for name in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[name], (*path, name))


def mutate(summary, draw):
    """Change a value or two; what was done."""
    told = []
    for _ in range(draw.choice((1, 1, 2))):
        *path, last = draw.choice([one for one in places(summary) if one])
        within = summary
        for name in path:
            within = within[name]
        how = draw.choice(("replace", "replace", "remove", "add", "exchange"))
        if how == "remove":
            del within[last]
        elif how == "add" and isinstance(within, list):
            within.append(copy.deepcopy(draw.choice((*EVIL, within[last]))))
        elif how == "add":
            within[draw.choice(("x", "", "text"))] = draw.choice(EVIL)
        elif how == "exchange":
            other = draw.choice(list(within) if isinstance(within, dict) else range(len(within)))
            within[last], within[other] = within[other], within[last]
        else:
            within[last] = copy.deepcopy(draw.choice(EVIL))
        told.append(f"{how} {[*path, last]}")
    return ", ".join(told)


COMMANDS = {
    "show": ["show", "OUT"],
    "stages": ["show", "OUT", "--stages"],
    "row": ["show", "OUT", "--row", "0:1"],
    "pairs": ["show", "OUT", "--pairs", "3"],
    "json": ["show", "OUT", "--json"],
    "apply": ["apply", "OUT", "--output", "CLEAN", "--quiet", "--json"],
    "audit": ["audit", "OUT", "--sample", "20", "--quiet", "--json"],
}


def fuzz(here, folder, seeds, commands):
    """Try commands on mutated summaries; how many of them ended well or with a message."""
    ends = {0: 0, 1: 0, 2: 0}
    for seed in seeds:
        told = ""

        def change(summary, seed=seed):
            nonlocal told
            told = mutate(summary, random.Random(seed))

        try:
            out = tampered(here, folder, change)
            for name in commands:
                words = {"OUT": out, "CLEAN": folder / "clean"}
                done = dedupe(*(words.get(word, word) for word in COMMANDS[name]))
                assert "Traceback" not in done.stderr, done.stderr
                ends[done.returncode] += 1
                shutil.rmtree(folder / "clean", ignore_errors=True)
        except Exception:
            pytest.fail(f"seed {seed}: {told}\n{traceback.format_exc()}")
        finally:
            shutil.rmtree(folder / "out", ignore_errors=True)
            shutil.rmtree(folder / "out.audit.work", ignore_errors=True)
    return ends


def test_three_hundred_mutated_summaries_are_shown_or_refused(here, tmp_path):
    ends = fuzz(here, tmp_path, range(300), ["show", "stages", "json"])
    assert min(ends[0], ends[2]) > 50


def test_mutated_summaries_in_all_commands(here, tmp_path):
    ends = fuzz(here, tmp_path, range(1000, 1025), COMMANDS)
    assert min(ends[0], ends[2]) > 5


@pytest.mark.slow
def test_three_hundred_mutated_summaries_in_all_commands(here, tmp_path):
    fuzz(here, tmp_path, range(2000, 2300), COMMANDS)


def nulls(table, name):
    column = pa.nulls(len(table), table[name].type)
    return table.set_column(table.column_names.index(name), name, column)


def texts(table, name, text):
    column = pa.array([text] * len(table)).dictionary_encode()
    return table.set_column(table.column_names.index(name), name, column)


KEEP_LISTS = {
    "a column is gone": lambda t: t.drop(["keep"]),
    "a column is of another type": lambda t: texts(t, "row", "x"),
    "rows are gone": lambda t: t.slice(3),
    "all rows are gone": lambda t: t.slice(0, 0),
    "no reasons": lambda t: nulls(t, "reason"),
    "unknown reasons": lambda t: texts(t, "reason", "whim"),
    "no dictionary": lambda t: t.set_column(3, "reason", t["reason"].cast(pa.string())),
    "no decision": lambda t: nulls(t, "keep"),
    "witnesses in no shard": lambda t: texts(t, "witness_shard", "/etc/passwd"),
    "no witnesses": lambda t: nulls(t, "witness_row"),
}


@pytest.mark.parametrize("name", KEEP_LISTS)
def test_a_keep_list_that_was_tampered_with(here, tmp_path, name):
    """Whatever stands in a file whose checksum fits, there is a message."""

    def change(summary):
        shard = summary["corpus"]["shards"][0]
        path = tmp_path / "out" / shard["keep"]
        table = pq.read_table(path)
        path.unlink()
        pq.write_table(KEEP_LISTS[name](table), path)
        data = path.read_bytes()
        shard |= {"keep_size": len(data), "keep_checksum": checksum(data)}

    out = tampered(here, tmp_path, change)
    ends = {}
    for command in ("row", "pairs", "apply", "audit"):
        words = {"OUT": out, "CLEAN": tmp_path / "clean"}
        done = dedupe(*(words.get(word, word) for word in COMMANDS[command]))
        assert "Traceback" not in done.stderr
        ends[command] = done.returncode
    assert set(ends.values()) <= {0, 1, 2}
    assert any(ends.values())
