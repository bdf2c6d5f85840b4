"""verify: the components of one partition to decisions, each drop with its witness."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from dedupe.arrays import Array, numbers, slices
from dedupe.checks import (
    check_all,
    check_decisions,
    check_increasing,
    check_offsets,
    check_range,
    check_same_length,
)
from dedupe.config import Settings
from dedupe.errors import IntegrityError
from dedupe.kernels import Spread
from dedupe.kernels.lost import first_misfit, longest_runs
from dedupe.kernels.verify import verify_components
from dedupe.schema import ECHO, EXACT, LATE, NEAR, REFERENCE, REPRESENTATIVE, UNIQUE, with_id
from dedupe.schema import decisions as decisions_schema


@dataclass(frozen=True)
class ShingleSets:
    """Shingle sets of some rows of the corpus: field f of row i has the set s = i * fields + f.

    fields: of a document. positions: int64, the rows, increasing. offsets: int64[rows * fields +
    1]; set s is hashes[offsets[s]:offsets[s + 1]], distinct and in the order of first appearance.
    hashes: uint64. words: uint32[rows * fields], the tokens of each field. repeat_offsets:
    int64[rows * fields + 1]; repeats[repeat_offsets[s]:repeat_offsets[s + 1]] are the shingles of
    the text that are not new: see `schema.sets`. repeats: uint32.
    """

    fields: int
    positions: Array
    offsets: Array
    hashes: Array
    words: Array
    repeat_offsets: Array
    repeats: Array


@dataclass(frozen=True)
class Verified:
    """decisions: see `schema.decisions`; compared: pairs whose sets were looked at.

    places, witnesses: int64, for each decision the places of its row and of its witness among the
    members. late: see `schema.LATE`; empty without an index.
    """

    decisions: pa.RecordBatch
    compared: int
    places: Array
    witnesses: Array
    late: pa.RecordBatch


def verify(
    settings: Settings,
    members: pa.RecordBatch,
    sets: ShingleSets,
    counter_bytes: int,
    rows_in_all: int,
    own_rows: int,
    spread: Spread = map,
    *,
    earlier: bool = False,
) -> Verified:
    """Decide every row of the corpus in the components of a partition.

    A row that duplicates a reference is dropped because of the best one, and decides nothing else;
    with transitive clusters, all rows that are connected with it are. Of the others each is held
    against those that are kept, as if there were no references.

    settings: threshold, shingles and way of clustering. members: the rows, see `schema.MEMBERS`.
    sets: those of the first row of each group, if its component has other groups; of them comes
    what a row loses that is dropped as a near-duplicate. counter_bytes: most memory
    for the table in which a large component's shingles are counted; it changes the time, never the
    decisions. rows_in_all: rows in the corpus and in references. own_rows: those in the corpus.
    spread: calls a function for parts of a large component, on several threads perhaps. earlier:
    whether the references are rows that were kept before: each row is held against these and those
    of the corpus that are kept alike, and the best of both is its witness.

    Raises IntegrityError if a set that must be compared is missing, if what was handed over
    contradicts itself, or if a decision does not make sense.
    """
    rows = Members.of(settings, members, sets, rows_in_all, own_rows)
    return decide(settings, rows, sets, counter_bytes, spread, earlier=earlier)


@dataclass(frozen=True)
class Members:
    """The rows of the components of a partition, checked, and where their shingle sets are.

    members: see `schema.MEMBERS`. positions, component, group, text: its columns. group_index: the
    number of the group of each row. place: the same of each row of the sets. offsets: int64, where
    the sets of groups begin, with the end. bounds: int64, where components begin, with the end.
    is_reference: bool, of each row.
    """

    members: pa.RecordBatch
    positions: Array
    component: Array
    group: Array
    text: Array
    group_index: Array
    place: Array
    offsets: Array
    bounds: Array
    is_reference: Array

    @classmethod
    def of(
        cls,
        settings: Settings,
        members: pa.RecordBatch,
        sets: ShingleSets,
        rows_in_all: int,
        own_rows: int,
    ) -> Members:
        """Match rows with their sets.

        settings, members, sets, rows_in_all, own_rows: see `verify`, which has the same errors.
        """
        positions, component, group, text = (
            numbers(members.column(name)) for name in ("position", "component", "group", "text")
        )
        rows = len(positions)
        group_index, sizes, place = _match(positions, component, group, sets, rows_in_all)
        starts = np.flatnonzero(np.diff(component, prepend=-1))
        is_reference = positions >= own_rows
        _check_order(component, is_reference)
        _check_complete(starts, rows, group_index, sizes, is_reference)
        misfit = first_misfit(
            sets.offsets,
            sets.repeat_offsets,
            sets.repeats,
            sets.words,
            0 if settings.chars else settings.shingle_size,
        )
        fits = np.bool_(misfit < 0)
        check_all(fits, "verify was handed repeats or words that do not fit their set")
        return cls(
            members,
            positions,
            component,
            group,
            text,
            group_index,
            place,
            _offsets(sizes),
            np.append(starts, rows).astype(np.int64),
            is_reference,
        )


def decide(
    settings: Settings,
    found: Members,
    sets: ShingleSets,
    counter_bytes: int,
    spread: Spread = map,
    *,
    says_lost: bool = True,
    earlier: bool = False,
) -> Verified:
    """Decide every row of the corpus in the components of a partition: see `verify`.

    settings: threshold, shingles and way of clustering. found: the rows. sets, counter_bytes,
    spread, earlier: see `verify`. says_lost: whether it is found out what near-duplicates lose,
    which is 0 else.
    """
    positions, group, text = found.positions, found.group, found.text
    component, is_reference = found.component, found.is_reference
    group_index, offsets, rows = found.group_index, found.offsets, len(found.positions)
    try:
        compare = _Comparison(sets.fields, offsets, sets.hashes, settings.threshold)
        slots = 1 << (counter_bytes.bit_length() - 1)
        late = _Late.nothing()
        if earlier:
            witness, jaccards, compared, late = _decide_after(
                group_index,
                compare,
                found.bounds,
                is_reference,
                counter_slots=slots,
                spread=spread,
            )
            _take_echoes(found, compare, witness, jaccards)
        else:
            witness, jaccards, compared = _decide(
                group_index,
                compare,
                found.bounds,
                is_reference,
                transitive=settings.cluster == "transitive",
                counter_slots=slots,
                spread=spread,
            )
    except ValueError as error:
        raise IntegrityError(f"verify was handed groups or sets that do not fit: {error}") from None
    check_range(witness, rows, "verify named a witness that there is not")
    jaccard = jaccards.min(axis=1)
    kept = witness == np.arange(rows)
    same_set = group == group[witness]
    is_copy = same_set & (text == text[witness])
    reason = np.where(is_copy, EXACT, NEAR).astype(np.uint8)
    has_cluster = np.bincount(witness, minlength=rows) > 1
    reason[kept] = np.where(has_cluster[kept], REPRESENTATIVE, UNIQUE)
    if not earlier:
        reason[is_reference[witness]] = REFERENCE
    _check_witnesses(component, witness)
    own = np.flatnonzero(~is_reference)
    check_decisions(
        "verify made",
        kept[own],
        reason[own],
        jaccard[own],
        [values[own] for values in jaccards.T],
        settings.least_jaccard,
    )
    lost = np.zeros(rows, np.int32)
    if says_lost and not settings.chars:
        near = np.flatnonzero(~same_set)
        lost[near] = _lost(
            group_index[near], group_index[witness[near]], sets, offsets, found.place,
            settings.shingle_size,
        )  # fmt: skip
    by_position = own[np.argsort(positions[own])]
    of_fields = list(jaccards.T) if sets.fields > 1 else []
    columns = [
        pa.array(column[by_position])
        for column in (positions, positions[witness], reason, jaccard, lost, *of_fields)
    ]
    id_type = None
    if "id" in found.members.schema.names:
        ids = found.members.column("id")
        id_type = ids.type
        columns.append(ids.take(pa.array(witness[by_position])))
    schema = with_id(decisions_schema(sets.fields), "witness_id", id_type)
    decisions = pa.RecordBatch.from_arrays(columns, schema=schema)
    pairs = [positions[late.rows], positions[late.witnesses], late.jaccards]
    told = pa.RecordBatch.from_arrays(list(map(pa.array, pairs)), schema=LATE)
    return Verified(decisions, compared, by_position, witness[by_position], told)


class _Comparison(NamedTuple):
    """What is compared: see `kernels.verify.verify_components`, which checks it."""

    fields: int
    set_offsets: Array
    set_hashes: Array
    threshold: float


def _decide(
    group: Array,
    compare: _Comparison,
    bounds: Array,
    is_reference: Array,
    *,
    transitive: bool,
    counter_slots: int,
    spread: Spread,
) -> tuple[Array, Array, int]:
    """(witness of each row, similarities float64[rows, fields], pairs compared).

    group: int64, of each row. compare: their sets. bounds: int64, where components begin, with the
    end; in each, references come first. is_reference: bool, of each row; a reference is its own
    witness. transitive, counter_slots, spread: see `verify_components`.
    """
    fields, offsets, hashes, threshold = compare
    if not is_reference.any():
        witness, jaccards, stats = verify_components(
            bounds, group, fields, offsets, hashes, threshold, transitive,
            counter_slots=counter_slots, spread=spread,
        )  # fmt: skip
        return witness, jaccards, stats.compared
    from dedupe.kernels.references import nearest_references, similarities  # few runs need them

    rows = len(group)
    nearest, near_by_field = nearest_references(
        bounds, group, is_reference, fields, offsets, hashes, threshold
    )
    left = np.flatnonzero(~is_reference & (transitive | (nearest < 0)))
    among, own_jaccards, stats = verify_components(
        np.searchsorted(left, bounds), group[left], fields, offsets, hashes, threshold, transitive,
        counter_slots=counter_slots, spread=spread,
    )  # fmt: skip
    witness, jaccards = np.arange(rows), np.full((rows, fields), np.nan)
    witness[left], jaccards[left] = left[among], own_jaccards
    direct = np.flatnonzero(nearest >= 0)
    if transitive:
        # a chain is dropped because of the reference of the first of its rows that has one
        reference = np.full(rows, -1)
        reference[witness[direct[::-1]]] = nearest[direct[::-1]]
        chained = left[reference[witness[left]] >= 0]
        witness[chained] = reference[witness[chained]]
        pairs = group[chained], group[witness[chained]]
        jaccards[chained] = similarities(*pairs, fields, offsets, hashes)
    witness[direct], jaccards[direct] = nearest[direct], near_by_field[direct]
    return witness, jaccards, stats.compared


def _take_echoes(found: Members, compare: _Comparison, witness: Array, jaccards: Array) -> None:
    """Give rows that are equal to a dropped row of the index its witness; changes both arrays.

    found: the rows. compare: their sets. witness, jaccards: of each row, as `_decide` gives them.
    """
    echoes = numbers(found.members.column(ECHO))
    rows = np.flatnonzero((echoes >= 0) & (witness != np.arange(len(witness))))
    if not len(rows):
        return
    from dedupe.kernels.references import similarities

    order = np.argsort(found.positions)
    place = np.minimum(np.searchsorted(found.positions[order], echoes[rows]), len(order) - 1)
    witnesses = order[place]
    check_all(
        found.positions[witnesses] == echoes[rows],
        "verify was handed the witness of an equal row that is not among its rows",
    )
    pairs = found.group_index[rows], found.group_index[witnesses]
    witness[rows] = witnesses
    jaccards[rows] = similarities(*pairs, compare.fields, compare.set_offsets, compare.set_hashes)


class _Late(NamedTuple):
    """Rows that were kept before and are similar to one before them: their places, and how much."""

    rows: Array
    witnesses: Array
    jaccards: Array

    @classmethod
    def nothing(cls) -> _Late:
        """No such rows."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))


def _decide_after(
    group: Array,
    compare: _Comparison,
    bounds: Array,
    is_earlier: Array,
    *,
    counter_slots: int,
    spread: Spread,
) -> tuple[Array, Array, int, _Late]:
    """The same as `_decide`, where references are rows that were kept before; and what is late.

    Where none of these rows duplicates another, they would be kept in a run over all rows, too, and
    all are decided as there. A component in which one does is decided by `_decide`: the rows stay,
    and the best of them is the witness of each row that duplicates some.
    """
    witness, jaccards, stats = verify_components(
        bounds, group, compare.fields, compare.set_offsets, compare.set_hashes, compare.threshold,
        False, counter_slots=counter_slots, spread=spread,
    )  # fmt: skip
    rows = np.flatnonzero(is_earlier & (witness != np.arange(len(group))))
    if not len(rows):
        return witness, jaccards, stats.compared, _Late.nothing()
    late = _Late(rows, witness[rows], jaccards[rows].min(axis=1))
    components = np.unique(np.searchsorted(bounds, rows, side="right") - 1)
    sizes = np.diff(bounds)[components]
    again = np.concatenate([np.arange(bounds[one], bounds[one + 1]) for one in components.tolist()])
    found, of_found, compared = _decide(
        group[again],
        compare,
        np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]),
        is_earlier[again],
        transitive=False,
        counter_slots=counter_slots,
        spread=spread,
    )
    witness[again], jaccards[again] = again[found], of_found
    return witness, jaccards, stats.compared + compared, late


def cut_decisions(decisions: pa.RecordBatch, starts: Array) -> list[pa.RecordBatch]:
    """Decisions by keep task: those on the positions from each of `starts` to the next.

    Raises IntegrityError for a decision outside of all tasks.
    """
    bounds = np.searchsorted(numbers(decisions.column("position")), starts)
    if bounds[0] != 0 or bounds[-1] != decisions.num_rows:
        raise IntegrityError("verify decided rows outside of the corpus")
    return list(slices(decisions, bounds))


def _match(
    positions: Array, component: Array, group: Array, sets: ShingleSets, corpus_rows: int
) -> tuple[Array, Array, Array]:
    """(group of each row, sizes of the sets of groups, group of each row of `sets`).

    Groups are numbers here, and sizes int64[groups, fields].
    """
    check_range(positions, corpus_rows, "verify was handed a row outside of the corpus")
    check_range(component, corpus_rows, "verify was handed a component that there is not")
    check_increasing(component, "verify was handed components out of order", strictly=False)
    leaders = np.sort(positions[positions == group])
    group_index = np.searchsorted(leaders, group)
    place = np.searchsorted(leaders, sets.positions)
    _check_found(leaders, group_index, group, "verify was handed a group without its first row")
    _check_found(
        leaders, place, sets.positions, "verify was handed shingle sets of rows it does not know"
    )
    check_increasing(leaders, "verify was handed a row twice", strictly=True)
    check_increasing(sets.positions, "verify was handed shingle sets out of order", strictly=True)
    _check_bounds(sets)
    return group_index, _by_group(np.diff(sets.offsets), sets.fields, place, len(leaders)), place


def _check_bounds(sets: ShingleSets) -> None:
    """The offsets must delimit a set, and its repeats, for each field of each row."""
    complaint = "verify was handed shingle sets with wrong bounds"
    check_all(np.bool_(sets.fields > 0), complaint)
    check_same_length(
        complaint,
        np.repeat(sets.positions, sets.fields),
        sets.offsets[1:],
        sets.words,
        sets.repeat_offsets[1:],
    )
    check_offsets(sets.offsets, len(sets.hashes), complaint)
    check_offsets(sets.repeat_offsets, len(sets.repeats), complaint)


def _by_group(values: Array, fields: int, place: Array, groups: int) -> Array:
    """The values of the fields of rows as int64[groups, fields], 0 for a group that has no set."""
    wide = np.zeros((groups, fields), np.int64)
    wide[place] = values.reshape(-1, fields)
    return wide


def _offsets(sizes: Array) -> Array:
    """Where things start that lie end to end, with the end: int64."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes.ravel())])


def _lost(
    groups: Array,
    witnesses: Array,
    sets: ShingleSets,
    offsets: Array,
    place: Array,
    shingle_size: int,
) -> Array:
    """The longest run of words of each of some groups that its witness does not have: int64.

    groups, witnesses: numbers of groups. offsets: of the sets of groups. place: the number of the
    group of each row of `sets`.
    """
    distinct, first, back = np.unique(groups, return_index=True, return_inverse=True)
    of_groups = witnesses[first]
    order = np.argsort(of_groups, kind="stable")
    count = (len(offsets) - 1) // sets.fields
    runs = np.empty(len(distinct), np.int64)
    runs[order] = longest_runs(
        distinct[order],
        of_groups[order],
        sets.fields,
        offsets,
        sets.hashes,
        _offsets(_by_group(np.diff(sets.repeat_offsets), sets.fields, place, count)),
        sets.repeats,
        _by_group(sets.words, sets.fields, place, count).ravel().astype(np.uint32),
        shingle_size,
    )
    return runs[back]


def _check_found(values: Array, place: Array, sought: Array, complaint: str) -> None:
    """What `np.searchsorted` found must be there."""
    check_range(place, len(values), complaint)
    check_all(values[place] == sought, complaint)


def _check_order(component: Array, is_reference: Array) -> None:
    """References must come before the other rows of their component."""
    late = ~is_reference[:-1] & is_reference[1:] & (component[:-1] == component[1:])
    check_all(~late, "verify was handed a reference behind a row of the corpus")


def _check_complete(
    starts: Array, rows: int, group_index: Array, sizes: Array, is_reference: Array
) -> None:
    """Every group of a component with several groups must have a set in some field.

    Components of references alone have none, and nothing in them is compared.
    """
    if rows == 0:
        return
    lowest = np.minimum.reduceat(group_index, starts)
    highest = np.maximum.reduceat(group_index, starts)
    compared = (lowest != highest) & ~np.logical_and.reduceat(is_reference, starts)
    several = np.repeat(compared, np.diff(np.append(starts, rows)))
    missing = several & (sizes.sum(axis=1) == 0)[group_index]
    if missing.any():
        raise IntegrityError(f"shingle sets of {int(missing.sum())} rows are missing in verify")


def _check_witnesses(component: Array, witness: Array) -> None:
    """Each witness must be kept, and in the same component."""
    check_all(witness[witness] == witness, "verify named a witness that is not kept")
    check_all(component[witness] == component, "verify named a witness of another component")
