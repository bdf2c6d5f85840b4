"""Oracles for the hashes: Python integers, no numpy, no wrap-around but the explicit one."""

from __future__ import annotations

from collections.abc import Set

import naive

MASK = 2**64 - 1
SEED = 0x9E3779B97F4A7C15
WORD = 0xD6E8FEB86659FD93
FINAL = 0xFF51AFD7ED558CCD
ROLL = 0xC4CEB9FE1A85EC53


def token_hash(token: str) -> int:
    """The token's UTF-8 in little-endian words of eight bytes, the last padded with zeros."""
    data = token.encode()
    state = SEED
    for at in range(0, len(data), 8):
        state = ((state ^ int.from_bytes(data[at : at + 8], "little")) * WORD) & MASK
        state ^= state >> 32
    state = ((state ^ len(data)) * FINAL) & MASK
    return state ^ (state >> 32)


def shingle_hash(parts: list[str]) -> int:
    """A polynomial of the parts' hashes modulo 2**64, mixed."""
    total = 0
    for part in parts:
        total = (total * ROLL + token_hash(part)) & MASK
    mixed = ((total ^ (total >> 33)) * FINAL) & MASK
    return mixed ^ (mixed >> 32)


def tokens(text: str | None, shingle: str, ignore: Set[str] = frozenset()) -> list[str]:
    """Tokens, or code points of the text with runs of separators as one space."""
    if text is None:
        return []
    if shingle.startswith("word"):
        return naive.tokens(text, ignore)
    return list(naive.char_text(text, ignore))


def units(text: str | None, shingle: str, ignore: Set[str] = frozenset()) -> list[str]:
    """What shingles are made of: tokens, or where there is none the form of the text."""
    return tokens(text, shingle, ignore) or [naive.form(text)] if text and naive.form(text) else []


def shingles(text: str | None, shingle: str, ignore: Set[str] = frozenset()) -> list[int]:
    """Hashes of all shingles in order, repeated ones too."""
    n = int(shingle.partition(":")[2])
    parts = units(text, shingle, ignore)
    if not parts:
        return []
    n = min(n, len(parts))
    return [shingle_hash(parts[i : i + n]) for i in range(len(parts) - n + 1)]


def digest_text(text: str, exact: str, shingle: str, ignore: Set[str] = frozenset()) -> bytes:
    """What the digest of a document of one field is taken of."""
    if exact == "bytes":
        return text.encode()
    if exact == "text":
        return naive.form(text).encode()
    parts = units(text, shingle, ignore)
    return (" " if shingle.startswith("word") else "").join(parts).encode()


def band_keys(signature: list[int], bands: int, rows: int) -> list[int]:
    """One key per band; the band's number is part of it."""
    keys = []
    for band in range(bands):
        key = (0x9E3779B97F4A7C15 * (band + 1)) & MASK
        for value in signature[band * rows : (band + 1) * rows]:
            key = ((key ^ value) * WORD) & MASK
            key ^= key >> 32
        keys.append(key)
    return keys
