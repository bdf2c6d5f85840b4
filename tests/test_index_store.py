"""What an index is made of: blocks, manifests, and the rows that a store finds in them. Against
plain Python; and what does not fit an index is refused, with what differs."""

from __future__ import annotations

import random
import re
from dataclasses import replace

import crawling
import numpy as np
import pyarrow as pa
import pytest

import dedupe.index.manifest as manifests
from dedupe import DamageError, Settings, SettingsError, deduplicate
from dedupe.errors import IntegrityError
from dedupe.index.blocks import BlockTable, blocks_of, read_blocks, write_blocks
from dedupe.index.manifest import (
    TABLES,
    Crawl,
    Manifest,
    Segment,
    commit,
    file_of,
    numbers_in,
    read_manifest,
)
from dedupe.index.store import Store
from dedupe.index.tables import (
    CHANGES,
    FILES,
    KEPT,
    KEYS,
    MERGES,
    REMOVED,
    STATE,
    key_blocks,
    rows_schema,
    text_schema,
)
from dedupe.indexing import begin_index, is_index
from dedupe.schema import EXACT, NEAR, REASONS, REPRESENTATIVE, UNIQUE
from dedupe.storage import files_at
from dedupe.storage.checksums import seal
from dedupe.storage.tables import schema_as_text

VALUES = pa.schema([("value", pa.int64()), ("text", pa.large_string())])
TEXTS = text_schema(1, 0, pa.int64())
WITH_ID = rows_schema(pa.int64(), sketched=False)


@pytest.fixture
def files(tmp_path):
    return files_at(tmp_path / "index")


def batch_of(values):
    return pa.record_batch([values, [f"text {value}" for value in values]], schema=VALUES)


# --- blocks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("compressed", [True, False])
def test_blocks_are_read_in_any_order(files, compressed):
    values = [[5, 9], [11], [30, 31, 32], [2**40]]
    batches = [(one[0], batch_of(one)) for one in values]
    table = write_blocks(files, "a/t.arrow", VALUES, iter(batches), compressed=compressed)
    assert (table.rows, table.size) == (7, files.size("a/t.arrow"))
    assert BlockTable.from_json(table.as_json()) == table
    blocks = blocks_of(files, table)
    assert blocks.heads.tolist() == [5, 11, 30, 2**40]
    assert blocks.firsts.tolist() == [0, 2, 3, 6, 7]
    for chosen in ([0, 1, 2, 3], [3, 0], [2], []):
        found = read_blocks(files, table, VALUES, chosen)
        assert [one.column("value").to_pylist() for one in found] == [values[at] for at in chosen]


def test_a_table_without_rows_has_no_blocks(files):
    table = write_blocks(files, "t.arrow", VALUES, [], compressed=True)
    assert table.rows == 0
    assert len(blocks_of(files, table).heads) == 0
    assert list(read_blocks(files, table, VALUES, range(0))) == []


def test_blocks_that_can_have_values_are_found(files):
    """A value lies in the last block that begins with it or before it, or in those between."""
    random_ = random.Random(3)
    for number in range(30):
        values = sorted(random_.choices(range(60), k=random_.randint(1, 30)))
        sizes, rows = [], list(values)
        while rows:
            sizes.append(rows[: random_.randint(1, 5)])
            rows = rows[len(sizes[-1]) :]
        batches = [(one[0], batch_of(one)) for one in sizes]
        table = write_blocks(files, f"{number}.arrow", VALUES, batches, compressed=False)
        blocks = blocks_of(files, table)
        for _ in range(40):
            low, high = sorted(random_.choices(range(70), k=2))
            chosen = blocks.having(low, high)
            having = {at for at, one in enumerate(sizes) if any(low <= v <= high for v in one)}
            assert having <= set(chosen)
            assert all(sizes[at][0] <= high for at in chosen)
            if having and chosen:
                assert chosen[0] >= min(having) - 1


@pytest.mark.parametrize("name", ["t.arrow", "t.arrow.blocks"])
@pytest.mark.parametrize("kind", ["flipped", "cut", "missing"])
def test_a_damaged_table_is_an_error_that_names_it(files, name, kind):
    batches = [(at, batch_of(range(at, at + 50))) for at in range(0, 500, 50)]
    table = write_blocks(files, "t.arrow", VALUES, batches, compressed=True)
    data = bytearray(files.read(name))
    if kind == "missing":
        files.remove(name)
    elif kind == "cut":
        files.write(name, bytes(data[: len(data) // 2]))
    else:
        data[len(data) // 2] ^= 1
        files.write(name, bytes(data))
    with pytest.raises(DamageError, match=re.escape(files.path(name)) + " is damaged.*rebuild"):
        list(read_blocks(files, table, VALUES, range(10)))


# --- manifests --------------------------------------------------------------------------------


def empty_tables(**given):
    return {**dict.fromkeys(TABLES, ()), **given}


FOLDER = "segments/1796098741-4a2eda6a"


@pytest.mark.parametrize(
    ("segment", "table"),
    [
        ("../other", f"{FOLDER}/text-00000.arrow"),
        ("segments", f"{FOLDER}/text-00000.arrow"),
        (FOLDER, "../../etc/passwd"),
        (FOLDER, f"{FOLDER}/../../x.arrow"),
        (FOLDER, "/etc/passwd"),
        (FOLDER, f"{FOLDER}/text-00000.arrow\n"),
    ],
)
def test_a_manifest_that_leads_out_of_the_index_is_refused(files, segment, table):
    blocks = write_blocks(files, "t.arrow", VALUES, [(1, batch_of([1]))], compressed=True).blocks
    forged = Segment(segment, 0, 1, empty_tables(text=(BlockTable(table, 9, 1, blocks),)))
    manifest = Manifest(0, {}).with_crawl(Crawl("c", 0, 1, 1, "run"), forged)
    assert commit(files, manifest)
    with pytest.raises(DamageError, match=r"it is no manifest.*index rebuild"):
        read_manifest(files)


def test_a_manifest_is_read_as_it_was_written(files):
    one = [(1, batch_of([1, 2]))]
    table = write_blocks(files, f"{FOLDER}/text-00000.arrow", VALUES, one, compressed=True)
    segment = Segment(FOLDER, 0, 2, empty_tables(state=(table, table), text=(table,)))
    settings = Settings(text=["a", "b"], match="fields", keep=["longest", "first"]).as_dict()
    first = Manifest(0, settings)
    assert commit(files, first)
    assert read_manifest(files) == first
    crawl = Crawl("2026-11", 0, 2, 1, "dedupe-1", ["longest", "first"], 1)
    second = first.with_crawl(crawl, segment, classes=7, document={"fields": ["a"], "columns": 1})
    assert (second.number, second.rows, second.kept) == (1, 2, 1)
    assert commit(files, second)
    found = read_manifest(files)
    assert found.as_json() == second.as_json()
    assert found == second
    assert read_manifest(files, 0) == first
    assert found.crawl_of("dedupe-1") == crawl
    assert found.crawl_of("dedupe-2") is None
    both = table.size + table.blocks.size
    assert segment.bytes("state", "text", "keys") == 3 * both


def test_of_two_manifests_of_one_number_the_second_is_refused(files):
    first, other = Manifest(0, {}), Manifest(0, {"text": "other"})
    assert commit(files, first)
    assert not commit(files, other)
    assert read_manifest(files) == first
    assert commit(files, first)  # what is there already, as a request is made twice
    assert commit(files, replace(other, number=1))
    assert numbers_in(files) == [0, 1]
    assert read_manifest(files).settings == {"text": "other"}


@pytest.mark.parametrize("what", ["version", "algorithm"])
def test_an_index_of_another_version_is_refused(files, tmp_path, what):
    commit(files, replace(Manifest(0, Settings().as_dict()), **{what: 99}))
    with pytest.raises(SettingsError, match=rf"index of {what} 99, and this dedupe makes \d+: reb"):
        read_manifest(files)
    with pytest.raises(SettingsError, match=f"index of {what} 99"):
        deduplicate([{"text": "a"}], index=tmp_path / "index", add=True)


def test_a_manifest_under_another_number_is_damaged(files):
    data = seal(manifests.KIND, Manifest(3, {}).as_json())
    files.create(file_of(4), data)
    with pytest.raises(DamageError, match=r"00000004.json is damaged \(it is manifest 3\)"):
        read_manifest(files)
    with pytest.raises(DamageError, match=r"00000002.json is damaged \(it is missing\)"):
        read_manifest(files, 2)


def test_where_there_is_no_index_it_is_said_how_to_make_one(tmp_path):
    with pytest.raises(SettingsError, match="is no index: make one with dedupe index create"):
        deduplicate([{"text": "a"}], index=tmp_path / "none", add=True)
    assert not is_index(str(tmp_path / "none"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("")
    with pytest.raises(SettingsError, match="is not empty and no index"):
        begin_index(str(tmp_path / "other"), Settings())


# --- stores -----------------------------------------------------------------------------------


class Made:
    """An index of tables that are put together here. of: what each row is, in plain Python."""

    def __init__(self, files, random_, segments, *, block=4):
        self.files, self.random, self.block = files, random_, block
        self.of, self.keys, self.merges, self.texts = [], [], {}, {}
        self.manifest = Manifest(0, Settings(near=False).as_dict(), types=schema_as_text(TEXTS))
        for number in range(segments):
            self.add(number)

    @property
    def store(self):
        return Store(self.files, self.manifest)

    def tables(self, name, schema, first, columns):
        rows = len(columns[0])
        batches = [
            (first + at, pa.record_batch([one[at : at + self.block] for one in columns], schema))
            for at in range(0, rows, self.block)
        ]
        half = len(batches) // 2
        return tuple(
            write_blocks(self.files, f"{name}-{n}.arrow", schema, part, compressed=True)
            for n, part in enumerate((batches[:half], batches[half:]))
        )

    def add(self, number):
        random_, first = self.random, len(self.of)
        count = random_.choice([0, 1, 7, 40])
        codes = [UNIQUE, REPRESENTATIVE, EXACT, NEAR, REASONS.index("empty")]
        rows = [
            {
                "class": random_.randrange(20),
                "reason": random_.choice(codes),
                "witness": random_.randrange(-1, 40),
                "jaccard": random_.random(),
                "lost": random_.randrange(9),
            }
            for _ in range(count)
        ]
        name = f"segments/{number}"
        state = [[row[key] for row in rows] for key in ("class", "reason")]
        zeros = [0] * count
        known = [[row[name] for row in rows] if name in LATER else zeros for name in WITH_ID.names]
        keys = sorted(random_.sample(range(300), random_.choice([0, 3, 90])) if count else [])
        of_keys = [random_.randrange(count) for _ in keys]
        self.keys.append({key << 16: first + row for key, row in zip(keys, of_keys, strict=True)})
        blocks = list(
            key_blocks(np.array(keys, np.uint64) << np.uint64(16), np.array(of_keys, int))
        )
        kept = [first + n for n, row in enumerate(rows) if row["reason"] in KEPT]
        self.texts |= {row: f"text of {row}" for row in kept}
        tables = empty_tables(
            state=self.tables(f"{name}/state", STATE, first, state),
            rows=self.tables(f"{name}/rows", WITH_ID, first, known),
            keys=(write_blocks(self.files, f"{name}/keys", KEYS, blocks, compressed=False),),
            text=(self.text_table(f"{name}/text", kept),),
        )
        self.of += rows
        crawl = Crawl(str(number), first, count, len(kept), name)
        self.manifest = self.manifest.with_crawl(crawl, Segment(name, first, count, tables))

    def text_table(self, name, rows):
        batches = [
            (part[0], pa.record_batch([part, [self.texts[row] for row in part], part], TEXTS))
            for part in (rows[at : at + 3] for at in range(0, len(rows), 3))
        ]
        return write_blocks(self.files, name, TEXTS, batches, compressed=True)

    def change(self, number, rows):
        """A segment of changes alone: some rows are kept now, others are removed."""
        changed, kept = [], []
        for row in rows:
            reason = self.random.choice([UNIQUE, NEAR, REMOVED])
            new = {"reason": reason, "witness": -1, "jaccard": 0.5, "lost": row}
            self.of[row].update(new)
            changed.append({"row": row, **new})
            if reason == UNIQUE and (row not in self.texts or self.random.random() < 0.5):
                self.texts[row] = f"text {number} of {row}"
                kept.append(row)
        name = f"segments/changes-{number}"
        batch = pa.RecordBatch.from_pylist(changed, schema=CHANGES)
        tables = empty_tables(
            changes=(
                write_blocks(self.files, f"{name}/c", CHANGES, [(0, batch)], compressed=True),
            ),
            text=(self.text_table(f"{name}/text", kept),),
        )
        self.append(Segment(name, self.manifest.rows, 0, tables))

    def merge(self, number, pairs):
        """A segment of merges alone."""
        batch = pa.record_batch([[a for a, _ in pairs], [b for _, b in pairs]], schema=MERGES)
        table = write_blocks(self.files, f"merges-{number}", MERGES, [(0, batch)], compressed=True)
        self.append(Segment(f"m{number}", self.manifest.rows, 0, empty_tables(merges=(table,))))
        self.merges.update(pairs)

    def append(self, segment):
        manifest = self.manifest
        more = {"number": manifest.number + 1, "segments": (*manifest.segments, segment)}
        self.manifest = replace(manifest, **more)

    def root(self, number):
        while number in self.merges:
            number = self.merges[number]
        return number


LATER = ("witness", "jaccard", "lost")


def spans(random_, rows):
    yield 0, rows
    for _ in range(30):
        yield tuple(sorted(random_.choices(range(rows + 1), k=2)))


def held_against_plain_python(made):
    store, random_ = made.store, made.random
    for first, end in spans(random_, len(made.of)):
        state, rows, expected = store.state(first, end), store.rows(first, end), made.of[first:end]
        assert state.reasons.tolist() == [row["reason"] for row in expected]
        assert state.classes.tolist() == [made.root(row["class"]) for row in expected]
        kept = [row["reason"] in KEPT for row in expected]
        assert state.kept.tolist() == kept
        for name in LATER:
            assert rows.column(name).to_pylist() == [row[name] for row in expected]
        chosen = [first + at for at, stays in enumerate(kept) if stays and random_.random() < 0.7]
        texts = pa.Table.from_batches(store.texts(np.array(chosen, np.int64)), schema=TEXTS)
        assert texts.column("row").to_pylist() == texts.column("id").to_pylist() == chosen
        assert texts.column(1).to_pylist() == [made.texts[row] for row in chosen]


@pytest.mark.parametrize("seed", range(4))
def test_a_store_finds_what_was_written_and_changed_since(files, seed):
    made = Made(files, random.Random(seed), 5)
    held_against_plain_python(made)
    for number in range(3):
        rows = len(made.of)
        made.change(number, sorted(made.random.sample(range(rows), min(rows, 6))))
        held_against_plain_python(made)
        made.add(10 + number)
    held_against_plain_python(made)


def test_merged_classes_are_followed_to_the_last_one(files):
    made = Made(files, random.Random(1), 6)
    for number, pairs in enumerate([[(19, 18), (17, 3)], [], [(18, 17), (9, 1)], [(3, 1)]]):
        made.merge(number, pairs)
        held_against_plain_python(made)
    assert made.store.merges().of(np.array([19, 18, 17, 9, 3, 2, 500])).tolist() == [
        *(1, 1, 1, 1, 1),
        *(2, 500),
    ]


def test_a_long_chain_of_merges_is_followed(files):
    made = Made(files, random.Random(1), 1)
    for number in range(70):
        made.merge(number, [(1000 + number, 1001 + number)])
    classes = np.arange(1000, 1071)
    assert made.store.merges().of(classes).tolist() == [1070] * 71


def test_a_class_that_became_part_of_two_is_a_defect(files):
    made = Made(files, random.Random(1), 1)
    made.merge(0, [(5, 4)])
    made.merge(1, [(5, 3)])
    with pytest.raises(IntegrityError, match="part of two others"):
        made.store.merges()


def test_a_kept_row_without_a_text_is_a_defect(files):
    made = Made(files, random.Random(2), 4)
    dropped = [at for at, row in enumerate(made.of) if row["reason"] in (EXACT, NEAR)]
    for rows in (dropped[:1], dropped[-1:], [len(made.of)]):
        with pytest.raises(IntegrityError, match="has not the text of a row that it keeps"):
            list(made.store.texts(np.array(rows, np.int64)))


@pytest.mark.parametrize("seed", range(4))
def test_band_keys_are_found_in_every_segment_that_has_them(files, seed, monkeypatch):
    monkeypatch.setattr("dedupe.index.tables.KEYS_IN_BLOCK", 5)
    made = Made(files, random.Random(seed), 6)
    store = made.store
    for count in (0, 1, 30, 300):
        keys = np.array(sorted(made.random.sample(range(310), count)), np.uint64) << np.uint64(16)
        found = [
            (int(keys[place]), row)
            for places, rows in store.matches(keys)
            for place, row in zip(places.tolist(), rows.tolist(), strict=True)
        ]
        expected = [(key, of[key]) for of in made.keys for key in keys.tolist() if key in of]
        assert sorted(found) == sorted(expected)


def test_files_are_named_by_their_crawl(files):
    made = Made(files, random.Random(0), 0)
    for number, rows in enumerate([[2, 0], [], [3]]):
        columns = [[number] * len(rows), [f"f{n}" for n in rows], rows, rows, ["v"] * len(rows)]
        batch = pa.record_batch(columns, schema=FILES)
        name = f"s{number}"
        table = write_blocks(files, f"{name}/files", FILES, [(0, batch)], compressed=True)
        segment = Segment(name, made.manifest.rows, sum(rows), empty_tables(files=(table,)))
        crawl = Crawl(f"crawl {number}", made.manifest.rows, sum(rows), 0, "")
        made.manifest = made.manifest.with_crawl(crawl, segment)
    places = made.store.places()
    assert places.starts.tolist() == [0, 2, 2, 5]
    assert places.paths.to_pylist() == ["f2", "f0", "f3"]
    assert places.crawls.to_pylist() == ["crawl 0", "crawl 0", "crawl 2"]


# --- what is refused --------------------------------------------------------------------------


@pytest.fixture
def index(tmp_path):
    """An index of one crawl, and its folder beside a corpus."""
    rows = crawling.some_rows(random.Random(1), 20)
    crawls = crawling.written(tmp_path / "corpus", [[rows[:10]], [rows[10:]]])
    settings = Settings(text="text", id="id", threshold=0.7, within="lang")
    crawling.added(tmp_path / "index", tmp_path, crawls[:1], settings)
    return tmp_path / "index"


def second(index):
    return index.parent / "corpus" / "crawl-1-part-0.parquet"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"threshold": 0.8}, "threshold is 0.8 here and 0.7 in the index"),
        ({"shingle": "char:9"}, "shingle is 'char:9' here and 'word:5' in the index"),
        ({"recall": "exact"}, "recall is 'exact' here and 0.99 in the index"),
        ({"within": "crawl"}, r"within is .*crawl.* here and .*lang.* in the index"),
        ({"minhash_seed": 2}, "minhash_seed is 2 here and 1 in the index"),
        ({"exact": "words", "threshold": 0.9}, "threshold is .*exact is|exact is .*threshold is"),
        ({"cluster": "transitive"}, "cluster is 'transitive' here and 'cover' in the index"),
        ({"keep_at_most": 2}, "keep_at_most is 2 here and 1 in the index"),
        ({"settings": Settings(threshold=0.9)}, "threshold is 0.9 here and 0.7 in the index"),
    ],
)
def test_settings_that_differ_are_refused_with_what_differs(index, given, said):
    before = crawling.opened(index).manifest
    for how in ({"index": index}, {"index": index, "add": True}, {"against": index}):
        with pytest.raises(SettingsError, match=said):
            deduplicate(second(index), index.parent / "out", **how, **given)
    assert crawling.opened(index).manifest == before


def test_equal_settings_and_those_of_reading_are_taken(index):
    given = {"threshold": 0.7, "within": "lang", "keep": "longest", "on_bad_row": "skip"}
    result = deduplicate(second(index), index.parent / "out", index=index, add=True, **given)
    assert result.summary["settings"]["threshold"] == 0.7
    assert crawling.opened(index).manifest.crawls[-1].name == "crawl-2"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"cluster": "transitive"}, "no --cluster transitive"),
        ({"keep_at_most": 2}, "keep_at_most: an index has no rows that stay beside a kept row"),
        ({"per": "lang"}, "per: an index has no rows that stay beside a kept row"),
        ({"against_text": "text"}, "against_text: an index has no references of their own"),
        ({"against_format": "alpaca"}, "against_format: an index has no references of their own"),
    ],
)
def test_settings_that_no_index_can_have_are_refused(tmp_path, given, said):
    with pytest.raises(SettingsError, match=said):
        begin_index(str(tmp_path / "index"), Settings(**given))
    assert not is_index(str(tmp_path / "index"))


def test_an_index_is_begun_once(tmp_path):
    path = str(tmp_path / "index")
    begin_index(path, Settings(threshold=0.7))
    assert begin_index(path, Settings(threshold=0.7)).manifest.number == 0
    with pytest.raises(SettingsError, match="is an index already, of 0 crawls"):
        begin_index(path, Settings(threshold=0.8))


def test_a_name_is_given_once(index):
    for _ in range(2):
        with pytest.raises(SettingsError, match="has a crawl c0 already: give other rows another"):
            deduplicate(second(index), index.parent / "out", index=index, add=True, name="c0")
    for number, name in enumerate(["crawl-3", None, None]):
        deduplicate(second(index), index.parent / f"n{number}", index=index, add=True, name=name)
    names = [crawl.name for crawl in crawling.opened(index).manifest.crawls]
    assert names == ["c0", "crawl-3", "crawl-4", "crawl-5"]


def test_what_is_asked_of_no_index_is_refused(index):
    file, out = second(index), index.parent / "out"
    with pytest.raises(SettingsError, match="not both at once"):
        deduplicate(file, out, index=index, against=file)
    with pytest.raises(SettingsError, match="not both at once"):
        deduplicate(file, out, index=index, against=index)
    with pytest.raises(SettingsError, match="hold the corpus against it alone"):
        deduplicate(file, out, against=[file, index])
    with pytest.raises(SettingsError, match="give it, too"):
        deduplicate(file, out, add=True)
    with pytest.raises(SettingsError, match="give it, too"):
        deduplicate(file, out, name="one")
    with pytest.raises(SettingsError, match="give --add, too"):
        deduplicate(file, out, index=index, name="one")
    assert not out.exists()


def test_rows_of_other_fields_are_refused(tmp_path):
    rows = crawling.some_rows(random.Random(1), 20)
    crawls = crawling.written(tmp_path / "corpus", [[rows[:10]], [rows[10:]], [rows]])
    settings = Settings(text=["instruction", "output"], match="fields", id="id")
    crawling.added(tmp_path / "index", tmp_path, crawls[:1], settings)
    before = crawling.opened(tmp_path / "index").manifest
    said = "with the fields instruction, text, and the index the fields instruction, output"
    for how in ({"add": True, "index": tmp_path / "index"}, {"against": tmp_path / "index"}):
        with pytest.raises(SettingsError, match=said):
            deduplicate(
                crawls[1], tmp_path / "out", **how, text=["instruction", "text"], fresh=True
            )
    assert crawling.opened(tmp_path / "index").manifest == before


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\x1b[31m", "x" * 201])
def test_names_of_crawls_stand_in_one_line(tmp_path, name):
    begin_index(str(tmp_path / "index"), Settings(text="text"))
    rows = [{"text": "one"}]
    with pytest.raises(SettingsError, match="can be printed in one line"):
        deduplicate(rows, tmp_path / "out", index=tmp_path / "index", add=True, name=name)
