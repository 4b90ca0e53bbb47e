"""The benchmark of the nonce search."""

import hashlib
import threading
import time
from dataclasses import dataclass
from typing import Final

from chain.mining.hashlib_kernel import HashlibKernel
from chain.mining.kernel import NONCES, Kernel

_HEADER: Final = bytes(80)
_NEVER: Final = 0  # a target that no hash meets
_SLICE: Final = 1 << 20
_HASHLIB_SLICE: Final = 1 << 14


@dataclass(frozen=True, slots=True)
class MinerFigures:
    """The results of `bench_miner`."""

    hashes_per_second: float  # of all threads together
    lanes: int
    threads: int
    kernel: str
    hashlib_hashes_per_second: float  # of one thread that hashes whole headers
    midstate_hashes_per_second: float  # of one thread of the hashlib kernel


def bench_miner(kernel: Kernel, threads: int, seconds: float) -> MinerFigures:
    """Search for about `seconds` on `threads` threads, and for a second with each hashlib loop.

    Each thread searches one slice at least, however short the time.
    """
    plain = _rate(PlainLoop(), 1, min(seconds, 1.0), _HASHLIB_SLICE)
    midstate = _rate(HashlibKernel(), 1, min(seconds, 1.0), _HASHLIB_SLICE)
    slice_nonces = _SLICE if kernel.lanes > 1 else _HASHLIB_SLICE
    rate = _rate(kernel, threads, seconds, slice_nonces)
    return MinerFigures(rate, kernel.lanes, threads, kernel.name, plain, midstate)


class PlainLoop:
    """The straightforward loop: SHA-256d of the whole header for each nonce."""

    name: Final = "plain"
    lanes: Final = 1

    def search(self, header: bytes, target: int, start: int, count: int) -> int | None:
        sha256, begin = hashlib.sha256, header[:-4]
        for nonce in range(start, start + count):
            block_id = sha256(sha256(begin + nonce.to_bytes(4, "little")).digest()).digest()
            if int.from_bytes(block_id, "little") <= target:
                return nonce
        return None


def _rate(kernel: Kernel, threads: int, seconds: float, slice_nonces: int) -> float:
    counts = [0] * threads
    started = time.perf_counter()
    deadline = started + seconds

    def search(index: int) -> None:
        while True:  # at least once: on a busy machine a thread may begin after the deadline
            start = counts[index] % (NONCES - slice_nonces)
            kernel.search(_HEADER, _NEVER, start, slice_nonces)
            counts[index] += slice_nonces
            if time.perf_counter() >= deadline:
                return

    workers = [threading.Thread(target=search, args=(index,)) for index in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts) / (time.perf_counter() - started)
