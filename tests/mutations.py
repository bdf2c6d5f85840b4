"""Small good files of every format and writer, and seeded mutations of their bytes."""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import json
import lzma
import random
import re
import struct
from collections.abc import Callable

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from dedupe.corpus import thrift

# --- good files -------------------------------------------------------------------------------

ROWS = 60


def rows() -> list[dict]:
    """Rows with text, plain columns of several types and chats."""
    import corpora  # which loads more than a process needs that only mutates

    texts = corpora.mixed(ROWS - 2, seed=7)
    texts += ['a "quoted" text, with\ttabs\nand line breaks', "caf\u00e9 \U0001f600 \u4f60\u597d"]
    return [
        {
            "text": text or "",
            "id": number,
            "score": number / 7,
            "good": number % 3 == 0,
            "label": f"label {number % 4}",
            "messages": [
                {"role": role, "content": f"{role} {text}"} for role in ("user", "assistant")
            ],
        }
        for number, text in enumerate(texts)
    ]


FLAT = ("text", "id", "score", "good", "label")


def _lines(some) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in some).encode()


def _csv(delimiter: str) -> bytes:
    sink = io.BytesIO()
    table = pa.Table.from_pylist(rows()).select(FLAT)
    pc.write_csv(table, sink, pc.WriteOptions(delimiter=delimiter))
    return sink.getvalue()


def _parquet(table: pa.Table, **how) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **{"row_group_size": 25, **how})
    return sink.getvalue()


def _arrow(table: pa.Table, new, codec: str | None) -> bytes:
    sink = io.BytesIO()
    options = ipc.IpcWriteOptions(compression=codec, emit_dictionary_deltas=True)
    with new(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=25)
    return sink.getvalue()


def _of_polars() -> dict[str, bytes]:
    import polars

    frame = polars.from_arrow(pa.Table.from_pylist(rows()))
    found = {}
    for codec in ("uncompressed", "zstd"):
        sink = io.BytesIO()
        frame.write_parquet(sink, compression=codec, data_page_size=1000)
        found[f"polars-{codec}.parquet"] = sink.getvalue()
        sink = io.BytesIO()
        frame.write_ipc(sink, compression=codec)
        found[f"polars-{codec}.arrow"] = sink.getvalue()
    return found


def _parquets(table: pa.Table) -> dict[str, bytes]:
    flat = table.select(FLAT)
    delta = {"text": "DELTA_BYTE_ARRAY", "label": "DELTA_LENGTH_BYTE_ARRAY"}
    more = {"id": "DELTA_BINARY_PACKED", "score": "BYTE_STREAM_SPLIT", "good": "RLE"}
    plain = {"use_dictionary": False, "compression": "none"}
    made = {
        "plain": _parquet(table, **plain),
        "v1": _parquet(table, version="1.0", compression="none"),
        "v2-pages": _parquet(table, data_page_version="2.0", compression="none"),
        "dictionary": _parquet(flat, compression="none", data_page_size=500),
        "snappy": _parquet(table, data_page_size=500),
        "gzip": _parquet(flat, compression="gzip"),
        "brotli": _parquet(flat, compression="brotli"),
        "lz4": _parquet(flat, compression="lz4"),
        "zstd": _parquet(table, compression="zstd", data_page_version="2.0"),
        "checksums": _parquet(table, write_page_checksum=True, compression="none"),
        "index": _parquet(flat, write_page_index=True, store_schema=False, compression="none"),
        "delta": _parquet(flat, column_encoding=delta | more, **plain),
        "messages": _parquet(table.select(["messages", "id"]), compression="none"),
    }
    return {f"{name}.parquet": data for name, data in made.items()}


def _arrows(table: pa.Table) -> dict[str, bytes]:
    flat = table.select(FLAT)
    coded = flat.set_column(4, "label", flat["label"].dictionary_encode())
    text = {"large": pa.large_string(), "view": pa.string_view()}
    kinds = {
        "plain": table,
        "coded": coded,
        **{name: flat.set_column(0, "text", flat["text"].cast(t)) for name, t in text.items()},
    }
    made = {}
    for (name, one), codec in itertools.product(kinds.items(), (None, "lz4", "zstd")):
        for how, new in (("file", ipc.new_file), ("stream", ipc.new_stream)):
            made[f"{name}-{how}-{codec}.arrow"] = _arrow(one, new, codec)
    return made


def good_files() -> dict[str, bytes]:
    """The bytes of each file, by its name; those of compressed texts are what is compressed."""
    table = pa.Table.from_pylist(rows())
    made = _parquets(table) | _arrows(table) | _of_polars()
    array = json.dumps(rows(), indent=1).encode()
    texts = {
        "flat.jsonl": _lines({name: row[name] for name in FLAT} for row in rows()),
        "all.jsonl": _lines(rows()),
        "chat.jsonl": _lines({"messages": row["messages"]} for row in rows()),
        "array.json": array,
        "object.json": b'{"version": 1, "data": ' + array + b"}",
        "a.csv": _csv(","),
        "a.tsv": _csv("\t"),
        "a.txt": "\n\n".join(row["text"] for row in rows()).encode(),
    }
    packed = itertools.product(texts.items(), PACKED)
    return made | texts | {name + suffix: data for (name, data), suffix in packed}


def _of_pyarrow(codec: str) -> Callable[[bytes], bytes]:
    def packed(data: bytes) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, codec) as stream:
            stream.write(data)
        return sink.getvalue().to_pybytes()

    return packed


PACKED: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda data: gzip.compress(data, mtime=0),
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": _of_pyarrow("zstd"),
    ".lz4": _of_pyarrow("lz4"),
}

# --- mutations --------------------------------------------------------------------------------

Random = random.Random
Mutation = Callable[[bytes, bytes, Random], bytes]
"""The bytes of a file, those of another one, and what draws; the changed bytes."""

NUMBERS = (0, 1, -1, 127, 128, 255, 2**15, 2**16, 2**31 - 1, -(2**31), 2**32, 2**40, 2**63 - 1)


def _place(data: bytes, random_: Random) -> int:
    """Anywhere, but often near the beginning or the end, where headers and footers are."""
    kind, size = random_.random(), len(data)
    if kind < 0.25:
        return random_.randrange(min(size, 64) + 1)
    if kind < 0.5:
        return size - random_.randrange(min(size, 64) + 1)
    return random_.randrange(size + 1)


def _part(data: bytes, random_: Random) -> tuple[int, int]:
    start = _place(data, random_)
    return start, min(len(data), start + random_.choice([1, 2, 4, 8, 64, 500, 5000]))


def flip_bits(data: bytes, other: bytes, random_: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random_.choice([1, 1, 1, 3, 20]) if data else 0):
        changed[random_.randrange(len(data))] ^= 1 << random_.randrange(8)
    return bytes(changed)


def change_bytes(data: bytes, other: bytes, random_: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random_.choice([1, 1, 2, 10]) if data else 0):
        changed[min(_place(data, random_), len(data) - 1)] = random_.randrange(256)
    return bytes(changed)


def cut(data: bytes, other: bytes, random_: Random) -> bytes:
    place = _place(data, random_)
    return data[:place] if random_.random() < 0.7 else data[place:]


def leave_out(data: bytes, other: bytes, random_: Random) -> bytes:
    start, end = _part(data, random_)
    return data[:start] + data[end:]


def double(data: bytes, other: bytes, random_: Random) -> bytes:
    start, end = _part(data, random_)
    return data[:end] + data[start:end] * random_.choice([1, 1, 10]) + data[end:]


def move(data: bytes, other: bytes, random_: Random) -> bytes:
    start, end = _part(data, random_)
    rest = data[:start] + data[end:]
    place = _place(rest, random_)
    return rest[:place] + data[start:end] + rest[place:]


INSERTED = (
    b"\0", b"\xff", b'"', b"'", b"\n", b"\r", b"\r\n", b"{", b"}", b"[", b"]", b",", b"\t", b"\\",
    b"\xef\xbb\xbf", b"\xed\xa0\x80", b"null", b"\\u0000", b'\\ud800', b"1e999", b"-", b"[" * 5000,
)  # fmt: skip


def insert(data: bytes, other: bytes, random_: Random) -> bytes:
    place = _place(data, random_)
    return data[:place] + random_.choice(INSERTED) * random_.choice([1, 1, 4, 40]) + data[place:]


def overwrite(data: bytes, other: bytes, random_: Random) -> bytes:
    start, end = _part(data, random_)
    return data[:start] + (random_.choice(INSERTED) * (end - start))[: end - start] + data[end:]


def change_a_number(data: bytes, other: bytes, random_: Random) -> bytes:
    """Change a binary number: a length, a count, an offset."""
    code, width = random_.choice([("<i", 4), ("<q", 8), ("<h", 2)])
    if len(data) < width:
        return data
    place = min(_place(data, random_), len(data) - width)
    place -= place % random_.choice([1, width])
    (before,) = struct.unpack_from(code, data, place)
    near = (before + 1, before - 1, before * 2, before + 8, before ^ 0xFF)
    after = random_.choice([*NUMBERS, *near]) & (1 << 8 * width) - 1
    return data[:place] + after.to_bytes(width, "little") + data[place + width :]


def make_a_number_huge(data: bytes, other: bytes, random_: Random) -> bytes:
    """Change a number that is written in digits."""
    found = list(itertools.islice(re.finditer(rb"\d+", data), 1000))
    if not found:
        return change_a_number(data, other, random_)
    one = random_.choice(found)
    huge = random_.choice([b"9" * 30, b"9" * 5000, b"1e400", b"-1", b"0x1", b"007", b"1.5", b"NaN"])
    return data[: one.start()] + huge + data[one.end() :]


def join_halves(data: bytes, other: bytes, random_: Random) -> bytes:
    place = _place(data, random_)
    return data[:place] + other[random_.choice([place, len(other) // 2]) :]


def put_in_a_part_of_another(data: bytes, other: bytes, random_: Random) -> bytes:
    start, end = _part(other, random_)
    place = _place(data, random_)
    stays = place + random_.choice([0, end - start])
    return data[:place] + other[start:end] + data[stays:]


GENERAL: tuple[Mutation, ...] = (
    flip_bits, change_bytes, cut, leave_out, double, move, insert, overwrite, change_a_number,
    make_a_number_huge, join_halves, put_in_a_part_of_another,
)  # fmt: skip


def change_the_length_of_a_footer(data: bytes, other: bytes, random_: Random) -> bytes:
    """Change the length of a footer of Parquet or Arrow."""
    mark = 4 if data[-4:] == b"PAR1" else 6
    place = len(data) - mark - 4
    length = int.from_bytes(data[place : place + 4], "little")
    near = [length - 1, length + 1, length + 8, length // 2, len(data)]
    after = random_.choice([*NUMBERS, *near]) & (1 << 32) - 1
    return data[:place] + after.to_bytes(4, "little") + data[place + 4 :]


def change_a_footer(data: bytes, other: bytes, random_: Random) -> bytes:
    """Change values in a footer of Parquet, which stays one that can be parsed."""
    length = int.from_bytes(data[-8:-4], "little")
    begin = len(data) - 8 - length
    footer = thrift.Reader(data, begin).struct()
    for _ in range(random_.choice([1, 1, 1, 3])):
        _change_a_value(footer, random_)
    written = thrift.written(footer)
    return data[:begin] + written + len(written).to_bytes(4, "little") + data[-4:]


def change_a_page_header(data: bytes, other: bytes, random_: Random) -> bytes:
    """Change values in the header of a page of Parquet, of the same length where that is possible.

    All behind it moves otherwise, and the footer is wrong.
    """
    metadata = pq.read_metadata(pa.BufferReader(data))
    group = metadata.row_group(random_.randrange(metadata.num_row_groups))
    chunk = group.column(random_.randrange(group.num_columns))
    at = random_.choice([chunk.dictionary_page_offset or chunk.data_page_offset,
                         chunk.data_page_offset])  # fmt: skip
    reader = thrift.Reader(data, at)
    header = reader.struct()
    size = reader.at - at
    for _ in range(20):
        again = thrift.Reader(data, at).struct()
        _change_a_value(again, random_)
        written = thrift.written(again)
        if len(written) == size and again != header:
            break
    return data[:at] + written + data[reader.at :]


def _change_a_value(struct_: thrift.Struct, random_: Random) -> None:
    """Change one number or text in a struct, at any depth."""
    places: list[tuple[Callable, thrift.Struct | list, int]] = []

    def walk(value) -> None:
        if isinstance(value, dict):
            for number, (kind, one) in value.items():
                places.append((_set_field, value, number))
                if kind in (thrift.STRUCT, thrift.LIST, thrift.SET):
                    walk(one)
        elif isinstance(value, thrift.Items):
            for number, one in enumerate(value.values):
                if value.type == thrift.STRUCT:
                    walk(one)
                else:
                    places.append((_set_element, value.values, number))
            places.append((_set_count, value.values, len(value.values)))

    walk(struct_)
    change, container, number = random_.choice(places)
    change(container, number, random_)


def _another(value, random_: Random):
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        near = [value + 1, value - 1, value * 2, value // 2, -value, value + 8, *range(9)]
        return random_.choice([*NUMBERS, *near])
    if isinstance(value, bytes):
        return random_.choice(
            [b"", value * 2, b"\xff" * len(value), flip_bits(value, b"", random_)]
        )
    return value


def _set_field(container, number: int, random_: Random) -> None:
    kind, value = container[number]
    if kind in (thrift.TRUE, thrift.FALSE):
        container[number] = (thrift.TRUE + thrift.FALSE - kind, value)
    elif kind in (thrift.BYTE, thrift.DOUBLE, thrift.UUID):
        container[number] = (kind, random_.randbytes(len(value)))
    elif kind in (thrift.STRUCT, thrift.LIST, thrift.SET) or random_.random() < 0.1:
        del container[number]
    else:
        container[number] = (kind, _another(value, random_))


def _set_element(container, number: int, random_: Random) -> None:
    container[number] = _another(container[number], random_)


def _set_count(container, number: int, random_: Random) -> None:
    if container and random_.random() < 0.5:
        del container[random_.randrange(number)]
    elif container:
        container.append(container[random_.randrange(number)])


OF_PARQUET = (change_the_length_of_a_footer, *(change_a_footer, change_a_page_header) * 3)
OF_ARROW = (change_the_length_of_a_footer, *(change_a_number,) * 4)


def mutated(name: str, files: dict[str, bytes], random_: Random) -> tuple[str, bytes]:
    """A good file with one mutation or several, and what they were.

    name, files: which of the good files it is, and these. random_: what draws.
    """
    data = files[name]
    other = files[random_.choice(sorted(files))]
    kinds = list(GENERAL)
    if name.endswith(".parquet"):
        kinds += OF_PARQUET
    elif name.endswith(".arrow"):
        kinds += OF_ARROW
    first = random_.choice(kinds)
    done = [first, *random_.choices(GENERAL, k=random_.choice([0, 0, 0, 0, 1, 3]))]
    packed = PACKED.get(name[name.rindex(".") :])
    told = " and ".join(one.__name__ for one in done)
    if packed and random_.random() < 0.6:
        return f"{told} before it is compressed", packed(_changed(data, other, done, random_))
    return told, _changed(packed(data) if packed else data, other, done, random_)


def _changed(data: bytes, other: bytes, kinds: list[Mutation], random_: Random) -> bytes:
    for change in kinds:
        data = change(data, other, random_)
    return data
