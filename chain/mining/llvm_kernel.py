"""The compiled kernel: SHA-256d as vector code for this machine's own SIMD width.

Called through ctypes, so a search holds no GIL.
"""

import ctypes
import struct
from collections.abc import Callable
from typing import Final, TypeAlias

from llvmlite import binding

from chain.mining.hashlib_kernel import HashlibKernel
from chain.mining.search_code import MIDSTATE_WORDS, TAIL_WORDS, search_code
from chain.mining.sha256 import START, Numbers, compress

_HEADER_START: Final = struct.Struct(">16I")
_HEADER_TAIL: Final = struct.Struct(f">{TAIL_WORDS}I")
_LANES_BY_FEATURE: Final = (("avx512f", 16), ("avx2", 8))
_LANES_ELSE: Final = 4

Constants: TypeAlias = "ctypes.Array[ctypes.c_uint32]"
Search = Callable[[Constants, int, int, int], int]


class LlvmKernelError(Exception):
    """The machine cannot compile or run the kernel."""


class LlvmKernel:
    """Searches with compiled code; made once, used by any number of threads."""

    name: Final = "llvm"

    def __init__(self, lanes: int | None = None) -> None:
        """Compile for `lanes` nonces at once: 16 for AVX-512, 8 for AVX2, 4 anywhere.

        By default as many as the machine has. Takes about a second. Raises LlvmKernelError.
        """
        features = _host_features()
        self.lanes = lanes or _widest(features)
        if self.lanes > _widest(features):
            raise LlvmKernelError(f"this machine has no {self.lanes} lanes")
        try:
            self._engine = _compile(search_code(self.lanes), _narrow(features, self.lanes))
        except RuntimeError as error:
            raise LlvmKernelError(f"LLVM: {error}") from error
        prototype = ctypes.CFUNCTYPE(
            ctypes.c_uint64,
            ctypes.POINTER(ctypes.c_uint32),
            ctypes.c_uint32,
            ctypes.c_uint64,
            ctypes.c_uint64,
        )
        self._search: Search = prototype(self._engine.get_function_address("search"))
        self._check = HashlibKernel()

    def search(self, header: bytes, target: int, start: int, count: int) -> int | None:
        """Return the first nonce in [start, start + count) whose block id is within `target`."""
        constants = _constants(header)
        end = start + count
        while start < end:
            nonce = self._search(constants, target >> 224, start, end)
            if nonce >= end:  # nothing, or in a lane beyond the last that was asked for
                return None
            # The compiled code compares the top 32 bits only.
            if self._check.search(header, target, nonce, 1) is not None:
                return nonce
            start = nonce + 1
        return None


def _constants(header: bytes) -> Constants:
    """Return the state after the header's first 64 bytes, and its next three words."""
    midstate = compress(Numbers(), START, _HEADER_START.unpack(header[:64]))
    return (ctypes.c_uint32 * (MIDSTATE_WORDS + TAIL_WORDS))(
        *midstate, *_HEADER_TAIL.unpack(header[64:76])
    )


def _host_features() -> dict[str, bool]:
    return dict(binding.get_host_cpu_features())


def _widest(features: dict[str, bool]) -> int:
    return next((n for feature, n in _LANES_BY_FEATURE if features.get(feature)), _LANES_ELSE)


def _narrow(features: dict[str, bool], lanes: int) -> str:
    """Return LLVM's feature text for a machine with this SIMD width and no wider."""
    chosen = dict(features)
    for name in chosen:
        wide = name.startswith(("avx512", "avx10"))
        chosen[name] &= not (wide and lanes < 16) and not (name.startswith("avx2") and lanes < 8)
    flags = [f"{'+' if on else '-'}{name}" for name, on in sorted(chosen.items())]
    if lanes == 16:
        flags.append("-prefer-256-bit")  # some machines' default, which would halve the vectors
    return ",".join(flags)


def _compile(text: str, features: str) -> binding.ExecutionEngine:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    module = binding.parse_assembly(text)
    target = binding.Target.from_default_triple()
    machine = target.create_target_machine(
        cpu=binding.get_host_cpu_name(), features=features, opt=2
    )
    options = binding.create_pipeline_tuning_options(speed_level=2)
    options.slp_vectorization = options.loop_vectorization = options.loop_unrolling = False
    passes = binding.create_pass_builder(machine, options)
    passes.getModulePassManager().run(module, passes)
    engine = binding.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    return engine
