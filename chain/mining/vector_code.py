"""The search as LLVM code in which each word is a vector with one nonce a lane.

Words that do not depend on the nonce stay scalar, and LLVM moves them out of the loop; constants
need no code. The later rounds, in which no word is constant, may be a function that is called three
times: with narrow vectors, 122 inlined rounds exceed the processor's cache of decoded instructions.
"""

from collections.abc import Sequence
from typing import Final

from llvmlite import ir

from chain.llvm.lanes import Lanes, Word
from chain.llvm.sha256 import (
    BLOCK_WORDS,
    ROUND_CONSTANTS,
    ROUNDS,
    START,
    next_word,
    run_round,
    run_rounds,
)
from chain.llvm.values import I32, constant
from chain.mining.search_loop import (
    END_BIT,
    FIRST_BITS,
    MIDSTATE_WORDS,
    SECOND_BITS,
    search_module,
)

_LAST_WORD_ROUNDS: Final = 61  # the last word of a hash is the e of this round, shifted three times
_E: Final = 4
SPECIAL_ROUNDS: Final = 32  # the first rounds, in which some words are constant


def vector_code(lanes: int, in_a_row: int) -> str:
    """Return the search (see search_module) in vectors of `lanes` words.

    The first `in_a_row` rounds of a block, at least SPECIAL_ROUNDS, are inlined; every 16 of the
    others are a call.
    """
    vector = ir.VectorType(I32, lanes)

    def hits(builder: ir.IRBuilder, uniform: Sequence[Word], base: Word, top: Word) -> Word:
        code = _VectorCode(builder, vector, in_a_row)
        words = code.words
        numbers = ir.Constant(vector, list(range(lanes)))
        nonces = builder.add(words.spread(builder.trunc(base, I32)), numbers)
        last = words.swap(code.last_hash_word(uniform, words.swap(nonces)))
        below = builder.icmp_unsigned("<=", last, words.spread(top))
        return builder.bitcast(below, ir.IntType(lanes))

    return search_module(lanes, hits)


class _VectorCode:
    """Emits SHA-256d."""

    def __init__(self, builder: ir.IRBuilder, vector: ir.VectorType, in_a_row: int) -> None:
        self.words = Lanes(builder, vector)
        self._in_a_row = in_a_row
        self._builder = builder
        self._constants = _round_constants(builder.module, vector)
        self._sixteen = _sixteen_rounds(builder.module, vector)
        with builder.goto_entry_block():
            self._schedule = builder.alloca(vector, BLOCK_WORDS)

    def last_hash_word(self, uniform: Sequence[Word], nonces: Word) -> Word:
        """Return the last word, in SHA-256's order, of SHA-256d of a header with these nonces."""
        midstate, tail = uniform[:MIDSTATE_WORDS], uniform[MIDSTATE_WORDS:]
        first_padding = [END_BIT, *[0] * 10, FIRST_BITS]
        first = self._run_rounds(midstate, [*tail, nonces, *first_padding], ROUNDS)
        digest = [self.words.add(*pair) for pair in zip(midstate, first, strict=True)]
        second_padding = [END_BIT, *[0] * 6, SECOND_BITS]
        second = self._run_rounds(START, [*digest, *second_padding], _LAST_WORD_ROUNDS)
        return self.words.add(second[_E], START[7])

    def _run_rounds(self, state: Sequence[Word], block: list[Word], rounds: int) -> list[Word]:
        words, builder, schedule = self.words, self._builder, list(block)
        working = run_rounds(words, state, schedule, range(min(self._in_a_row, rounds)))
        for place, word in zip(self._places(), schedule[-BLOCK_WORDS:], strict=True):
            builder.store(words.spread(word), place)
        while len(schedule) + BLOCK_WORDS <= rounds:
            constants = builder.gep(self._constants, [constant(I32, len(schedule))])
            vectors = map(words.spread, working)
            result = builder.call(self._sixteen, [constants, self._schedule, *vectors])
            working = [builder.extract_value(result, index) for index in range(len(working))]
            schedule += map(builder.load, self._places())
        return run_rounds(words, working, schedule, range(len(schedule), rounds))

    def _places(self) -> list[ir.Value]:
        return [
            self._builder.gep(self._schedule, [constant(I32, index)])
            for index in range(BLOCK_WORDS)
        ]


def _round_constants(module: ir.Module, vector: ir.VectorType) -> ir.Value:
    """Return a pointer to the constants of all rounds, each in all lanes."""
    kind = ir.ArrayType(vector, ROUNDS)
    table = ir.GlobalVariable(module, kind, "constants")
    table.initializer = ir.Constant(kind, [constant(vector, number) for number in ROUND_CONSTANTS])
    table.global_constant = True
    table.linkage = "internal"
    return table.bitcast(vector.as_pointer())


def _sixteen_rounds(module: ir.Module, vector: ir.VectorType) -> ir.Function:
    """Add the function (constants, last 16 words of the schedule, state) -> state.

    It runs 16 rounds, and replaces the last 16 words of the schedule by the next.
    """
    pointer, state = vector.as_pointer(), [vector] * len(START)
    result = ir.LiteralStructType(state)
    function = ir.Function(module, ir.FunctionType(result, [pointer, pointer, *state]), "sixteen")
    function.linkage = "internal"
    function.attributes.add("noinline")
    constants, schedule, *working = function.args
    constants.add_attribute("noalias")
    schedule.add_attribute("noalias")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    words = Lanes(builder, vector)
    places = [builder.gep(schedule, [constant(I32, index)]) for index in range(BLOCK_WORDS)]
    for index in range(BLOCK_WORDS):
        last = [builder.load(place) for place in (*places[index:], *places[:index])]
        word = next_word(words, last)
        builder.store(word, places[index])
        round_constant = builder.load(builder.gep(constants, [constant(I32, index)]))
        working = run_round(words, working, round_constant, word)
    values = ir.Constant(result, ir.Undefined)
    for index, value in enumerate(working):
        values = builder.insert_value(values, value, index)
    builder.ret(values)
    return function
