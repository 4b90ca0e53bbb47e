"""32-bit words as LLVM values: numbers, scalars, and vectors with one nonce a lane."""

from collections.abc import Callable
from functools import partial, reduce
from typing import TypeAlias

from llvmlite import ir

from chain.llvm.sha256 import Numbers
from chain.llvm.values import I32, constant, intrinsic

Word: TypeAlias = "int | ir.Value"  # a number, a scalar (the same in all lanes), or a vector


class Lanes:
    """Emits code for words; words that are equal in all lanes stay scalar, numbers need no code."""

    def __init__(self, builder: ir.IRBuilder, vector: ir.VectorType | None) -> None:
        """Emit with `builder`; without the type of a vector, all words are scalars."""
        self._builder = builder
        self._vector = vector

    def constant(self, number: int) -> Word:
        """Return the number itself; it becomes code only with another kind of word."""
        return number

    def add(self, *terms: Word) -> Word:
        """Return the sum modulo 2^32, of numbers first, then of scalars, then of vectors."""
        number = sum(term for term in terms if isinstance(term, int)) & 0xFFFFFFFF
        values = [term for term in terms if not isinstance(term, int)]
        if number or not values:
            values.insert(0, number)
        return reduce(partial(self._join, self._builder.add), sorted(values, key=self._is_vector))

    def xor(self, one: Word, other: Word) -> Word:
        if isinstance(one, int) and isinstance(other, int):
            return one ^ other
        return self._join(self._builder.xor, one, other)

    def both(self, one: Word, other: Word) -> Word:
        if isinstance(one, int) and isinstance(other, int):
            return one & other
        return self._join(self._builder.and_, one, other)

    def rotate(self, word: Word, bits: int) -> Word:
        if isinstance(word, int):
            return Numbers().rotate(word, bits)
        return self._intrinsic("llvm.fshr", word, word, constant(word.type, bits))

    def shift(self, word: Word, bits: int) -> Word:
        if isinstance(word, int):
            return word >> bits
        return self._builder.lshr(word, constant(word.type, bits))

    def swap(self, word: Word) -> Word:
        """Return the word with its bytes reversed."""
        return self._intrinsic("llvm.bswap", word)

    def spread(self, word: Word) -> Word:
        """Return a vector with the word in all lanes."""
        assert self._vector is not None, "there are vectors"
        if isinstance(word, int):
            return constant(self._vector, word)
        if self._is_vector(word):
            return word
        builder, undefined = self._builder, ir.Constant(self._vector, ir.Undefined)
        first = builder.insert_element(undefined, word, constant(I32, 0))
        order = ir.Constant(ir.VectorType(I32, self._vector.count), None)
        return builder.shuffle_vector(first, undefined, order)

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
