"""Kernels, which search nonces: their interface, and the choice of the fastest correct one."""

import logging
from typing import Final, Protocol

from chain.mining.hashlib_kernel import HashlibKernel
from chain.mining.llvm_kernel import LlvmKernel, LlvmKernelError, runnable_builds

NONCES: Final = 1 << 32
_TEST_HEADER: Final = bytes(range(80))
_TEST_TARGETS: Final = (1 << 253, 1 << 248, 0)  # many hits, few, none

log = logging.getLogger(__name__)


class Kernel(Protocol):
    """Searches the nonces of one header; safe to call from many threads at once."""

    @property
    def name(self) -> str:
        """The name, as shown with figures."""

    @property
    def lanes(self) -> int:
        """How many nonces it hashes side by side."""

    def search(self, header: bytes, target: int, start: int, count: int) -> int | None:
        """Return the first nonce in [start, start + count) whose block id is within `target`.

        `header` has 80 bytes, of which the last 4 are ignored; the range lies within 32 bits.
        """


def best_kernel() -> Kernel:
    """Return the fastest kernel that works here and agrees with hashlib; takes about a second."""
    for name in runnable_builds():
        try:
            return checked_kernel(name)
        except LlvmKernelError as error:
            log.warning("mining slower than it could be: %s", error)
    return HashlibKernel()


def checked_kernel(name: str) -> Kernel:
    """Return the compiled kernel of this build.

    Raises LlvmKernelError, also if it finds other nonces than hashlib does.
    """
    kernel = LlvmKernel(name)
    if not agree(kernel, HashlibKernel()):
        raise LlvmKernelError(f"the build {name} finds other nonces than hashlib")
    return kernel


def agree(one: Kernel, other: Kernel) -> bool:
    """Return whether two kernels find the same nonces of a test header, at both range ends."""
    span = 64 * max(one.lanes, other.lanes)
    return all(
        one.search(_TEST_HEADER, target, start, span)
        == other.search(_TEST_HEADER, target, start, span)
        for target in _TEST_TARGETS
        for start in (0, 1, NONCES - span)
    )
