"""The search loop as LLVM code, in which each word is a vector with one nonce a lane.

What no nonce changes stays scalar, and LLVM moves it out of the loop; what is constant is never
emitted.
"""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Final, TypeAlias

from llvmlite import ir

from chain.mining.sha256 import START, Numbers, compress, run_rounds

Word: TypeAlias = "int | ir.Value"  # a number, a scalar (the same in all lanes), or a vector

MIDSTATE_WORDS: Final = 8  # the state after the header's first 64 bytes
TAIL_WORDS: Final = 3  # end of the Merkle root, time, bits
NOTHING: Final = (1 << 64) - 1  # the answer when no lane may be a hit
_I1: Final = ir.IntType(1)
_I32: Final = ir.IntType(32)
_I64: Final = ir.IntType(64)
_END_BIT: Final = 0x80000000  # SHA-256's padding
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
        return self._intrinsic("llvm.fshr", word, word, _constant(word.type, bits))

    def shift(self, word: Word, bits: int) -> Word:
        """Return the word shifted right."""
        if isinstance(word, int):
            return word >> bits
        return self._builder.lshr(word, _constant(word.type, bits))

    def swap(self, word: Word) -> Word:
        """Return the word with its bytes reversed."""
        return self._intrinsic("llvm.bswap", word)

    def spread(self, word: Word) -> Word:
        """Return a vector with the word in all lanes."""
        if isinstance(word, int):
            return _constant(self._vector, word)
        if self._is_vector(word):
            return word
        builder, nowhere = self._builder, ir.Constant(self._vector, ir.Undefined)
        first = builder.insert_element(nowhere, word, _constant(_I32, 0))
        order = ir.Constant(ir.VectorType(_I32, self._vector.count), None)
        return builder.shuffle_vector(first, nowhere, order)

    def _intrinsic(self, name: str, *words: ir.Value) -> Word:
        kind, module = words[0].type, self._builder.module
        full_name = f"{name}.v{kind.count}i32" if self._is_vector(words[0]) else f"{name}.i32"
        function = module.globals.get(full_name)
        if function is None:
            signature = ir.FunctionType(kind, [kind] * len(words))
            function = ir.Function(module, signature, full_name)
        return self._builder.call(function, words)

    def _is_vector(self, word: Word) -> bool:
        return not isinstance(word, int) and word.type == self._vector

    def _join(self, operation: Callable[[Word, Word], Word], one: Word, other: Word) -> Word:
        if self._is_vector(one) or self._is_vector(other):
            return operation(self.spread(one), self.spread(other))
        return operation(_scalar(one), _scalar(other))


def _scalar(word: Word) -> Word:
    return _constant(_I32, word) if isinstance(word, int) else word


def _constant(kind: ir.Type, number: int) -> Word:
    if isinstance(kind, ir.VectorType):
        return ir.Constant(kind, [number] * kind.count)
    return ir.Constant(kind, number)


def search_code(lanes: int) -> str:
    """Return the module with `search(constants, target's top word, start, end) -> nonce`.

    It goes through whole vectors from `start`, and returns the first nonce whose hash's top word
    does not exceed the target's, which may lie beyond `end` by less than a vector.
    """
    vector = ir.VectorType(_I32, lanes)
    module = ir.Module("search")
    kind = ir.FunctionType(_I64, (_I32.as_pointer(), _I32, _I64, _I64))
    function = ir.Function(module, kind, "search")
    constants, top, start, end = function.args
    entry, loop, hit, following, missed = map(
        function.append_basic_block, ("entry", "loop", "hit", "following", "missed")
    )
    builder = ir.IRBuilder(entry)
    pointers = (
        builder.gep(constants, [_constant(_I32, i)]) for i in range(MIDSTATE_WORDS + TAIL_WORDS)
    )
    uniform = [builder.load(pointer) for pointer in pointers]
    builder.branch(loop)

    builder.position_at_end(loop)
    base = builder.phi(_I64)
    base.add_incoming(start, entry)
    words = _Lanes(builder, vector)
    numbers = ir.Constant(vector, list(range(lanes)))
    nonces = builder.add(words.spread(builder.trunc(base, _I32)), numbers)
    last = words.swap(_last_hash_word(words, uniform, words.swap(nonces)))
    below = builder.icmp_unsigned("<=", last, words.spread(top))
    mask = builder.bitcast(below, ir.IntType(lanes))
    builder.cbranch(builder.icmp_unsigned("!=", mask, _constant(mask.type, 0)), hit, following)

    builder.position_at_end(hit)
    lane = builder.cttz(builder.zext(mask, _I64), _constant(_I1, 1))
    builder.ret(builder.add(base, lane))

    builder.position_at_end(following)
    step = builder.add(base, _constant(_I64, lanes))
    base.add_incoming(step, following)
    builder.cbranch(builder.icmp_unsigned("<", step, end), loop, missed)

    builder.position_at_end(missed)
    builder.ret(_constant(_I64, NOTHING))
    return str(module)


def _last_hash_word(words: _Lanes, uniform: Sequence[Word], nonces: Word) -> Word:
    """Return the last word of SHA-256d over a header with these nonces, as SHA-256 counts words."""
    midstate, tail = uniform[:MIDSTATE_WORDS], uniform[MIDSTATE_WORDS:]
    first_padding = [_END_BIT, *[0] * 10, 80 * 8]
    digest = compress(words, midstate, [*tail, nonces, *first_padding])
    second_padding = [_END_BIT, *[0] * 6, 32 * 8]
    state = run_rounds(words, START, [*digest, *second_padding], _LAST_WORD_ROUNDS)
    return words.add(state[_E], START[7])
