"""Numbers and intrinsics as values of LLVM code."""

from typing import Final, TypeAlias

from llvmlite import ir

Value: TypeAlias = ir.Value

I1: Final = ir.IntType(1)
I8: Final = ir.IntType(8)
I32: Final = ir.IntType(32)
I64: Final = ir.IntType(64)


def constant(kind: ir.Type, number: int) -> Value:
    """Return a number as a value; of a vector type, the same in all lanes."""
    if isinstance(kind, ir.VectorType):
        return ir.Constant(kind, [number] * kind.count)
    return ir.Constant(kind, number)


def intrinsic(builder: ir.IRBuilder, name: str, *words: Value) -> Value:
    """Call an LLVM intrinsic whose result and arguments have the same type."""
    module, kind = builder.module, words[0].type
    function = module.globals.get(name)
    if function is None:
        function = ir.Function(module, ir.FunctionType(kind, [kind] * len(words)), name)
    return builder.call(function, words)
