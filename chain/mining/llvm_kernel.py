"""The compiled kernel: SHA-256d in the fastest instructions that the machine has.

Called through ctypes, so a search does not hold the GIL.
"""

import ctypes
import struct
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from llvmlite import binding

from chain.errors import ShownError
from chain.llvm.sha256 import START, Numbers, compress
from chain.mining.builds import BUILDS, Build
from chain.mining.hashlib_kernel import HashlibKernel
from chain.mining.search_loop import MIDSTATE_WORDS, TAIL_WORDS

_HEADER_START: Final = struct.Struct(">16I")
_HEADER_TAIL: Final = struct.Struct(f">{TAIL_WORDS}I")

Constants: TypeAlias = "ctypes.Array[ctypes.c_uint32]"
Search = Callable[[Constants, int, int, int], int]


class LlvmKernelError(ShownError):
    """The machine cannot compile or run the kernel."""


def runnable_builds() -> list[str]:
    """Return the names of the builds that this machine can run, the fastest first."""
    features = binding.get_host_cpu_features()
    return [build.name for build in BUILDS if build.runs_on(features)]


class LlvmKernel:
    """Searches with compiled code; made once, used by any number of threads."""

    def __init__(self, name: str | None = None) -> None:
        """Compile the build of this name, by default the fastest that the machine can run.

        Takes about a second. Raises LlvmKernelError.
        """
        features = dict(binding.get_host_cpu_features())
        build = _choose(name, features)
        self.name = f"llvm-{build.name}"
        self.lanes = build.lanes
        try:
            self._engine = binding.create_mcjit_compiler(*optimised(build, features))
            self._engine.finalize_object()
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
        constants = _constants(header)
        end = start + count
        while start < end:
            nonce = self._search(constants, target >> 224, start, end)
            if nonce >= end:  # none, or in a lane after the last requested nonce
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


def _choose(name: str | None, features: Mapping[str, bool]) -> Build:
    builds = [build for build in BUILDS if name in {None, build.name}]
    if not builds:
        names = ", ".join(build.name for build in BUILDS)
        raise LlvmKernelError(f"there is no build {name!r}: only {names}")
    for build in builds:
        if build.runs_on(features):
            return build
    raise LlvmKernelError(f"this machine cannot run the build {name}")


def optimised(
    build: Build, features: Mapping[str, bool]
) -> tuple[binding.ModuleRef, binding.TargetMachine]:
    """Return a build's code and the machine it is for. Raises RuntimeError."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    module = binding.parse_assembly(build.code())
    target = binding.Target.from_default_triple()
    cpu, flags = binding.get_host_cpu_name(), build.flags(features)
    machine = target.create_target_machine(cpu=cpu, features=flags, opt=2)
    options = binding.create_pipeline_tuning_options(speed_level=2)
    options.slp_vectorization = options.loop_vectorization = options.loop_unrolling = False
    passes = binding.create_pass_builder(machine, options)
    passes.getModulePassManager().run(module, passes)
    return module, machine
