"""The rounds of SHA-256, generic over an arithmetic of 32-bit words.

With plain numbers they compute the hash; with LLVM values they emit code (lanes.py).
"""

from collections.abc import Sequence
from typing import Final, Protocol, TypeVar

W = TypeVar("W")


def _primes(count: int) -> list[int]:
    found: list[int] = []
    candidate = 2
    while len(found) < count:
        if all(candidate % prime for prime in found):
            found.append(candidate)
        candidate += 1
    return found


def _root_fraction(number: int, degree: int) -> int:
    """Return the first 32 bits of the fractional part of a root (FIPS 180-4, 4.2.2 and 5.3.3)."""
    scaled = number << 32 * degree
    low, high = 0, 1 << 40
    while high - low > 1:
        middle = (low + high) // 2
        if middle**degree <= scaled:
            low = middle
        else:
            high = middle
    return low & 0xFFFFFFFF


START: Final = tuple(_root_fraction(prime, 2) for prime in _primes(8))
ROUND_CONSTANTS: Final = tuple(_root_fraction(prime, 3) for prime in _primes(64))
ROUNDS: Final = len(ROUND_CONSTANTS)
BLOCK_WORDS: Final = 16


class Words(Protocol[W]):
    """Arithmetic on 32-bit words."""

    def constant(self, number: int) -> W:
        """Return a constant word."""

    def add(self, *terms: W) -> W:
        """Return the sum modulo 2^32."""

    def xor(self, one: W, other: W) -> W:
        """Return the bitwise exclusive or."""

    def both(self, one: W, other: W) -> W:
        """Return the bitwise and."""

    def rotate(self, word: W, bits: int) -> W:
        """Return the word rotated right."""

    def shift(self, word: W, bits: int) -> W:
        """Return the word shifted right."""


class Numbers:
    """Words that are plain numbers."""

    def constant(self, number: int) -> int:
        return number

    def add(self, *terms: int) -> int:
        return sum(terms) & 0xFFFFFFFF

    def xor(self, one: int, other: int) -> int:
        return one ^ other

    def both(self, one: int, other: int) -> int:
        return one & other

    def rotate(self, word: int, bits: int) -> int:
        return (word >> bits | word << (32 - bits)) & 0xFFFFFFFF

    def shift(self, word: int, bits: int) -> int:
        return word >> bits


def run_rounds(words: Words[W], state: Sequence[W], schedule: list[W], rounds: range) -> list[W]:
    """Return the eight working words a to h after these rounds, given those before.

    `schedule` starts with the block's 16 words; the rounds append to it. After all rounds,
    `compress` adds the initial state (FIPS 180-4, 6.2.2).
    """
    working = list(state)
    for index in rounds:
        if index == len(schedule):
            schedule.append(next_word(words, schedule[-BLOCK_WORDS:]))
        constant = words.constant(ROUND_CONSTANTS[index])
        working = run_round(words, working, constant, schedule[index])
    return working


def next_word(words: Words[W], last: Sequence[W]) -> W:
    """Return the word of the schedule that follows the `last` 16."""
    return words.add(
        _small_sigma(words, last[14], 17, 19, 10),
        last[9],
        _small_sigma(words, last[1], 7, 18, 3),
        last[0],
    )


def run_round(words: Words[W], state: Sequence[W], constant: W, word: W) -> list[W]:
    """Return the eight working words after one round."""
    a, b, c, d, e, f, g, h = state
    # The terms that are known first are added first: the next round depends on the new e.
    early = words.add(word, constant, h)
    choice = words.xor(g, words.both(e, words.xor(f, g)))
    first = words.add(early, choice, _big_sigma(words, e, 6, 11, 25))
    majority = words.xor(b, words.both(words.xor(a, b), words.xor(b, c)))
    second = words.add(_big_sigma(words, a, 2, 13, 22), majority)
    return [words.add(first, second), a, b, c, words.add(d, first), e, f, g]


def compress(words: Words[W], state: Sequence[W], block: Sequence[W]) -> list[W]:
    """Return the state after a block of 16 words."""
    working = run_rounds(words, state, list(block), range(ROUNDS))
    return [words.add(*pair) for pair in zip(state, working, strict=True)]


def _big_sigma(words: Words[W], word: W, one: int, two: int, three: int) -> W:
    rotated = words.xor(words.rotate(word, one), words.rotate(word, two))
    return words.xor(rotated, words.rotate(word, three))


def _small_sigma(words: Words[W], word: W, one: int, two: int, three: int) -> W:
    rotated = words.xor(words.rotate(word, one), words.rotate(word, two))
    return words.xor(rotated, words.shift(word, three))
