"""The search as LLVM code for x86's SHA instructions, with a few interleaved nonces.

One instruction makes two rounds, but its result has a latency of four cycles: so several nonces are
hashed in turn. With Intel's names and order of words, a state is two vectors, one of f, e, b, a and
one of h, g, d, c, lowest lane first.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Final, TypeAlias

from llvmlite import ir

from chain.mining.search_loop import (
    END_BIT,
    FIRST_BITS,
    I32,
    MIDSTATE_WORDS,
    SECOND_BITS,
    Value,
    constant,
    intrinsic,
    search_module,
)
from chain.mining.sha256 import ROUND_CONSTANTS, START

_FOUR: Final = ir.VectorType(I32, 4)
_GROUPS: Final = len(ROUND_CONSTANTS) // 4  # groups of four rounds, whose words are one vector
_BLOCK_GROUPS: Final = 4

State: TypeAlias = tuple[Value, Value]  # (f, e, b, a) and (h, g, d, c)


def sha_code(streams: int) -> str:
    """Return the search (see search_module) with `streams` interleaved nonces."""

    def hits(builder: ir.IRBuilder, uniform: Sequence[Value], base: Value, top: Value) -> Value:
        code = _ShaCode(builder)
        first = builder.trunc(base, I32)
        nonces = [builder.add(first, constant(I32, number)) for number in range(streams)]
        lasts = code.last_hash_words(uniform, nonces)
        below = (builder.icmp_unsigned("<=", last, top) for last in lasts)
        kind = ir.IntType(streams)
        bits = [
            builder.shl(builder.zext(bit, kind), constant(kind, number))
            for number, bit in enumerate(below)
        ]
        return reduce(builder.or_, bits)

    return search_module(streams, hits)


class _ShaCode:
    """Emits SHA-256 of several blocks, interleaved."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self._builder = builder

    def last_hash_words(self, uniform: Sequence[Value], nonces: Sequence[Value]) -> list[Value]:
        """Return, for each nonce, the most significant word of the block id."""
        builder = self._builder
        midstate, tail = uniform[:MIDSTATE_WORDS], uniform[MIDSTATE_WORDS:]
        swapped = (intrinsic(builder, "llvm.bswap.i32", nonce) for nonce in nonces)
        padding = [_numbers(END_BIT, 0, 0, 0), _numbers(0, 0, 0, 0), _numbers(0, 0, 0, FIRST_BITS)]
        blocks = [[self._vector([*tail, nonce]), *padding] for nonce in swapped]
        before = self._state(midstate)
        after = self._rounds(before, blocks)
        padding = [_numbers(END_BIT, 0, 0, 0), _numbers(0, 0, 0, SECOND_BITS)]
        blocks = [[*self._digest(before, state), *padding] for state in after]
        states = self._rounds(self._state(START), blocks, is_last=True)
        # f after round 62 is h after round 64.
        words = (builder.extract_element(state[0], constant(I32, 0)) for state in states)
        sums = (builder.add(word, constant(I32, START[7])) for word in words)
        return [intrinsic(builder, "llvm.bswap.i32", word) for word in sums]

    def _rounds(
        self, start: State, blocks: Sequence[list[Value]], *, is_last: bool = False
    ) -> list[State]:
        """Return the working words of each block after 64 rounds, or with `is_last` after 62.

        The blocks, four vectors of words each, grow by the words of the schedule.
        """
        states = [start] * len(blocks)
        for group in range(_GROUPS):
            if group >= _BLOCK_GROUPS:
                for words in blocks:
                    words.append(self._scheduled(words))
            constants = _numbers(*ROUND_CONSTANTS[4 * group : 4 * group + 4])
            sums = [self._builder.add(words[group], constants) for words in blocks]
            states = [self._two(state, two) for state, two in zip(states, sums, strict=True)]
            if is_last and group == _GROUPS - 1:
                break
            sums = [self._pick(two, two, (2, 3, 2, 3)) for two in sums]
            states = [self._two(state, two) for state, two in zip(states, sums, strict=True)]
        return states

    def _two(self, state: State, words: Value) -> State:
        """Return the state after two rounds with the two lowest of these words."""
        upper, lower = state
        name = "llvm.x86.sha256rnds2"
        return intrinsic(self._builder, name, lower, upper, words), upper

    def _scheduled(self, words: Sequence[Value]) -> Value:
        """Return the next four words of the schedule."""
        oldest, older, newer, newest = words[-_BLOCK_GROUPS:]
        partial = intrinsic(self._builder, "llvm.x86.sha256msg1", oldest, older)
        partial = self._builder.add(partial, self._pick(newer, newest, (1, 2, 3, 4)))
        return intrinsic(self._builder, "llvm.x86.sha256msg2", partial, newest)

    def _digest(self, before: State, after: State) -> list[Value]:
        """Return the words of a hash, a to d and e to h."""
        upper, lower = (self._builder.add(*pair) for pair in zip(before, after, strict=True))
        return [self._pick(upper, lower, order) for order in ((3, 2, 7, 6), (1, 0, 5, 4))]

    def _state(self, words: Sequence["int | Value"]) -> State:
        a, b, c, d, e, f, g, h = words
        return self._vector([f, e, b, a]), self._vector([h, g, d, c])

    def _vector(self, words: Sequence["int | Value"]) -> Value:
        if all(isinstance(word, int) for word in words):
            return _numbers(*words)
        vector = ir.Constant(_FOUR, ir.Undefined)
        for lane, word in enumerate(words):
            vector = self._builder.insert_element(vector, word, constant(I32, lane))
        return vector

    def _pick(self, one: Value, other: Value, order: Sequence[int]) -> Value:
        return self._builder.shuffle_vector(one, other, _numbers(*order))


def _numbers(*words: int) -> Value:
    return ir.Constant(_FOUR, list(words))
