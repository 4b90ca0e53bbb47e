"""Compiled code that hashes: SHA-256 for bytes in memory, and the engine that other code joins."""

from collections.abc import Mapping
from typing import Any, Final

from llvmlite import binding, ir

from chain.llvm.lanes import Lanes
from chain.llvm.sha256 import BLOCK_WORDS, START, compress
from chain.llvm.sha_instructions import FOUR, NEEDS, ShaInstructions
from chain.llvm.values import I8, I32, I64, Value, constant, intrinsic

BLOCK_BYTES: Final = 64
_STATE_WORDS: Final = len(START)
_END_BIT: Final = 0x80
_ONE_BLOCK_MAX: Final = BLOCK_BYTES - 9  # more leave no place for the end bit and the length

# What follows the code of `add_blocks`, which is made per processor.
_FUNCTIONS: Final = f"""
declare void @sha256_add_blocks(ptr, ptr, i64)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
declare i64 @llvm.bswap.i64(i64)
declare <{_STATE_WORDS} x i32> @llvm.bswap.v{_STATE_WORDS}i32(<{_STATE_WORDS} x i32>)

@start = private constant <{_STATE_WORDS} x i32> <{", ".join(f"i32 {word}" for word in START)}>

; Write SHA-256 of `size` bytes to the 32 bytes `out`, which may be among them.
define void @sha256(ptr %out, ptr %data, i64 %size) {{
  %state = alloca <{_STATE_WORDS} x i32>
  %last = alloca [{2 * BLOCK_BYTES} x i8]
  %begin = load <{_STATE_WORDS} x i32>, ptr @start
  store <{_STATE_WORDS} x i32> %begin, ptr %state
  %blocks = lshr i64 %size, 6
  call void @sha256_add_blocks(ptr %state, ptr %data, i64 %blocks)
  %added = shl i64 %blocks, 6
  %rest = sub i64 %size, %added
  %rest_at = getelementptr i8, ptr %data, i64 %added
  call void @llvm.memset.p0.i64(ptr %last, i8 0, i64 {2 * BLOCK_BYTES}, i1 false)
  call void @llvm.memcpy.p0.p0.i64(ptr %last, ptr %rest_at, i64 %rest, i1 false)
  %end_bit_at = getelementptr i8, ptr %last, i64 %rest
  store i8 {_END_BIT}, ptr %end_bit_at
  %is_one = icmp ule i64 %rest, {_ONE_BLOCK_MAX}
  %last_blocks = select i1 %is_one, i64 1, i64 2
  %length_end = shl i64 %last_blocks, 6
  %length = sub i64 %length_end, 8
  %length_at = getelementptr i8, ptr %last, i64 %length
  %bits = shl i64 %size, 3
  %big_endian_bits = call i64 @llvm.bswap.i64(i64 %bits)
  store i64 %big_endian_bits, ptr %length_at, align 1
  call void @sha256_add_blocks(ptr %state, ptr %last, i64 %last_blocks)
  %words = load <{_STATE_WORDS} x i32>, ptr %state
  %hash = call <{_STATE_WORDS} x i32> @llvm.bswap.v{_STATE_WORDS}i32(<{_STATE_WORDS} x i32> %words)
  store <{_STATE_WORDS} x i32> %hash, ptr %out, align 1
  ret void
}}

; Write SHA-256 of SHA-256 of `size` bytes to the 32 bytes `out`, which may be among them.
define void @sha256d(ptr %out, ptr %data, i64 %size) {{
  call void @sha256(ptr %out, ptr %data, i64 %size)
  call void @sha256(ptr %out, ptr %out, i64 32)
  ret void
}}
"""
DECLARATIONS: Final = """
declare void @sha256(ptr, ptr, i64)
declare void @sha256d(ptr, ptr, i64)
"""


def compiled(
    code: str, features: Mapping[str, bool], addresses: Mapping[str, int] | None = None
) -> Any:  # noqa: ANN401 - no types
    """Return an engine of `code`, which may call what DECLARATIONS declares.

    It is for this processor with those of its features that are on. Other functions that the code
    declares are at `addresses`. Raises RuntimeError: LLVM cannot compile here.
    """
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    module = binding.parse_assembly(code)
    wanted = {function.name for function in module.functions if not function.is_declaration}
    has_instructions = all(features.get(name) for name in NEEDS)
    for part in (_FUNCTIONS, _add_blocks_code(has_instructions=has_instructions)):
        module.link_in(binding.parse_assembly(part))
    for function in module.functions:
        if not function.is_declaration and function.name not in wanted:
            function.linkage = "internal"  # so that what is not called is left out
    # Passes over the code, and a higher level, would take 30 to 110 ms, and make nothing faster.
    machine = binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name(), features=_flags(features), opt=0
    )
    engine = binding.create_mcjit_compiler(module, machine)
    for name, address in (addresses or {}).items():
        engine.add_global_mapping(module.get_function(name), address)
    engine.finalize_object()
    return engine


def host_features() -> dict[str, bool]:
    """Return the features of this processor, by LLVM's names. Raises RuntimeError."""
    return dict(binding.get_host_cpu_features())


def _flags(features: Mapping[str, bool]) -> str:
    return ",".join(f"{'+' if on else '-'}{name}" for name, on in sorted(features.items()))


def _add_blocks_code(*, has_instructions: bool) -> str:
    """Return the function (state, data, number of blocks): it adds blocks of 64 bytes to a hash.

    The state is eight words, a to h.
    """
    module = ir.Module("sha256")
    pointer = I8.as_pointer()
    kind = ir.FunctionType(ir.VoidType(), (pointer, pointer, I64))
    function = ir.Function(module, kind, "sha256_add_blocks")
    state, data, count = function.args
    entry, look, add, done = map(function.append_basic_block, ("entry", "look", "add", "done"))
    builder = ir.IRBuilder(entry)
    builder.branch(look)

    builder.position_at_end(look)
    index = builder.phi(I64)
    index.add_incoming(constant(I64, 0), entry)
    builder.cbranch(builder.icmp_unsigned("<", index, count), add, done)

    builder.position_at_end(add)
    block = builder.gep(data, [builder.mul(index, constant(I64, BLOCK_BYTES))])
    emit = _with_instructions if has_instructions else _portably
    emit(builder, state, block)
    index.add_incoming(builder.add(index, constant(I64, 1)), add)
    builder.branch(look)

    builder.position_at_end(done)
    builder.ret_void()
    return str(module)


def _with_instructions(builder: ir.IRBuilder, state: Value, block: Value) -> None:
    code = ShaInstructions(builder)
    halves = [_place(builder, state, index, FOUR) for index in range(2)]
    first, second = (builder.load(half, align=4) for half in halves)
    before = code.pick(first, second, (5, 4, 1, 0)), code.pick(first, second, (7, 6, 3, 2))
    words = [
        intrinsic(builder, "llvm.bswap.v4i32", builder.load(place, align=1))
        for place in (_place(builder, block, index, FOUR) for index in range(4))
    ]
    (after,) = code.rounds(before, [words])
    for half, value in zip(halves, code.words(code.sums(before, after)), strict=True):
        builder.store(value, half, align=4)


def _portably(builder: ir.IRBuilder, state: Value, block: Value) -> None:
    places = [_place(builder, state, index, I32) for index in range(_STATE_WORDS)]
    words = [
        intrinsic(builder, "llvm.bswap.i32", builder.load(place, align=1))
        for place in (_place(builder, block, index, I32) for index in range(BLOCK_WORDS))
    ]
    before = [builder.load(place) for place in places]
    for place, word in zip(places, compress(Lanes(builder, None), before, words), strict=True):
        builder.store(word, place)


def _place(builder: ir.IRBuilder, start: Value, index: int, kind: ir.Type) -> Value:
    """Return the place of an item of this type, behind `index` others."""
    return builder.gep(builder.bitcast(start, kind.as_pointer()), [constant(I32, index)])
