"""Real text, cut into sentences of *units*: a unit is one token with the separators after it.

Tokens are an approximation of the engine's, good enough to aim edits with. Patterns are of UTF-8.
"""

import re
from collections import Counter, namedtuple
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

DOCUMENT_CAP = 16_384  # bytes read of one source document, so that no giant dominates the pool
SHORTEST, LONGEST = 4, 40  # units of a sentence
LONGEST_UNIT = 100  # bytes
GROUP_SENTENCES = 2_000  # languages with fewer sentences share one group

PATTERNS = {
    "separator": r"""[^0-9A-Za-z_\x80-\xff]|\xc2[^\xaa\xb5\xba]|\xc3[\x97\xb7]|\xe2[\x80-\xaf].
        |\xe3\x80.|\xef\xbc[\x80-\x8f\x9a-\xa0]|\xf0\x9f..""",
    "mark": r"\xe0(?:[\xb8\xba][\xb1\xb4-\xbf]|[\xb9\xbb][\x87-\x8e])",  # Thai, Lao
    # Thai, Lao, Tibetan; Myanmar, Khmer; Kana; Han: each code point is a token, with its marks
    "alone": r"""\xe0[\xb8-\xbf].|\xe1[\x80-\x82\x9e\x9f].|\xe3[^\x80].|[\xe4-\xe9]..
        |\xf0[^\x9f]..|[\xf1-\xff]...""",
    "letter": r"[0-9A-Za-z_]|(?!{separator}|{alone})(?:[\xc2-\xdf].|[\xe0-\xef]..)",
    "token": r"{letter}(?:{letter}|{mark})*+|(?!{mark}){alone}{mark}*+|{mark}++",
    "unit": r"{token}{separator}*+",
    "end": r"[!.?](?:[\x00-\x22]|(?!{separator}))|\xe3\x80\x82|\xef\xbc[\x81\x9f]"
    r"|\n(?:(?!\n){separator})*+\n",
    # the fewest units of which the last ends a sentence, or as many as there are at most
    "sentence": r"{unit}{{3,39}}?{token}(?={separator}*?{end}){separator}*+|{unit}{{1,40}}+",
}
_made: dict[str, str] = {}
for _name, _pattern in PATTERNS.items():
    _made[_name] = f"(?:{_pattern.format(**_made) if '{' in _pattern else _pattern})"
UNITS, SENTENCES = (
    re.compile(_made[name].encode(), re.DOTALL | re.VERBOSE) for name in ("unit", "sentence")
)


# Group g of the sentences is [groups[g], groups[g + 1]): 0 is ASCII, 1 English but not ASCII, each
# further one another language. `starts` has the first byte of each unit in `data`, `sentences` the
# first unit of each sentence, both with the end; `tags` has the number of each sentence's source.
Pool = namedtuple("Pool", "data starts sentences groups tags")


def read_pool(source: Path) -> tuple[Pool, list[str]]:
    """The distinct sentences of a folder of English documents and of the text beside it, by group.

    `multilingual.parquet` beside the folder, where it is, has text of other languages. Returns the
    names of the sources as well.
    """
    table = pq.read_table(source, columns=["text", "source"])
    table = table.append_column("lang", pa.array(["en"] * len(table)))
    documents = zip(*(table[name].to_pylist() for name in table.column_names), strict=True)
    if (beside := source.parent / "multilingual.parquet").exists():
        table = pq.read_table(beside, columns=["text", "source", "lang"])
        more = (table[name].cast(pa.string()).to_pylist() for name in table.column_names)
        documents = [*documents, *zip(*more, strict=True)]
    tags: dict[str, int] = {}
    seen: dict[bytes, tuple[str, int, bytes]] = {}
    for text, tag, language in documents:
        number = tags.setdefault(tag, len(tags))
        data = (text or "").encode()[:DOCUMENT_CAP].decode(errors="ignore").encode()
        for sentence in SENTENCES.findall(data):
            if sentence not in seen:
                sizes = [len(unit) for unit in UNITS.findall(sentence)]
                good = len(sizes) >= SHORTEST and max(sizes) <= LONGEST_UNIT
                seen[sentence] = (language, number, bytes(sizes) if good else b"")
    rest = Counter(language for language, _, sizes in seen.values() if sizes)
    large = sorted(name for name in rest if rest[name] >= GROUP_SENTENCES and name != "en")

    def group(one: tuple[bytes, tuple[str, int, bytes]]) -> int:
        sentence, (language, _, _) = one
        if language == "en":
            return int(not sentence.isascii())
        return 2 + (large.index(language) if language in large else len(large))

    chosen = sorted(((key, value) for key, value in seen.items() if value[2]), key=group)
    texts = [text if text[-1] <= 0x20 else text + b" " for text, _ in chosen]
    sizes = np.frombuffer(b"".join(sizes for _, (_, _, sizes) in chosen), np.uint8).astype(np.int32)
    sentences = np.cumsum([0] + [len(sizes) for _, (_, _, sizes) in chosen], dtype=np.int32)
    sizes[sentences[1:] - 1] += [
        text is not one for text, (one, _) in zip(texts, chosen, strict=True)
    ]
    groups = np.array([group(one) for one in chosen])
    pool = Pool(
        data=np.frombuffer(b"".join(texts), np.uint8),
        starts=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32),
        sentences=sentences,
        groups=np.searchsorted(groups, np.arange(groups.max() + 2)).astype(np.int32),
        tags=np.array([number for _, (_, number, _) in chosen], np.int32),
    )
    return pool, list(tags)
