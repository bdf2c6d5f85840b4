"""Corpora that a benchmark makes for itself: of real rows, and of words alone.

    python -m benchmarks.corpus.small ../shared/data/english-docs corpus20k --rows 20000

writes evenly spaced rows of a corpus, in order, with the columns `text` and `source`: several files
with several row groups each, so that every peer can share the work. All are the same each time.
"""

import argparse
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP = 2500
WORDS = np.array([f"w{np.base_repr(number, 36).lower()}x" for number in range(50_000)])
TURNS = 8
"""Of a conversation, at most."""
MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
SHARD_ROWS, SHARD_WORDS = 20, 40


def spaced(table: pa.Table | pa.Array, rows: int) -> pa.Table | pa.Array:
    """So many rows of a table or an array, evenly spaced; all of them where they are fewer."""
    rows = min(rows, len(table))
    return table.take(np.arange(rows) * len(table) // max(rows, 1))


def sample(source: Path, target: Path, rows: int, files: int = 4) -> pa.Table:
    """Write `rows` of the corpus in `source` to `target`; returns them."""
    paths = sorted(source.glob("*.parquet"))
    whole = pa.concat_tables(pq.read_table(path, columns=["text", "source"]) for path in paths)
    chosen = spaced(whole, rows)
    target.mkdir(parents=True)
    ends = (np.arange(files + 1) * len(chosen) // files).tolist()
    for number, (begin, end) in enumerate(pairwise(ends)):
        path, part = target / f"part-{number:05d}.parquet", chosen.slice(begin, end - begin)
        pq.write_table(part, path, compression="zstd", row_group_size=ROW_GROUP)
    return chosen


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


def instruction(text: str) -> dict[str, str]:
    """A text as three fields."""
    first, second, rest = [*text.split(". ", 2), "", ""][:3]
    return {"instruction": first, "input": second, "output": rest, "source": "made"}


def structured(corpus: list[str], chats: Path, instructions: Path) -> None:
    """Write the texts of Parquet files as conversations, and as instructions in JSON lines."""
    schema = pa.schema([("messages", MESSAGES)])
    with (
        open(instructions, "w", encoding="utf-8") as lines,
        pq.ParquetWriter(chats, schema, compression="zstd") as chat,
    ):
        for path in corpus:
            for batch in pq.ParquetFile(path).iter_batches(20_000, columns=["text"]):
                texts = [text or "" for text in batch.column(0).to_pylist()]
                rows = [{"messages": conversation(text)} for text in texts]
                chat.write_table(pa.Table.from_pylist(rows, schema=schema))
                made = (json.dumps(instruction(text), ensure_ascii=False) for text in texts)
                lines.writelines(f"{line}\n" for line in made)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("source", type=Path, help="folder of Parquet files")
    parser.add_argument("target", type=Path, help="folder to write, new")
    parser.add_argument("--rows", type=int, default=20_000)
    known = parser.parse_args()
    chosen = sample(known.source, known.target, known.rows)
    print(f"{len(chosen):,} rows, {chosen['text'].nbytes / 1e6:.1f} MB of text")


if __name__ == "__main__":
    main()
