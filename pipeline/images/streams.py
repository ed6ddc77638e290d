"""The first numbers of many items' random streams at once.

What `numpy.random.default_rng`, seeded by half of a key's SHA-256, gives for one
key in tens of microseconds, this gives for thousands in NumPy's own loops:
SeedSequence and PCG64 (O'Neill 2014, "PCG: A family of simple fast
space-efficient statistically good algorithms"), written for arrays after
numpy/random/bit_generator.pyx and src/pcg64.  A test holds both to the same
numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
"""(item,) of 64 bits; arithmetic wraps around."""

LOW, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
MULTIPLIER = (np.uint64(0x2360ED051FC65DA4), np.uint64(0x4385DF649FCCF645))  # high, low


def stream_key(seed: int, *key: str) -> str:
    """The text that an item's stream is seeded by, whatever other items there are."""
    return "\0".join([str(seed), *key])


class Streams:
    """PCG64 generators, one an item.

    Args:
        keys: What each belongs to; see `stream_key`.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        digests = b"".join(hashlib.sha256(key.encode()).digest()[:16] for key in keys)
        # SeedSequence takes an integer's words from the lowest on
        entropy = np.frombuffer(digests, ">u4").reshape(-1, 4)[:, ::-1].astype(np.uint32)
        high, low, first, second = _seeded(entropy)
        self._increment = (
            first << np.uint64(1) | second >> np.uint64(63),
            second << np.uint64(1) | np.uint64(1),
        )
        self._state = _add(self._increment, (high, low))
        self._step()

    def where(self, mask: NDArray[np.bool_]) -> Streams:
        """Those of some items, to go on with apart."""
        some = object.__new__(Streams)
        some._state = (self._state[0][mask], self._state[1][mask])
        some._increment = (self._increment[0][mask], self._increment[1][mask])
        return some

    def bits(self) -> Words:
        """The next 64 bits of each."""
        self._step()
        high, low = self._state
        turn, mixed = high >> np.uint64(58), high ^ low
        back = (np.uint64(64) - turn) & np.uint64(63)
        return np.asarray((mixed >> turn) | (mixed << back), np.uint64)

    def random(self) -> NDArray[np.float64]:
        """The next number in [0, 1) of each, as `Generator.random` gives it."""
        return np.asarray((self.bits() >> np.uint64(11)) * (1.0 / 2**53), np.float64)

    def below(self, bound: int) -> NDArray[np.int64]:
        """A number below a small bound for each, as `Generator.integers` gives it (Lemire 2019).

        The last that the streams may be asked for: some have then gone on further than others.
        """
        drawn = np.zeros(len(self._state[0]), dtype=np.int64)
        bits = self.bits()
        halves = [bits & LOW, bits >> HALF]
        refused = np.ones(len(drawn), dtype=bool)
        while refused.any():
            if not halves:
                bits = self.bits()
                halves = [bits & LOW, bits >> HALF]
            product = halves.pop(0) * np.uint64(bound)
            drawn = np.where(refused, product >> HALF, drawn).astype(np.int64)
            refused &= (product & LOW) < np.uint64(2**32 % bound)
        return drawn

    def _step(self) -> None:
        self._state = _add(_times_multiplier(self._state), self._increment)


def _seeded(entropy: NDArray[np.uint32]) -> tuple[Words, Words, Words, Words]:
    """SeedSequence's first four words of 64 bits for (item, 4) words of entropy."""
    const = 0x43B0D7E5

    def hashed(value: NDArray[np.uint32], factor: int) -> NDArray[np.uint32]:
        nonlocal const
        value = value ^ np.uint32(const)
        const = const * factor & 0xFFFFFFFF
        value = value * np.uint32(const)
        return value ^ value >> np.uint32(16)

    pool = [hashed(entropy[:, word], 0x931E8875) for word in range(4)]
    for source in range(4):
        for target in range(4):
            if source != target:
                mixed = np.uint32(0xCA01F9DD) * pool[target]
                mixed = mixed - np.uint32(0x4973F715) * hashed(pool[source], 0x931E8875)
                pool[target] = mixed ^ mixed >> np.uint32(16)
    const = 0x8B51F9DD
    state = [hashed(pool[word % 4], 0x58F38DED).astype(np.uint64) for word in range(8)]
    one, two, three, four = (state[at] | state[at + 1] << HALF for at in range(0, 8, 2))
    return one, two, three, four


def _add(one: tuple[Words, Words], other: tuple[Words, Words]) -> tuple[Words, Words]:
    """Sum of 128-bit numbers, each (high, low)."""
    low = one[1] + other[1]
    return one[0] + other[0] + (low < one[1]), low


def _times_multiplier(number: tuple[Words, Words]) -> tuple[Words, Words]:
    """The lower 128 bits of a 128-bit number times `MULTIPLIER`."""
    (high, low), (by_high, by_low) = number, MULTIPLIER
    one, two = low & LOW, low >> HALF
    three, four = by_low & LOW, by_low >> HALF
    middle = two * three + (one * three >> HALF)
    carried = one * four + (middle & LOW)
    upper = two * four + (middle >> HALF) + (carried >> HALF)
    return upper + low * by_high + high * by_low, low * by_low
