"""Corpora that a benchmark makes for itself: of real rows, and of words alone, always the same."""

import gzip
import json
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

WORDS = np.array([f"w{np.base_repr(number, 36).lower()}x" for number in range(50_000)])
TURNS = 8  # of a conversation, at most
MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
SHARD_ROWS, SHARD_WORDS = 20, 40
ALPACA, PREFERENCE = ("instruction", "input", "output"), ("prompt", "chosen", "rejected")


def spaced(table: pa.Table | pa.Array, rows: int) -> pa.Table | pa.Array:
    """So many rows of a table or an array, evenly spaced; all of them where they are fewer."""
    rows = min(rows, len(table))
    return table.take(np.arange(rows) * len(table) // max(rows, 1))


def sample(source: Path, target: Path, rows: int, files: int = 4) -> None:
    """Write some rows of a corpus: `files` of several row groups, so that peers share the work."""
    chosen = spaced(pq.read_table(source, columns=["text", "source"]), rows)
    target.mkdir(parents=True)
    ends = (np.arange(files + 1) * len(chosen) // files).tolist()
    for number, (begin, end) in enumerate(pairwise(ends)):
        path, part = target / f"part-{number:05d}.parquet", chosen.slice(begin, end - begin)
        pq.write_table(part, path, compression="zstd", row_group_size=2500)


def with_columns(sources: list[str], target: Path, columns: list[str]) -> None:
    """Copy some columns of Parquet files, in the row groups that they have."""
    target.mkdir()
    for source in sources:
        with pq.ParquetFile(source) as file:
            schema = pa.schema([file.schema_arrow.field(name) for name in columns])
            with pq.ParquetWriter(target / Path(source).name, schema) as writer:
                for group in range(file.num_row_groups):
                    writer.write_table(file.read_row_group(group, columns))


def hold_out(sources: list[str], target: Path, held: Path, one_in: int) -> tuple[int, int]:
    """Copy the texts of Parquet files but for the last of each row group, which go to one file.

    one_in: one of so many rows is held out. Returns the rows that were, and the bytes of their
    text.
    """
    target.mkdir()
    rows = text = 0
    with pq.ParquetWriter(held, pa.schema([("text", pa.large_string())])) as out:
        for source in sources:
            copy = pq.ParquetWriter(target / Path(source).name, out.schema)
            with pq.ParquetFile(source) as file, copy as left:
                for group in range(file.num_row_groups):
                    table = file.read_row_group(group, ["text"]).cast(out.schema)
                    stays = len(table) - len(table) // one_in
                    left.write_table(table.slice(0, stays))
                    out.write_table(table.slice(stays))
                    rows += len(table) - stays
                    text += table.slice(stays).nbytes
    return rows, text


def rows_of_words(path: Path, length: int, size: int) -> None:
    """Rows of `length` words, `size` bytes in all; words are as unequal as those of a language.

    Every third row is an earlier one with some of its words replaced.
    """
    random = np.random.default_rng(length)
    chance = 1 / (np.arange(len(WORDS)) + 10)
    rows = max(size // (length * 6), 10)
    chosen = random.choice(len(WORDS), (rows, length), p=chance / chance.sum())
    for row in range(2, rows, 3):
        earlier = chosen[random.integers(max(row - 10_000, 0), row)]
        replaced = random.random(length) < random.choice([0.0, 0.01, 0.03, 0.1])
        chosen[row] = np.where(replaced, chosen[row], earlier)
    texts = pa.array((" ".join(WORDS[row]) for row in chosen), pa.large_string())
    pq.write_table(pa.table({"text": texts}), path, row_group_size=max(2_000_000 // length, 100))


def small_shards(folder: Path, count: int) -> None:
    """Small Parquet files in which a third of the rows are copies of rows anywhere."""
    random = np.random.default_rng(1)

    def text() -> str:
        return " ".join(f"w{i}" for i in random.integers(0, 5000, SHARD_WORDS))

    copies = [text() for _ in range(1000)]
    folder.mkdir()
    for number in range(count):
        drawn = ((random.random() < 1 / 3, random.integers(0, 1000)) for _ in range(SHARD_ROWS))
        texts = [copies[place] if is_copy else text() for is_copy, place in drawn]
        pq.write_table(pa.table({"text": texts}), folder / f"part-{number:06d}.parquet")


def conversation(text: str) -> list[dict[str, str]]:
    """A text as turns of two people, cut after sentences."""
    parts = text.split(". ")
    step = -(-len(parts) // TURNS)
    turns = [". ".join(parts[at : at + step]) for at in range(0, len(parts), step)]
    return [{"role": ("user", "assistant")[i % 2], "content": t} for i, t in enumerate(turns)]


def structured(corpus: str, chats: Path, instructions: Path) -> None:
    """Write the texts of a Parquet file as conversations, and as instructions in JSON lines."""
    schema = pa.schema([("messages", MESSAGES)])
    with (
        open(instructions, "w", encoding="utf-8") as lines,
        pq.ParquetWriter(chats, schema, compression="zstd") as chat,
    ):
        for batch in pq.ParquetFile(corpus).iter_batches(20_000, columns=["text"]):
            texts = [text or "" for text in batch["text"].to_pylist()]
            rows = [{"messages": conversation(text)} for text in texts]
            chat.write_table(pa.Table.from_pylist(rows, schema=schema))
            for text in texts:
                first, second, rest = [*text.split(". ", 2), "", ""][:3]
                fields = {"instruction": first, "input": second, "output": rest, "source": "made"}
                lines.write(json.dumps(fields, ensure_ascii=False) + "\n")


def windows_of_words(data: Path, target: Path, count: int, words: int = 25) -> None:
    """So many evenly spaced windows of words of instructions, chats and preferences, as items.

    Of texts of ASCII alone, so that a word is one. Every fifth word is another one at random: so
    many windows would overlap, and have few shingles that are not of another one, too.
    """
    with gzip.open(data / "alpaca.jsonl.gz", "rt", encoding="utf-8") as file:
        texts = [one[name] for one in map(json.loads, file) for name in ALPACA]
    with (data / "chat.jsonl").open(encoding="utf-8") as file:
        texts += [turn["content"] for one in map(json.loads, file) for turn in one["messages"]]
    with (data / "preference.jsonl").open(encoding="utf-8") as file:
        texts += [one[name] for one in map(json.loads, file) for name in PREFERENCE]
    said = [word for text in texts if text and text.isascii() for word in text.split()]
    starts = (np.arange(count) * (len(said) - words) // count).tolist()
    others = np.random.default_rng(words).integers(0, len(said), (count, len(range(0, words, 5))))
    items = []
    for at, drawn in zip(starts, others.tolist(), strict=True):
        item = said[at : at + words]
        item[::5] = [said[other] for other in drawn]
        items.append(" ".join(item))
    _write_items(target, items)


def slices_of_rows(sources: list[str], target: Path, count: int, words: int = 25) -> None:
    """So many items that stand in a corpus: words from the middle of evenly spaced rows of it."""
    chosen: list[str] = []
    for number, source in enumerate(sources):
        wanted = count * (number + 1) // len(sources) - count * number // len(sources)
        texts = pq.read_table(source, columns=["text"])["text"]
        long = pc.filter(texts, pc.greater(pc.utf8_length(texts), 12 * words))
        for text in spaced(long.combine_chunks(), wanted).to_pylist():
            said = text.split()
            middle = max((len(said) - words) // 2, 0)
            chosen.append(" ".join(said[middle : middle + words]))
    _write_items(target, chosen)


def _write_items(target: Path, questions: Iterable[str]) -> None:
    pq.write_table(pa.table({"question": pa.array(questions, pa.large_string())}), target)
