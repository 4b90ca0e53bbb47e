"""The search as LLVM code for x86's SHA instructions, with a few interleaved nonces.

One instruction's result has a latency of four cycles: so several nonces are hashed in turn.
"""

from collections.abc import Sequence
from functools import reduce

from llvmlite import ir

from chain.llvm.sha256 import START
from chain.llvm.sha_instructions import ShaInstructions, numbers
from chain.llvm.values import I32, Value, constant, intrinsic
from chain.mining.search_loop import (
    END_BIT,
    FIRST_BITS,
    MIDSTATE_WORDS,
    SECOND_BITS,
    search_module,
)


def sha_code(streams: int) -> str:
    """Return the search (see search_module) with `streams` interleaved nonces."""

    def hits(builder: ir.IRBuilder, uniform: Sequence[Value], base: Value, top: Value) -> Value:
        first = builder.trunc(base, I32)
        nonces = [builder.add(first, constant(I32, number)) for number in range(streams)]
        lasts = _last_hash_words(builder, uniform, nonces)
        below = (builder.icmp_unsigned("<=", last, top) for last in lasts)
        kind = ir.IntType(streams)
        bits = [
            builder.shl(builder.zext(bit, kind), constant(kind, number))
            for number, bit in enumerate(below)
        ]
        return reduce(builder.or_, bits)

    return search_module(streams, hits)


def _last_hash_words(
    builder: ir.IRBuilder, uniform: Sequence[Value], nonces: Sequence[Value]
) -> list[Value]:
    """Return, for each nonce, the most significant word of the block id."""
    code = ShaInstructions(builder)
    midstate, tail = uniform[:MIDSTATE_WORDS], uniform[MIDSTATE_WORDS:]
    swapped = (intrinsic(builder, "llvm.bswap.i32", nonce) for nonce in nonces)
    padding = [numbers(END_BIT, 0, 0, 0), numbers(0, 0, 0, 0), numbers(0, 0, 0, FIRST_BITS)]
    blocks = [[code.vector([*tail, nonce]), *padding] for nonce in swapped]
    before = code.state(midstate)
    after = code.rounds(before, blocks)
    padding = [numbers(END_BIT, 0, 0, 0), numbers(0, 0, 0, SECOND_BITS)]
    blocks = [[*code.words(code.sums(before, state)), *padding] for state in after]
    states = code.rounds(code.state(START), blocks, is_last=True)
    # f after round 62 is h after round 64.
    words = (builder.extract_element(state[0], constant(I32, 0)) for state in states)
    sums = (builder.add(word, constant(I32, START[7])) for word in words)
    return [intrinsic(builder, "llvm.bswap.i32", word) for word in sums]
