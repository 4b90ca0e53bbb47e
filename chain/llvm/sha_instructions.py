"""SHA-256's compression as LLVM code for x86's SHA instructions, of several blocks interleaved.

One instruction makes two rounds, but its result has a latency of four cycles. With Intel's names
and order of words, a state is two vectors, one of f, e, b, a and one of h, g, d, c, lowest lane
first.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

from llvmlite import ir

from chain.llvm.sha256 import ROUND_CONSTANTS
from chain.llvm.values import I32, Value, constant, intrinsic

NEEDS: Final = ("sha", "sse4.1")  # of the processor's features, by LLVM's names
FOUR: Final = ir.VectorType(I32, 4)
_GROUPS: Final = len(ROUND_CONSTANTS) // 4  # groups of four rounds, whose words are one vector
_BLOCK_GROUPS: Final = 4

State: TypeAlias = tuple[Value, Value]  # (f, e, b, a) and (h, g, d, c)


class ShaInstructions:
    """Emits rounds of SHA-256."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self._builder = builder

    def rounds(
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
            constants = numbers(*ROUND_CONSTANTS[4 * group : 4 * group + 4])
            sums = [self._builder.add(words[group], constants) for words in blocks]
            states = [self._two(state, two) for state, two in zip(states, sums, strict=True)]
            if is_last and group == _GROUPS - 1:
                break
            sums = [self.pick(two, two, (2, 3, 2, 3)) for two in sums]
            states = [self._two(state, two) for state, two in zip(states, sums, strict=True)]
        return states

    def sums(self, before: State, after: State) -> State:
        """Return the state after a block, from its working words."""
        upper, lower = (self._builder.add(*pair) for pair in zip(before, after, strict=True))
        return upper, lower

    def words(self, state: State) -> list[Value]:
        """Return the words of a state, a to d and e to h."""
        return [self.pick(*state, order) for order in ((3, 2, 7, 6), (1, 0, 5, 4))]

    def state(self, words: Sequence["int | Value"]) -> State:
        """Return the state of the words a to h."""
        a, b, c, d, e, f, g, h = words
        return self.vector([f, e, b, a]), self.vector([h, g, d, c])

    def vector(self, words: Sequence["int | Value"]) -> Value:
        """Return a vector of four words."""
        if all(isinstance(word, int) for word in words):
            return numbers(*words)
        vector = ir.Constant(FOUR, ir.Undefined)
        for lane, word in enumerate(words):
            vector = self._builder.insert_element(vector, word, constant(I32, lane))
        return vector

    def pick(self, one: Value, other: Value, order: Sequence[int]) -> Value:
        """Return the vector of these lanes of two vectors; the second's are 4 to 7."""
        return self._builder.shuffle_vector(one, other, numbers(*order))

    def _two(self, state: State, words: Value) -> State:
        """Return the state after two rounds with the two lowest of these words."""
        upper, lower = state
        name = "llvm.x86.sha256rnds2"
        return intrinsic(self._builder, name, lower, upper, words), upper

    def _scheduled(self, words: Sequence[Value]) -> Value:
        """Return the next four words of the schedule."""
        oldest, older, newer, newest = words[-_BLOCK_GROUPS:]
        partial = intrinsic(self._builder, "llvm.x86.sha256msg1", oldest, older)
        partial = self._builder.add(partial, self.pick(newer, newest, (1, 2, 3, 4)))
        return intrinsic(self._builder, "llvm.x86.sha256msg2", partial, newest)


def numbers(*words: int) -> Value:
    """Return a vector of four numbers."""
    return ir.Constant(FOUR, list(words))
