"""Oracles for the hashes: Python integers, no numpy, no wrap-around but the explicit one."""

from __future__ import annotations

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


def units(text: str | None, shingle: str) -> list[str]:
    """What shingles are made of: tokens, or code points of the text with runs collapsed."""
    if text is None:
        return []
    return naive.tokens(text) if shingle.startswith("word") else list(naive.char_text(text))


def shingles(text: str | None, shingle: str) -> list[int]:
    """Hashes of all shingles in order, repeated ones too."""
    n = int(shingle.partition(":")[2])
    parts = units(text, shingle)
    if not parts:
        return []
    n = min(n, len(parts))
    return [shingle_hash(parts[i : i + n]) for i in range(len(parts) - n + 1)]


def digest_text(text: str, shingle: str) -> bytes:
    """What the digest of a document is taken of."""
    joined = " ".join(naive.tokens(text)) if shingle.startswith("word") else naive.char_text(text)
    return joined.encode()


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
