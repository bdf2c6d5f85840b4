"""Test sets as they are given: their columns are looked at, before any row is."""

from __future__ import annotations

from collections.abc import Sequence

from dedupe.corpus import Projection, Shard, check_columns, column_names, format_of, said_joined
from dedupe.errors import CorpusError, SettingsError, listed
from dedupe.evals import BENCHMARK, Evals
from dedupe.tasks.job import EvalSets


def eval_sets(evals: Evals, shards: Sequence[Shard]) -> EvalSets:
    """The test sets of a run; see `tasks.job.EvalSets`.

    evals: what was asked for. shards: their files. Raises CorpusError for a file that cannot be
    read, or has no question, SettingsError where there are no rows.
    """
    sets = EvalSets(evals, [], [], [], [])
    for shard in shards:
        names = column_names(shard)
        if not names and shard.size == 0:
            continue
        try:
            parts = evals.parts_of(names)
        except SettingsError as error:
            raise CorpusError(f"{error}{said_joined(shard)}", path=shard.path) from None
        check_columns(shard, Projection(tuple(parts.values()), named=True))
        sets.shards.append(shard)
        sets.parts.append(parts)
        for column, usual, into in (
            (evals.id, "id", sets.ids),
            (evals.by, BENCHMARK, sets.benchmarks),
        ):
            if column is not None and column not in names and format_of(shard).typed:
                raise CorpusError(
                    f'has no column "{column}": there are {listed(names)}', path=shard.path
                )
            into.append(column or (usual if usual in names else None))
    if not sets.shards:
        raise SettingsError("the test sets have no rows: give others with --evals")
    return sets
