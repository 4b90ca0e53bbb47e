"""Verify signatures on several threads; libsecp256k1 holds no lock of Python's while it works."""

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from chain.consensus.spend import SignatureCheck, signature_failed
from chain.primitives.signature import verify

KNOWN_MAX: Final = 131_072  # triples in each of two generations, about 150 bytes each
_INLINE_MAX: Final = 8  # fewer are done before another thread would have woken up


class Verification:
    """Signature checks under way."""

    def __init__(self, chunks: Sequence["Future[bool]"], *, failed: bool = False) -> None:
        self._chunks = chunks
        self._failed = failed

    def wait(self) -> None:
        """Return when every check has verified. Raises InvalidError: SCRIPT."""
        results = [chunk.result() for chunk in self._chunks]  # all: none may outlive its block
        if self._failed or not all(results):
            raise signature_failed()


class Verifier:
    """A pool of threads for signature checks, and a memory of those that verified before.

    The outcome does not depend on the number of threads, nor on what is remembered.
    """

    def __init__(self, threads: int) -> None:
        self.threads = max(1, threads)
        self._pool = ThreadPoolExecutor(self.threads, "verify") if threads > 1 else None
        self._young: set[bytes] = set()
        self._old: set[bytes] = set()

    def start(self, checks: Sequence[SignatureCheck]) -> Verification:
        """Begin to verify; the caller has other work until it calls `wait`."""
        if self._young or self._old:
            checks = [check for check in checks if not self.known(check)]
        if self._pool is None or len(checks) <= _INLINE_MAX:
            return Verification((), failed=not _all_verify(checks))
        size = -(-len(checks) // self.threads)
        chunks = [checks[at : at + size] for at in range(0, len(checks), size)]
        return Verification([self._pool.submit(_all_verify, chunk) for chunk in chunks])

    def known(self, check: SignatureCheck) -> bool:
        """Tell whether this very check verified before."""
        key = _key(check)
        return key in self._young or key in self._old

    def remember(self, checks: Iterable[SignatureCheck]) -> None:
        """Keep checks that verified, so that they need not be done again. One thread calls this."""
        for check in checks:
            self._young.add(_key(check))
            if len(self._young) >= KNOWN_MAX:
                self._old, self._young = self._young, set()

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()


def _all_verify(checks: Sequence[SignatureCheck]) -> bool:
    return all(verify(check.key, check.signature, check.digest) for check in checks)


def _key(check: SignatureCheck) -> bytes:
    """Return what a check is remembered by; `digest` has 32 bytes, the key's length is told."""
    size = len(check.key).to_bytes(2, "little")
    return hashlib.sha256(check.digest + size + check.key + check.signature).digest()
