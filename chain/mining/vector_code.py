"""The search as LLVM code in which each word is a vector with one nonce a lane.

What no nonce changes stays scalar, and LLVM moves it out of the loop; what is constant is never
emitted.
"""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Final, TypeAlias

from llvmlite import ir

from chain.mining.search_loop import (
    END_BIT,
    FIRST_BITS,
    I32,
    MIDSTATE_WORDS,
    SECOND_BITS,
    constant,
    intrinsic,
    search_module,
)
from chain.mining.sha256 import START, Numbers, compress, run_rounds

Word: TypeAlias = "int | ir.Value"  # a number, a scalar (the same in all lanes), or a vector

_LAST_WORD_ROUNDS: Final = 61  # the last word of a hash is e of so many rounds, moved on thrice
_E: Final = 4


class _Lanes:
    """Words as LLVM values: scalars are the same in all lanes, vectors are not."""

    def __init__(self, builder: ir.IRBuilder, vector: ir.VectorType) -> None:
        self._builder = builder
        self._vector = vector

    def constant(self, number: int) -> Word:
        """Return the number, which becomes code only beside another kind of word."""
        return number

    def add(self, *terms: Word) -> Word:
        """Return the sum modulo 2^32, of numbers first, then of scalars, then of vectors."""
        number = sum(term for term in terms if isinstance(term, int)) & 0xFFFFFFFF
        values = [term for term in terms if not isinstance(term, int)]
        if number or not values:
            values.insert(0, number)
        return reduce(partial(self._join, self._builder.add), sorted(values, key=self._is_vector))

    def xor(self, one: Word, other: Word) -> Word:
        """Return the bitwise exclusive or."""
        if isinstance(one, int) and isinstance(other, int):
            return one ^ other
        return self._join(self._builder.xor, one, other)

    def both(self, one: Word, other: Word) -> Word:
        """Return the bitwise and."""
        if isinstance(one, int) and isinstance(other, int):
            return one & other
        return self._join(self._builder.and_, one, other)

    def rotate(self, word: Word, bits: int) -> Word:
        """Return the word rotated right."""
        if isinstance(word, int):
            return Numbers().rotate(word, bits)
        return self._intrinsic("llvm.fshr", word, word, constant(word.type, bits))

    def shift(self, word: Word, bits: int) -> Word:
        """Return the word shifted right."""
        if isinstance(word, int):
            return word >> bits
        return self._builder.lshr(word, constant(word.type, bits))

    def swap(self, word: Word) -> Word:
        """Return the word with its bytes reversed."""
        return self._intrinsic("llvm.bswap", word)

    def spread(self, word: Word) -> Word:
        """Return a vector with the word in all lanes."""
        if isinstance(word, int):
            return constant(self._vector, word)
        if self._is_vector(word):
            return word
        builder, nowhere = self._builder, ir.Constant(self._vector, ir.Undefined)
        first = builder.insert_element(nowhere, word, constant(I32, 0))
        order = ir.Constant(ir.VectorType(I32, self._vector.count), None)
        return builder.shuffle_vector(first, nowhere, order)

    def _intrinsic(self, name: str, *words: ir.Value) -> Word:
        kind = words[0].type
        width = f"v{kind.count}i32" if self._is_vector(words[0]) else "i32"
        return intrinsic(self._builder, f"{name}.{width}", *words)

    def _is_vector(self, word: Word) -> bool:
        return not isinstance(word, int) and word.type == self._vector

    def _join(self, operation: Callable[[Word, Word], Word], one: Word, other: Word) -> Word:
        if self._is_vector(one) or self._is_vector(other):
            return operation(self.spread(one), self.spread(other))
        return operation(_scalar(one), _scalar(other))


def _scalar(word: Word) -> Word:
    return constant(I32, word) if isinstance(word, int) else word


def vector_code(lanes: int) -> str:
    """Return the search (see search_module) in vectors of `lanes` words."""
    vector = ir.VectorType(I32, lanes)

    def hits(builder: ir.IRBuilder, uniform: Sequence[Word], base: Word, top: Word) -> Word:
        words = _Lanes(builder, vector)
        numbers = ir.Constant(vector, list(range(lanes)))
        nonces = builder.add(words.spread(builder.trunc(base, I32)), numbers)
        last = words.swap(_last_hash_word(words, uniform, words.swap(nonces)))
        below = builder.icmp_unsigned("<=", last, words.spread(top))
        return builder.bitcast(below, ir.IntType(lanes))

    return search_module(lanes, hits)


def _last_hash_word(words: _Lanes, uniform: Sequence[Word], nonces: Word) -> Word:
    """Return the last word of SHA-256d over a header with these nonces, as SHA-256 counts words."""
    midstate, tail = uniform[:MIDSTATE_WORDS], uniform[MIDSTATE_WORDS:]
    first_padding = [END_BIT, *[0] * 10, FIRST_BITS]
    digest = compress(words, midstate, [*tail, nonces, *first_padding])
    second_padding = [END_BIT, *[0] * 6, SECOND_BITS]
    state = run_rounds(words, START, [*digest, *second_padding], _LAST_WORD_ROUNDS)
    return words.add(state[_E], START[7])
