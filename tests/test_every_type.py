"""Every type of Parquet and Arrow comes back from `apply` as it was, whoever wrote the file."""

from __future__ import annotations

import datetime
import decimal
import io
import uuid

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedupe import CorpusError, apply, deduplicate
from dedupe.corpus import find_shards, open_source, thrift
from dedupe.corpus.rewriting.parquet_schema import StoredSchema, ended, footer_in, page_header

ROWS = 40
TEXTS = [f"row {i // 2} of forty with words that are its own {i // 2 * 7}" for i in range(ROWS)]


def every_second(value):
    """A column of a value and of nulls, of which apply keeps the first and drops the copy."""
    return [value if i % 4 < 2 else None for i in range(ROWS)]


def of_arrow():
    """Every type that pyarrow writes to Parquet, as a column by its name."""
    number = decimal.Decimal("-12.3")
    day, clock = datetime.date(1960, 2, 3), datetime.time(1, 2, 3)
    columns = {
        "null": pa.nulls(ROWS),
        "bool": pa.array(every_second(True)),
        "float16": pa.array(every_second(np.float16(1.5)), pa.float16()),
        "date32": pa.array(every_second(day), pa.date32()),
        "date64": pa.array(every_second(day), pa.date64()),
        "fixed": pa.array(every_second(b"abc"), pa.binary(3)),
        "list": pa.array(every_second([1, None]), pa.list_(pa.field("x", pa.int32()))),
        "large list": pa.array(every_second([1, 2]), pa.large_list(pa.int64())),
        "list of two": pa.array(every_second([1, 2]), pa.list_(pa.int32(), 2)),
        "map": pa.array(every_second([("a", 1)]), pa.map_(pa.string(), pa.int32())),
        "struct": pa.array(every_second({"a": 1, "b": [{"c": "x"}]})),
        "words": pa.array(every_second("often")).dictionary_encode(),
        "uuid": pa.array(every_second(uuid.UUID(int=5).bytes), pa.uuid()),
        "json": pa.array(every_second('{"a": 1}'), pa.json_()),
    }
    for kind in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"):
        columns[kind] = pa.array(every_second(100), getattr(pa, kind)())
    for kind in (pa.float32(), pa.float64()):
        columns[str(kind)] = pa.array(every_second(1.5), kind)
    for kind in (pa.string(), pa.large_string(), pa.string_view()):
        columns[str(kind)] = pa.array(every_second("é"), kind)
    for kind in (pa.binary(), pa.large_binary(), pa.binary_view()):
        columns[str(kind)] = pa.array(every_second(b"\xff"), kind)
    for kind in (pa.decimal128(5, 1), pa.decimal128(15, 2), pa.decimal128(38, 3)):
        columns[str(kind)] = pa.array(every_second(number), kind)
    columns["wide decimal"] = pa.array(every_second(number), pa.decimal256(60, 3))
    for kind in (pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")):
        columns[str(kind)] = pa.array(every_second(clock), kind)
    for unit in ("s", "ms", "us", "ns"):
        columns[f"at {unit}"] = pa.array(every_second(10**6), pa.timestamp(unit))
        columns[f"in Paris {unit}"] = pa.array(
            every_second(10**6), pa.timestamp(unit, "Europe/Paris")
        )
        columns[f"for {unit}"] = pa.array(every_second(1), pa.duration(unit))
    fields = [
        pa.field(name, one.type, metadata={"PARQUET:field_id": str(i + 10), "own": "note"})
        for i, (name, one) in enumerate(columns.items())
    ]
    required = pa.field("required", pa.int64(), nullable=False)
    text = pa.field("text", pa.string())
    schema = pa.schema([text, required, *fields], metadata={"own": "metadata"})
    return pa.table([pa.array(TEXTS), pa.array(range(ROWS)), *columns.values()], schema)


OF_DUCKDB = {
    "hugeint": "5::HUGEINT",
    "uhugeint": "5::UHUGEINT",
    "interval": "INTERVAL 3 DAY",
    "uuid": "'00000000-0000-0000-0000-000000000005'::UUID",
    "timetz": "'10:00:00+01'::TIMETZ",
    "time": "'10:00:00'::TIME",
    "ts_s": "'2020-01-01'::TIMESTAMP_S",
    "ts_ms": "'2020-01-01'::TIMESTAMP_MS",
    "ts_ns": "'2020-01-01 00:00:00.123456789'::TIMESTAMP_NS",
    "ts": "'2020-01-01'::TIMESTAMP",
    "tstz": "'2020-01-01 00:00:00+00'::TIMESTAMPTZ",
    "date": "'2020-01-01'::DATE",
    "enum": "'a'::ENUM('a', 'b')",
    "bit": "'101'::BIT",
    "blob": "'abc'::BLOB",
    "json": "'{\"a\": 1}'::JSON",
    "dec4": "-1.2::DECIMAL(4, 1)",
    "dec18": "1.2::DECIMAL(18, 1)",
    "dec20": "-1.2::DECIMAL(20, 1)",
    "dec38": "1.2::DECIMAL(38, 1)",
    "utiny": "1::UTINYINT",
    "tiny": "1::TINYINT",
    "usmall": "1::USMALLINT",
    "uint": "4000000000::UINTEGER",
    "ubig": "1::UBIGINT",
    "float": "1::FLOAT",
    "list": "[1, 2]",
    "map": "MAP {'a': 1}",
    "struct": "{'a': 1, 'b': [{'c': 2}]}",
    "union": "union_value(num := 2)",
    "bool": "true",
}


def of_duckdb(path, version):
    """Write a file with every type of DuckDB."""
    connection = duckdb.connect()
    connection.register("texts", pa.table({"text": TEXTS, "i": range(ROWS)}))
    columns = [f'case when i % 4 < 2 then {one} end as "{name}"' for name, one in OF_DUCKDB.items()]
    connection.sql(
        f"copy (select text, {', '.join(columns)} from texts order by i) to '{path}' "
        f"(format parquet, parquet_version {version})"
    )


def of_polars():
    """Every type that Polars writes to Parquet."""
    values = {
        "categories": pl.Series(every_second("a"), dtype=pl.Categorical),
        "enum": pl.Series(every_second("a"), dtype=pl.Enum(["a", "b"])),
        "decimal": pl.Series(every_second(decimal.Decimal("1.2")), dtype=pl.Decimal(20, 1)),
        "time": pl.Series(every_second(datetime.time(1, 2)), dtype=pl.Time),
        "date": pl.Series(every_second(datetime.date(1960, 1, 1))),
        "array": pl.Series(every_second([1, 2]), dtype=pl.Array(pl.Int64, 2)),
        "list": pl.Series(every_second([1, None])),
        "struct": pl.Series(every_second({"a": 1, "b": ["x"]})),
        "binary": pl.Series(every_second(b"\xff")),
    }
    for unit in ("ms", "us", "ns"):
        values[f"at {unit}"] = pl.Series(every_second(1), dtype=pl.Datetime(unit))
        values[f"in Paris {unit}"] = pl.Series(
            every_second(1), dtype=pl.Datetime(unit, "Europe/Paris")
        )
        values[f"for {unit}"] = pl.Series(every_second(1), dtype=pl.Duration(unit))
    for kind in (pl.Int8, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64, pl.Float32):
        values[str(kind)] = pl.Series(every_second(1), dtype=kind)
    return pl.DataFrame({"text": TEXTS, **values})


def applied(tmp_path):
    """Run, and apply; the files before and after, and the numbers of the rows that are kept."""
    keep = deduplicate(tmp_path / "in", tmp_path / "out").mask()
    apply(tmp_path / "out", tmp_path / "clean")
    assert keep.sum() == ROWS // 2
    return tmp_path / "in" / "a.parquet", tmp_path / "clean" / "a.parquet", np.flatnonzero(keep)


def assert_same_schema(before, after):
    """What is stored of both, and what pyarrow makes of it."""
    one, two = (StoredSchema.of(footer_in(path.read_bytes())) for path in (before, after))
    assert one.version == two.version
    for element, other in zip(one.elements, two.elements, strict=True):
        assert element == other
    schemas = [pq.read_schema(path) for path in (before, after)]
    assert schemas[0].equals(schemas[1], check_metadata=True)


def assert_same_values(before, after, keep):
    """What pyarrow and DuckDB read of the rows that are kept."""
    whole = pq.read_table(before)
    kept = pa.concat_tables([whole.slice(i, 1) for i in keep])  # take has no kernel for views
    assert pq.read_table(after).equals(kept.unify_dictionaries())
    read = 0
    for name in pq.read_schema(before).names:
        query = f"select \"{name}\"::VARCHAR from read_parquet('{{}}', file_row_number=true)"
        try:
            rows = duckdb.sql(query.format(before)).fetchall()
        except duckdb.Error:
            continue  # a type that DuckDB does not know
        assert duckdb.sql(query.format(after)).fetchall() == [rows[i] for i in keep], name
        types = [duckdb.sql(f"select \"{name}\" from '{path}'").types for path in (before, after)]
        assert types[0] == types[1]
        read += 1
    assert read >= 0.9 * len(pq.read_schema(before))


@pytest.mark.parametrize("version", ["1.0", "2.4", "2.6"])
@pytest.mark.parametrize("store_schema", [True, False])
def test_files_of_pyarrow(tmp_path, version, store_schema):
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "a.parquet"
    options = {"version": version, "store_schema": store_schema}
    pq.write_table(of_arrow(), path, **options)
    before, after, keep = applied(tmp_path)
    assert_same_schema(before, after)
    assert_same_values(before, after, keep)


def only_in_arrow():
    """Types that Parquet has not got."""
    sides = pa.array([i % 2 for i in range(ROWS)], pa.int8())
    numbers, letters = pa.array(range(ROWS)), pa.array(["a"] * ROWS)
    places = pa.array([i // 2 for i in range(ROWS)], pa.int32())
    ends = pa.array(range(4, ROWS + 1, 4), pa.int32())
    codes = pa.array(every_second(1), pa.int8())
    return {
        "interval": pa.array(every_second(pa.MonthDayNano([1, 2, 3]))),
        "list view": pa.array(every_second([1, 2]), pa.list_view(pa.int32())),
        "large list view": pa.array(every_second(["a"]), pa.large_list_view(pa.string())),
        "dense union": pa.UnionArray.from_dense(sides, places, [numbers, letters]),
        "sparse union": pa.UnionArray.from_sparse(sides, [numbers, letters]),
        "runs": pa.RunEndEncodedArray.from_arrays(ends, pa.array(range(ROWS // 4))),
        "sorted map": pa.array(
            every_second([("a", 1)]), pa.map_(pa.string(), pa.int32(), keys_sorted=True)
        ),
        "ordered words": pa.DictionaryArray.from_arrays(codes, ["a", "b"], ordered=True),
        "words in lists": pa.ListArray.from_arrays(
            pa.array(range(ROWS + 1), pa.int32()), letters.dictionary_encode()
        ),
        "decimal32": pa.array(every_second(decimal.Decimal("1.2")), pa.decimal32(5, 2)),
        "decimal64": pa.array(every_second(decimal.Decimal("1.2")), pa.decimal64(12, 2)),
        "opaque": pa.array(every_second("x"), pa.opaque(pa.string(), "type", "vendor")),
    }


@pytest.mark.parametrize(
    ("make", "opened"), [(ipc.new_file, ipc.open_file), (ipc.new_stream, ipc.open_stream)]
)
def test_files_of_arrow(tmp_path, make, opened):
    table = of_arrow()
    for name, column in only_in_arrow().items():
        table = table.append_column(pa.field(name, column.type, metadata={"own": "note"}), column)
    (tmp_path / "in").mkdir()
    with make(str(tmp_path / "in" / "a.arrow"), table.schema) as file:
        file.write_table(table)
    keep = deduplicate(tmp_path / "in", tmp_path / "out").mask()
    apply(tmp_path / "out", tmp_path / "clean")
    with opened(str(tmp_path / "clean" / "a.arrow")) as file:
        after = file.read_all()
    assert after.schema.equals(table.schema, check_metadata=True)
    for name in table.schema.names:
        rows = table[name].to_pylist()
        assert after[name].to_pylist() == [rows[i] for i in np.flatnonzero(keep)], name


@pytest.mark.parametrize("version", ["V1", "V2"])
def test_files_of_duckdb(tmp_path, version):
    (tmp_path / "in").mkdir()
    of_duckdb(tmp_path / "in" / "a.parquet", version)
    before, after, keep = applied(tmp_path)
    assert_same_schema(before, after)
    assert_same_values(before, after, keep)


def test_files_of_polars(tmp_path):
    (tmp_path / "in").mkdir()
    frame = of_polars()
    frame.write_parquet(tmp_path / "in" / "a.parquet")
    before, after, keep = applied(tmp_path)
    assert pq.read_metadata(before).format_version == "1.0"
    assert_same_schema(before, after)
    assert_same_values(before, after, keep)
    assert pl.read_parquet(after).equals(pl.read_parquet(before)[keep])


def stored_as(path, table, change, **options):
    """Write a file whose schema is changed: what pyarrow itself does not write."""
    sink = io.BytesIO()
    pq.write_table(table, sink, store_schema=False, **options)
    whole = sink.getvalue()
    footer = footer_in(whole)
    schema = StoredSchema.of(footer)
    elements = change([dict(one) for one in schema.elements])
    changed = StoredSchema(1, elements).put_into(footer)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(whole[: -len(ended(footer))] + ended(changed))


def named(elements, name):
    """The element of this name."""
    return next(one for one in elements if one[4][1] == name.encode())


def annotated(name, converted=None, logical=None):
    """A change of the schema: a column gets another meaning."""

    def change(elements):
        element = named(elements, name)
        for number, kind, value in ((6, thrift.I32, converted), (10, thrift.STRUCT, logical)):
            element.pop(number, None)
            if value is not None:
                element[number] = (kind, value)
        elements[elements.index(element)] = dict(sorted(element.items()))
        return elements

    return change


@pytest.mark.parametrize(
    ("kind", "value", "converted", "logical"),
    [
        (pa.binary(12), b"\x01\0\0\0" * 3, 21, None),  # INTERVAL
        (pa.binary(), b"one", 4, {4: (thrift.STRUCT, {})}),  # ENUM
        (pa.binary(), b"\x05\0\0\0\0", 20, {13: (thrift.STRUCT, {})}),  # BSON
        (pa.binary(), b"\x01", None, {17: (thrift.STRUCT, {})}),  # GEOMETRY
        (pa.binary(), b"\x01", None, {99: (thrift.STRUCT, {})}),  # of years to come
        (pa.int32(), 5, None, {10: (thrift.STRUCT, {1: (3, b"\x20"), 2: (thrift.TRUE, True)})}),
        (pa.int64(), 5, 14, None),  # an unsigned number, as older files have it
    ],
)
def test_meanings_that_pyarrow_does_not_write(tmp_path, kind, value, converted, logical):
    table = pa.table({"text": TEXTS, "x": pa.array(every_second(value), kind)})
    path = tmp_path / "in" / "a.parquet"
    stored_as(path, table, annotated("x", converted, logical))
    before, after, keep = applied(tmp_path)
    assert_same_schema(before, after)
    assert pq.read_table(after).equals(pq.read_table(before).take(pa.array(keep)))


def as_bytes_of_any_length(elements):
    """Decimals in as many bytes as each needs, which Avro and older tools write."""
    element = named(elements, "x")
    element |= {6: (thrift.I32, 5), 7: (thrift.I32, 2), 8: (thrift.I32, 10)}
    elements[elements.index(element)] = dict(sorted(element.items()))
    return elements


def test_decimals_of_other_widths_are_copied_as_they_are(tmp_path):
    value = every_second((-1234).to_bytes(3, "big", signed=True))
    table = pa.table({"text": TEXTS, "x": value, "y": every_second(decimal.Decimal("1.5"))})
    stored_as(tmp_path / "in" / "a.parquet", table, as_bytes_of_any_length)
    before, after, keep = applied(tmp_path)
    assert_same_schema(before, after)
    assert_same_values(before, after, keep)
    assert pq.read_table(after)["x"][0].as_py() == decimal.Decimal("-12.34")
    assert not pq.read_metadata(after).row_group(0).column(1).is_stats_set  # they would be wrong


def as_two_levels(elements):
    """A list of Hive or Avro: the repeated element itself."""
    at = elements.index(named(elements, "list"))
    element = dict(elements[at + 1])
    element[3], element[4] = (thrift.I32, 2), (thrift.BINARY, b"array")
    return [*elements[:at], element, *elements[at + 2 :]]


def as_a_bag(elements):
    """A list of Spark, as it was."""
    named(elements, "list")[4] = (thrift.BINARY, b"bag")
    named(elements, "element")[4] = (thrift.BINARY, b"array_element")
    return elements


@pytest.mark.parametrize(("change", "nullable"), [(as_two_levels, False), (as_a_bag, True)])
def test_lists_of_other_tools(tmp_path, change, nullable):
    kind = pa.list_(pa.field("element", pa.int32(), nullable=nullable))
    lists = [[[1, 2], [], None, [3]][i // 2 % 4] for i in range(ROWS)]
    table = pa.table({"text": TEXTS, "x": pa.array(lists, kind), "z": every_second(1)})
    options = {"compression": {"text": "snappy", "x.list.element": "gzip", "z": "none"}}
    stored_as(tmp_path / "in" / "a.parquet", table, change, **options)
    before, after, keep = applied(tmp_path)
    assert_same_schema(before, after)
    assert_same_values(before, after, keep)
    chunks = [pq.read_metadata(path).row_group(0).column(1) for path in (before, after)]
    assert chunks[0].path_in_schema == chunks[1].path_in_schema
    assert [one.compression for one in chunks] == ["GZIP", "GZIP"]


def test_numbers_of_old_and_new_timestamps_in_one_file(tmp_path):
    stamps = pa.array(every_second(10**6), pa.timestamp("ns"))
    both = pa.table({"text": TEXTS, "old": stamps, "new": every_second(7)})

    def change(elements):
        return annotated("new", 10)(elements)  # an INT64 that is a timestamp in microseconds

    path = tmp_path / "in" / "a.parquet"
    stored_as(path, both, change, use_deprecated_int96_timestamps=True)
    before, after, keep = applied(tmp_path)
    assert pq.ParquetFile(after).schema.column(1).physical_type == "INT96"
    assert_same_schema(before, after)
    assert_same_values(before, after, keep)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("checksums", [True, False])
def test_pages_are_of_the_same_version_and_have_checksums_where_they_had(
    tmp_path, version, checksums
):
    (tmp_path / "in").mkdir()
    table = pa.table({"text": TEXTS, "x": every_second(1)})
    options = {"data_page_version": version, "write_page_checksum": checksums}
    pq.write_table(table, tmp_path / "in" / "a.parquet", **options)
    headers = []
    for path in applied(tmp_path)[:2]:
        at = pq.read_metadata(path).row_group(0).column(1).data_page_offset
        headers.append(page_header(path.read_bytes()[at:]))
    assert headers[0][1] == headers[1][1] == {"1.0": 0, "2.0": 3}[version]
    assert (4 in headers[0]) == (4 in headers[1]) == checksums


def test_columns_beside_stand_after_those_of_the_source(tmp_path):
    (tmp_path / "in").mkdir()
    of_duckdb(tmp_path / "in" / "a.parquet", "V1")
    deduplicate(tmp_path / "in", tmp_path / "out")
    apply(tmp_path / "out", tmp_path / "clean", add_columns=True)
    before, after = (
        StoredSchema.of(footer_in((tmp_path / d / "a.parquet").read_bytes()))
        for d in ("in", "clean")
    )
    count = len(before.elements)
    assert after.elements[1:count] == before.elements[1:]
    assert after.elements[count][4][1] == b"dedupe_keep"
    rows = duckdb.sql(f"select interval, dedupe_keep from '{tmp_path}/clean/a.parquet'").fetchall()
    assert rows[:2] == [(datetime.timedelta(3), True), (datetime.timedelta(3), False)]


def test_files_of_other_types_cannot_share_a_file(tmp_path):
    table = pa.table({"text": TEXTS, "x": pa.array(every_second(b"\0" * 12), pa.binary(12))})
    stored_as(tmp_path / "in" / "a.parquet", table, annotated("x", 21))
    pq.write_table(table, tmp_path / "in" / "b.parquet", store_schema=False)
    deduplicate(tmp_path / "in", tmp_path / "out")
    with pytest.raises(CorpusError, match="other types of columns"):
        apply(tmp_path / "out", tmp_path / "clean", rows_per_file=10)


def test_a_schema_that_has_no_place_for_what_is_read_is_an_error(tmp_path, monkeypatch):
    pq.write_table(pa.table({"text": TEXTS}), tmp_path / "a.parquet")
    (shard,) = find_shards([str(tmp_path / "a.parquet")])
    monkeypatch.setattr(StoredSchema, "misplaced", lambda self, other: "text")
    with pytest.raises(CorpusError, match='column "text" is stored in a way'):
        open_source(shard)


_numbers = st.integers(-(2**63), 2**63 - 1)
_values = st.deferred(
    lambda: st.one_of(
        st.tuples(st.sampled_from([thrift.I16, thrift.I32, thrift.I64]), _numbers),
        st.tuples(st.just(thrift.BINARY), st.binary(max_size=20)),
        st.tuples(st.just(thrift.DOUBLE), st.binary(min_size=8, max_size=8)),
        st.booleans().map(lambda b: (thrift.TRUE if b else thrift.FALSE, b)),
        st.tuples(st.just(thrift.STRUCT), _structs),
        st.tuples(
            st.sampled_from([thrift.LIST, thrift.SET]),
            st.lists(_numbers, max_size=20).map(lambda v: thrift.Items(thrift.I64, v)),
        ),
        st.tuples(
            st.just(thrift.LIST),
            st.lists(st.booleans(), max_size=3).map(lambda v: thrift.Items(thrift.TRUE, v)),
        ),
        st.tuples(
            st.just(thrift.MAP),
            st.lists(st.tuples(st.binary(max_size=3), _numbers), min_size=1, max_size=3).map(
                lambda v: thrift.Pairs((thrift.BINARY, thrift.I32), v)
            ),
        ),
    )
)
_structs = st.dictionaries(st.integers(1, 300), _values, max_size=5).map(
    lambda struct: dict(sorted(struct.items()))
)


@given(_structs)
def test_structs_are_written_as_they_are_read(struct):
    data = thrift.written(struct)
    reader = thrift.Reader(data + b"more")
    assert reader.struct() == struct
    assert reader.at == len(data)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_struct_are_an_error(data):
    try:
        thrift.Reader(data).struct()
    except ValueError:
        return


def test_a_footer_of_pyarrow_is_written_as_it_was(tmp_path):
    pq.write_table(of_arrow(), tmp_path / "a.parquet", write_page_index=True)
    footer = footer_in((tmp_path / "a.parquet").read_bytes())
    assert thrift.written(thrift.Reader(footer).struct()) == footer


def test_structs_in_structs_without_end_are_an_error():
    with pytest.raises(ValueError, match="nested too deeply"):
        thrift.Reader(b"\x1c" * 1000).struct()
