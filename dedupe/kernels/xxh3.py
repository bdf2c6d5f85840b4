"""XXH3, 128 bits, default secret, seed 0: equal to `xxhash.xxh3_128` on every input.

Written from the specification (https://github.com/Cyan4973/xxHash, doc/xxhash_spec.md, "XXH3
Algorithm Overview"); here so that a digest costs no Python object per row.
"""

from __future__ import annotations

import numpy as np

from dedupe.kernels import inner, shared, types
from dedupe.kernels.array_types import BYTES
from dedupe.kernels.intrinsics import load64, multiply_high

SECRET = np.frombuffer(
    bytes.fromhex(
        "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
        "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
        "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
        "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
        "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e"
        "2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
    ),
    dtype=np.uint8,
)

P32_1 = np.uint64(0x9E3779B1)
P32_2 = np.uint64(0x85EBCA77)
P32_3 = np.uint64(0xC2B2AE3D)
P64_1 = np.uint64(0x9E3779B185EBCA87)
P64_2 = np.uint64(0xC2B2AE3D27D4EB4F)
P64_3 = np.uint64(0x165667B19E3779F9)
P64_4 = np.uint64(0x85EBCA77C2B2AE63)
P64_5 = np.uint64(0x27D4EB2F165667C5)
MIX_1 = np.uint64(0x165667919E3779F9)
MIX_2 = np.uint64(0x9FB21C651E98DF25)
LOW32 = np.uint64(0xFFFFFFFF)
"""Constants of the specification."""


@inner
def _shift(value, bits):
    return value >> np.uint64(bits)


@inner
def _avalanche(h):
    h = (h ^ _shift(h, 37)) * MIX_1
    return h ^ _shift(h, 32)


@inner
def _avalanche64(h):
    h = (h ^ _shift(h, 33)) * P64_2
    h = (h ^ _shift(h, 29)) * P64_3
    return h ^ _shift(h, 32)


@inner
def _fold(left, right):
    return (left * right) ^ multiply_high(left, right)


@inner
def _swap32(x):
    x = ((x & np.uint64(0x00FF00FF)) << np.uint64(8)) | (_shift(x, 8) & np.uint64(0x00FF00FF))
    return ((x << np.uint64(16)) | _shift(x, 16)) & LOW32


@inner
def _swap64(x):
    return (_swap32(x & LOW32) << np.uint64(32)) | _swap32(_shift(x, 32))


@inner
def _load32(data, at):
    return (
        np.uint64(data[at])
        | (np.uint64(data[at + 1]) << np.uint64(8))
        | (np.uint64(data[at + 2]) << np.uint64(16))
        | (np.uint64(data[at + 3]) << np.uint64(24))
    )


@inner
def _mix16(data, at, secret, s):
    left = load64(data, at) ^ load64(secret, s)
    right = load64(data, at + 8) ^ load64(secret, s + 8)
    return _fold(left, right)


@inner
def _mix32(low, high, data, first, second, secret, s):
    low += _mix16(data, first, secret, s)
    low ^= load64(data, second) + load64(data, second + 8)
    high += _mix16(data, second, secret, s + 16)
    high ^= load64(data, first) + load64(data, first + 8)
    return low, high


@inner
def _up_to_16(data, at, size, secret):
    n = np.uint64(size)
    if size > 8:
        flip_low = load64(secret, 32) ^ load64(secret, 40)
        flip_high = load64(secret, 48) ^ load64(secret, 56)
        first = load64(data, at)
        last = load64(data, at + size - 8)
        mixed = first ^ last ^ flip_low
        low = mixed * P64_1 + ((n - np.uint64(1)) << np.uint64(54))
        last ^= flip_high
        high = multiply_high(mixed, P64_1) + last + (last & LOW32) * (P32_2 - np.uint64(1))
        low ^= _swap64(high)
        out_low = low * P64_2
        out_high = multiply_high(low, P64_2) + high * P64_2
        return _avalanche(out_low), _avalanche(out_high)
    if size >= 4:
        joined = _load32(data, at) + (_load32(data, at + size - 4) << np.uint64(32))
        keyed = joined ^ load64(secret, 16) ^ load64(secret, 24)
        factor = P64_1 + (n << np.uint64(2))
        low = keyed * factor
        high = multiply_high(keyed, factor)
        high += low << np.uint64(1)
        low ^= _shift(high, 3)
        low = (low ^ _shift(low, 35)) * MIX_2
        low ^= _shift(low, 28)
        return low, _avalanche(high)
    if size > 0:
        joined = (
            (np.uint64(data[at]) << np.uint64(16))
            | (np.uint64(data[at + (size >> 1)]) << np.uint64(24))
            | np.uint64(data[at + size - 1])
            | (n << np.uint64(8))
        )
        swapped = _swap32(joined)
        turned = ((swapped << np.uint64(13)) | _shift(swapped, 19)) & LOW32
        low = joined ^ (_load32(secret, 0) ^ _load32(secret, 4))
        high = turned ^ (_load32(secret, 8) ^ _load32(secret, 12))
        return _avalanche64(low), _avalanche64(high)
    return (
        _avalanche64(load64(secret, 64) ^ load64(secret, 72)),
        _avalanche64(load64(secret, 80) ^ load64(secret, 88)),
    )


@inner
def _up_to_240(data, at, size, secret):
    n = np.uint64(size)
    low = n * P64_1
    high = np.uint64(0)
    end = at + size
    if size <= 128:
        for i in range((size - 1) // 32, -1, -1):
            low, high = _mix32(low, high, data, at + 16 * i, end - 16 * (i + 1), secret, 32 * i)
    else:
        for i in range(4):
            low, high = _mix32(low, high, data, at + 32 * i, at + 32 * i + 16, secret, 32 * i)
        low = _avalanche(low)
        high = _avalanche(high)
        for i in range(4, size // 32):
            low, high = _mix32(
                low, high, data, at + 32 * i, at + 32 * i + 16, secret, 3 + 32 * (i - 4)
            )
        low, high = _mix32(low, high, data, end - 16, end - 32, secret, 136 - 17 - 16)
    out_low = _avalanche(low + high)
    out_high = low * P64_1 + high * P64_4 + n * P64_2
    return out_low, np.uint64(0) - _avalanche(out_high)


@inner
def _lanes(a, b, data, at, secret, s):
    """One pair of accumulator lanes takes 16 bytes."""
    da = load64(data, at)
    db = load64(data, at + 8)
    ka = da ^ load64(secret, s)
    kb = db ^ load64(secret, s + 8)
    a += db + (ka & LOW32) * _shift(ka, 32)
    b += da + (kb & LOW32) * _shift(kb, 32)
    return a, b


@inner
def _scramble(a, secret, s):
    return (a ^ _shift(a, 47) ^ load64(secret, s)) * P32_1


@inner
def _merge(a0, a1, a2, a3, a4, a5, a6, a7, secret, s, start):
    h = start
    h += _fold(a0 ^ load64(secret, s), a1 ^ load64(secret, s + 8))
    h += _fold(a2 ^ load64(secret, s + 16), a3 ^ load64(secret, s + 24))
    h += _fold(a4 ^ load64(secret, s + 32), a5 ^ load64(secret, s + 40))
    h += _fold(a6 ^ load64(secret, s + 48), a7 ^ load64(secret, s + 56))
    return _avalanche(h)


@inner
def _long(data, at, size, secret):
    a0, a1, a2, a3 = P32_3, P64_1, P64_2, P64_3
    a4, a5, a6, a7 = P64_4, P32_2, P64_5, P32_1
    stripes = (size - 1) // 64
    stripe = 0
    for i in range(stripes + 1):
        if i < stripes:
            offset = at + 64 * i
            s = 8 * stripe
        else:
            offset = at + size - 64
            s = 121
        a0, a1 = _lanes(a0, a1, data, offset, secret, s)
        a2, a3 = _lanes(a2, a3, data, offset + 16, secret, s + 16)
        a4, a5 = _lanes(a4, a5, data, offset + 32, secret, s + 32)
        a6, a7 = _lanes(a6, a7, data, offset + 48, secret, s + 48)
        stripe += 1
        if stripe == 16 and i < stripes:
            stripe = 0
            a0 = _scramble(a0, secret, 128)
            a1 = _scramble(a1, secret, 136)
            a2 = _scramble(a2, secret, 144)
            a3 = _scramble(a3, secret, 152)
            a4 = _scramble(a4, secret, 160)
            a5 = _scramble(a5, secret, 168)
            a6 = _scramble(a6, secret, 176)
            a7 = _scramble(a7, secret, 184)
    n = np.uint64(size)
    low = _merge(a0, a1, a2, a3, a4, a5, a6, a7, secret, 11, n * P64_1)
    high = _merge(a0, a1, a2, a3, a4, a5, a6, a7, secret, 117, ~(n * P64_2))
    return low, high


@shared(
    types.UniTuple(types.uint64, 2)(BYTES, types.int64, types.int64, BYTES),
)
def xxh3_128(data, at, size, secret):
    """The (low, high) uint64 halves of the digest of data[at : at + size].

    data: uint8. at, size: int64. secret: `SECRET`.
    """
    if size <= 16:
        return _up_to_16(data, at, size, secret)
    if size <= 240:
        return _up_to_240(data, at, size, secret)
    return _long(data, at, size, secret)
