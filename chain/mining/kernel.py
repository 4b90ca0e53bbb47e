"""What searches nonces: the interface of a kernel, and the choice of the fastest that is right."""

from typing import Final, Protocol

from chain.mining.hashlib_kernel import HashlibKernel

NONCES: Final = 1 << 32


class Kernel(Protocol):
    """Searches the nonces of one header; safe to call from many threads at once."""

    @property
    def name(self) -> str:
        """What to call it in figures."""

    @property
    def lanes(self) -> int:
        """How many nonces it hashes side by side."""

    def search(self, header: bytes, target: int, start: int, count: int) -> int | None:
        """Return the first nonce in [start, start + count) whose block id is within `target`.

        `header` has 80 bytes, of which the last 4 are ignored; the range lies within 32 bits.
        """


def best_kernel() -> Kernel:
    """Return the fastest kernel that works here and agrees with hashlib."""
    return HashlibKernel()
