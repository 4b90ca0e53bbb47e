"""The loop of every compiled search, as LLVM code: over the nonces until a possible hit."""

from collections.abc import Callable, Sequence
from typing import Final

from llvmlite import ir

from chain.llvm.values import I1, I32, I64, Value, constant

Hits = Callable[[ir.IRBuilder, Sequence[Value], Value, Value], Value]

MIDSTATE_WORDS: Final = 8  # the state after the header's first 64 bytes
TAIL_WORDS: Final = 3  # end of the Merkle root, time, bits
NOTHING: Final = (1 << 64) - 1  # the result if no lane can be a hit
END_BIT: Final = 0x80000000  # SHA-256's padding
FIRST_BITS: Final = 80 * 8  # message length of the first hash, in the padding's last word
SECOND_BITS: Final = 32 * 8


def search_module(lanes: int, hits: Hits) -> str:
    """Return the module with `search(constants, target's top word, start, end) -> nonce`.

    It tests groups of `lanes` nonces from `start`, and returns the first nonce whose hash's top
    word does not exceed the target's; it may lie after `end` by less than a group. `hits` emits,
    from the constants, the first nonce of a group (64 bits) and the target's top word, an integer
    of `lanes` bits: bit n is set if nonce n of the group is a hit.
    """
    module = ir.Module("search")
    kind = ir.FunctionType(I64, (I32.as_pointer(), I32, I64, I64))
    function = ir.Function(module, kind, "search")
    constants, top, start, end = function.args
    entry, loop, hit, following, missed = map(
        function.append_basic_block, ("entry", "loop", "hit", "following", "missed")
    )
    builder = ir.IRBuilder(entry)
    pointers = (
        builder.gep(constants, [constant(I32, i)]) for i in range(MIDSTATE_WORDS + TAIL_WORDS)
    )
    uniform = [builder.load(pointer) for pointer in pointers]
    builder.branch(loop)

    builder.position_at_end(loop)
    base = builder.phi(I64)
    base.add_incoming(start, entry)
    mask = hits(builder, uniform, base, top)
    builder.cbranch(builder.icmp_unsigned("!=", mask, constant(mask.type, 0)), hit, following)

    builder.position_at_end(hit)
    lane = builder.cttz(builder.zext(mask, I64), constant(I1, 1))
    builder.ret(builder.add(base, lane))

    builder.position_at_end(following)
    step = builder.add(base, constant(I64, lanes))
    base.add_incoming(step, following)
    builder.cbranch(builder.icmp_unsigned("<", step, end), loop, missed)

    builder.position_at_end(missed)
    builder.ret(constant(I64, NOTHING))
    return str(module)
