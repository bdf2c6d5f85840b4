"""Damage is noticed: whatever happens to a file, the right keep-list comes of it, or an error.

A run is killed between two stages, one file of its work directory is damaged, and the run goes on;
or a file of a finished output is damaged, and everything that reads outputs reads it. What comes is
what would have come without the damage, or a DedupeError that names a file. Never another
keep-list, another kind of error, or the end of the process.

The whole sweep, 1,000 damages, takes some minutes and is left out unless it is asked for:

    pytest tests/test_damage.py -m damage
"""

from __future__ import annotations

import json
import random
import shutil
import traceback

import corpora
import damage
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import dedupe
from corpora import STAGES
from moments import At, Killed

from dedupe import DamageError, DedupeError, Result, Tuning, apply, audit, deduplicate

TUNING = Tuning(task_text=15_000, task_rows=120, bucket_records=2_500, fan_in=3, shard_bytes=1_000)
HOW = {"id": "id", "tuning": TUNING, "workers": 2}
SETTINGS = {"bands": {}, "join": {"recall": "exact", "threshold": 0.6}}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Two shards, of different formats, with ids."""
    folder = tmp_path_factory.mktemp("damage") / "corpus"
    folder.mkdir()
    texts = corpora.mixed(700, seed=31)
    rows = [{"text": text, "id": f"id-{i}"} for i, text in enumerate(texts)]
    pq.write_table(pa.Table.from_pylist(rows[:400]), folder / "a.parquet", row_group_size=90)
    (folder / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[400:]))
    return folder


def keep_lists(out):
    return {path.name: path.read_bytes() for path in sorted((out / "keep").iterdir())}


class Killings:
    """Work directories of runs that were killed when a stage began, made when they are needed."""

    def __init__(self, corpus, folder):
        self._corpus, self._folder = corpus, folder
        self.expected = {}
        for name, settings in SETTINGS.items():
            deduplicate(corpus, folder / f"{name}-out", **HOW, **settings)
            self.expected[name] = keep_lists(folder / f"{name}-out")

    def after(self, name, stage):
        """The work directory of a run that was killed when this stage began; "": after the last."""
        work = self._folder / f"{name}-{stage or 'end'}"
        if not work.exists():
            out = self._folder / "killed"
            how = {**HOW, **SETTINGS[name], "work_dir": work}
            if stage:
                with pytest.raises(Killed):
                    deduplicate(self._corpus, out, progress=At(stage), **how)
            else:
                deduplicate(self._corpus, out, **how)
                shutil.rmtree(out)
        return work


@pytest.fixture(scope="module")
def killings(corpus, tmp_path_factory):
    return Killings(corpus, tmp_path_factory.mktemp("killings"))


STOPS = [
    *(("bands", stage) for stage in (*STAGES[1:], "") if stage != "join"),
    *(("join", stage) for stage in ("components", "route", "")),
]
"""Where runs are killed: by settings and the stage that was about to begin."""


def outcome_of_resuming(corpus, killings, name, stage, how, seed, folder):
    """What comes of one damage: "right", "error" or "untouched", else AssertionError."""
    random_ = random.Random(seed)
    work = damage.copied(killings.after(name, stage), folder / "work")
    files = damage.files_below(work)
    path = random_.choice(files)
    told = f"{how.__name__} of {path.relative_to(work)}, killed at {stage or 'the end'} ({name})"
    if not how(path, files, random_):
        return "untouched"
    try:
        deduplicate(corpus, folder / "out", work_dir=work, **HOW, **SETTINGS[name])
    except DamageError as error:
        named, published = str(folder) in str(error), (folder / "out").exists()
        if not named or published:
            raise AssertionError(f"{told}: {error}") from None
        return "error"
    except Exception:
        raise AssertionError(f"{told}:\n{traceback.format_exc()}") from None
    assert keep_lists(folder / "out") == killings.expected[name], f"{told}: another keep-list"
    return "right"


def sweep(count, first_seed, run, tmp_path):
    """Try so many damages; how often each outcome came of them."""
    outcomes: dict[str, int] = {}
    faults = []
    for seed in range(first_seed, first_seed + count):
        folder = tmp_path / str(seed)
        folder.mkdir()
        how = damage.KINDS[seed % len(damage.KINDS)]
        try:
            found = run(how, seed, folder)
        except AssertionError as error:
            faults.append(str(error))
            found = "wrong"
        outcomes[found] = outcomes.get(found, 0) + 1
        shutil.rmtree(folder)
    assert not faults, f"{len(faults)} of {count}: " + "\n\n".join(faults[:20])
    return outcomes


def resumed(corpus, killings, stops):
    def run(how, seed, folder):
        name, stage = stops[seed // len(damage.KINDS) % len(stops)]
        return outcome_of_resuming(corpus, killings, name, stage, how, seed, folder)

    return run


@pytest.mark.parametrize("part", range(3))
def test_a_killed_run_with_a_damaged_file_goes_on_or_says_so(corpus, killings, tmp_path, part):
    run = resumed(corpus, killings, STOPS[part::3])
    outcomes = sweep(len(STOPS[part::3]) * len(damage.KINDS) // 2, 4 * part, run, tmp_path)
    assert outcomes["right"] > sum(outcomes.values()) / 2  # its task is done again


# --- a finished output ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(corpus, tmp_path_factory):
    """A finished run, and what its readers find."""
    out = tmp_path_factory.mktemp("finished") / "out"
    deduplicate(corpus, out, **HOW)
    return out, what_readers_find(out, out.parent / "clean")


def masks(out, _clean):
    return np.concatenate([mask for _, mask in Result(out).masks()]).tolist()


def lists(out, _clean):
    return Result(out).keep_list().to_pylist()


def shown(out, _clean):
    return told_of(out, dedupe("show", out))


def shown_row(out, _clean):
    return told_of(out, dedupe("show", out, "--row", "0:7", "--json"))


def told_of(out, done):
    return done.returncode, *(text.replace(str(out), "OUT") for text in done[1:])


def applied(out, clean):
    apply(out, clean, workers=1)
    files = {path.name: path.read_bytes() for path in clean.iterdir()}
    shutil.rmtree(clean)
    return {name: data for name, data in files.items() if name != "_dedupe.json"}


def audited(out, _clean):
    return audit(out, sample=50, workers=1).ok


READERS = (masks, lists, shown, shown_row, applied, audited)


def what_readers_find(out, clean):
    return {read.__name__: read(out, clean) for read in READERS}


def outcome_of_reading(finished, how, seed, folder):
    """The same of a damage to an output: no reader finds anything else in it."""
    whole, expected = finished
    random_ = random.Random(seed)
    out = damage.copied(whole, folder / "out")
    files = damage.files_below(out)
    path = random_.choice(files)
    told = f"{how.__name__} of {path.relative_to(out)}"
    if not how(path, files, random_):
        return "untouched"
    noticed = 0
    for read in READERS:
        try:
            found = read(out, folder / "clean")
        except DedupeError as error:
            if str(out) not in str(error):
                raise AssertionError(f"{told}, {read.__name__}: {error}") from None
            noticed += 1
            continue
        except Exception:
            raise AssertionError(f"{told}, {read.__name__}:\n{traceback.format_exc()}") from None
        if isinstance(found, tuple) and found[0] == 2:  # a command that ended with a message
            assert "OUT" in found[2], f"{told}, {read.__name__}: {found[2]}"
            noticed += 1
        else:
            assert found == expected[read.__name__], (
                f"{told}, {read.__name__}: finds something else"
            )
    assert noticed, f"{told}: nobody notices"
    return "error"


def test_a_damaged_output_is_noticed_by_whoever_reads_it(finished, tmp_path):
    outcomes = sweep(27, 0, lambda *given: outcome_of_reading(finished, *given), tmp_path)
    assert outcomes["error"] > 20


# --- a power cut ------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["bucket", "verify", ""])
def test_files_that_were_renamed_and_not_flushed_are_made_again(corpus, killings, tmp_path, stage):
    """After a power cut every file of the last stage may have lost all but some of its pages."""
    work = damage.copied(killings.after("bands", stage), tmp_path / "work")
    last = STAGES[STAGES.index(stage or "keep") - bool(stage)]
    random_ = random.Random(stage)
    cut = 0
    for path in damage.files_below(next(work.glob(f"dedupe-*/{last}"))):
        cut += damage.truncate_to_pages(path, (), random_)
    assert cut >= 2
    result = deduplicate(corpus, tmp_path / "out", work_dir=work, **HOW)
    assert keep_lists(tmp_path / "out") == killings.expected["bands"]
    assert result.summary["stages"][last]["resumed"] < result.summary["stages"][last]["tasks"]


def test_a_file_that_is_damaged_again_and_again_is_an_error(corpus, killings, tmp_path):
    work = damage.copied(killings.after("bands", "bucket"), tmp_path / "work")
    broken = next(work.glob("dedupe-*/sign/*.bands.arrow"))

    def spoil():
        damage.change_a_byte(broken, (), random.Random(2))

    again = At("bucket", spoil)
    with pytest.raises(DamageError, match=rf"{broken.name} is damaged .*--fresh"):
        deduplicate(corpus, tmp_path / "out", work_dir=work, progress=again, **HOW)
    assert any("it is made again" in note for note in again.notes)
    result = deduplicate(corpus, tmp_path / "out", work_dir=work, **HOW)
    assert keep_lists(tmp_path / "out") == killings.expected["bands"]
    assert result.summary["faults"]["damaged_files"] == 1


# --- all of it --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.damage
@pytest.mark.parametrize("part", range(8))
def test_a_hundred_damages_of_killed_runs(corpus, killings, tmp_path, part):
    sweep(100, 1000 + 100 * part, resumed(corpus, killings, STOPS), tmp_path)


@pytest.mark.slow
@pytest.mark.damage
@pytest.mark.parametrize("part", range(2))
def test_a_hundred_damages_of_outputs(finished, tmp_path, part):
    def run(*given):
        return outcome_of_reading(finished, *given)

    sweep(100, 3000 + 100 * part, run, tmp_path)
