"""The builds of the compiled search, and the processor features that each needs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from chain.llvm.sha256 import ROUNDS
from chain.llvm.sha_instructions import NEEDS
from chain.mining.sha_code import sha_code
from chain.mining.vector_code import SPECIAL_ROUNDS, vector_code


@dataclass(frozen=True, slots=True)
class Build:
    """One way to hash several nonces at once."""

    name: str
    lanes: int
    code: Callable[[], str]
    needs: tuple[str, ...] = ()  # features of the processor, by LLVM's names
    without: tuple[str, ...] = ()  # prefixes of the names of features that the code must not use

    def runs_on(self, features: Mapping[str, bool]) -> bool:
        """Return whether a processor with these features runs it."""
        return all(features.get(name) for name in self.needs)

    def flags(self, features: Mapping[str, bool]) -> str:
        """Return LLVM's feature string for the code."""
        flags = [
            f"{'+' if on and not name.startswith(self.without) else '-'}{name}"
            for name, on in sorted(features.items())
        ]
        if self.lanes == 16:
            flags.append("-prefer-256-bit")  # some machines' default; halves the vectors
        return ",".join(flags)


_WIDE: Final = ("avx512", "avx10")
BUILDS: Final = (  # the fastest first, as measured: docs/performance.md
    Build("avx512", 16, partial(vector_code, 16, ROUNDS), ("avx512f",)),
    Build("sha", 3, partial(sha_code, 3), NEEDS, _WIDE),
    Build("avx2", 8, partial(vector_code, 8, SPECIAL_ROUNDS), ("avx2",), _WIDE),
    Build("plain", 4, partial(vector_code, 4, SPECIAL_ROUNDS), (), (*_WIDE, "avx2")),
)
