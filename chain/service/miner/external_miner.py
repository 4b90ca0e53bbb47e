"""`groat mine`: mine for any node that speaks getblocktemplate (BIP22, BIP23, BIP145).

One thread requests templates by long polling; the miner's threads search; the caller's thread, in
`run`, handles new templates and submits found blocks.
"""

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from chain.errors import ShownError, UsageError
from chain.mining.kernel import Kernel
from chain.mining.miner import Miner
from chain.primitives.address import AddressError, foreign_address_scripts
from chain.primitives.block import Block
from chain.primitives.numbers import id_text
from chain.service.miner.external_job import ExternalJob, TemplateError, read_template
from chain.service.miner.json_rpc import RpcClient, RpcFailure, RpcResponseError, UnreachableError
from chain.service.mining import HashRate

LONG_POLL_S: Final = 900.0  # Core answers after 60 s at the latest if anything changed
POLL_S: Final = 5.0  # between requests to a node without long polling
RETRY_S: Final = 2.0
SUBMIT_TRIES: Final = 5  # for a block that cannot be submitted
TICK_S: Final = 0.5  # how often the figures are shown
NETWORK_RATE_AGE_S_MAX: Final = 15.0
EASY_TARGET: Final = 1 << 250  # easy blocks are not mined as fast as they can be found ...
EASY_REST_S: Final = 1.0  # ... as block times would run ahead of the clock
_WAITING: Final = frozenset({-9, -10})  # Core's: no peers; still synchronising
_REQUEST: Final = {"capabilities": ["longpoll", "workid"], "rules": ["segwit"]}


class ExternalMinerError(ShownError):
    """Mining cannot start or continue; the text says why in one line."""


class PayoutAddressError(ExternalMinerError, UsageError):
    """The text given for the rewards is not an address."""


@dataclass(slots=True)
class MiningProgress:
    """Mining's figures; written by the thread in `run`."""

    height: int = 0  # of the block being searched
    transactions: int = 0  # in it
    accepted: int = 0
    rejected: int = 0
    stale: int = 0  # found too late to be submitted
    hashes_per_second: float = 0.0
    network_hashes_per_second: float | None = None  # as the node estimates it
    problem: str = ""  # why it is paused

    @property
    def share(self) -> float | None:
        """Our part of the network's hash rate, or None if that is not known."""
        if not self.network_hashes_per_second:
            return None
        return min(self.hashes_per_second / self.network_hashes_per_second, 1.0)


@dataclass(frozen=True, slots=True)
class SubmittedBlock:
    """A submitted block; `problem` is None if the node accepted it."""

    block: Block
    height: int
    problem: str | None


@dataclass(frozen=True, slots=True)
class _Work:
    """A template and the time of its arrival."""

    job: ExternalJob
    poll_id: str | None
    work_id: str | None
    arrived_at: float  # monotonic


@dataclass(frozen=True, slots=True)
class _Problem:
    """The reason why the polling thread has no work."""

    error: Exception


def payout_script(rpc: RpcClient, address: str) -> bytes:
    """Return the script of an address that the node, too, accepts as one of its network.

    Raises ExternalMinerError, RpcFailure.
    """
    try:
        candidates = foreign_address_scripts(address)
    except AddressError as error:
        raise PayoutAddressError(f"address {address}: {error}") from error
    result = rpc.call("validateaddress", address)
    if not isinstance(result, dict) or result.get("isvalid") is not True:
        raise ExternalMinerError(f"address {address} does not belong to the node's network")
    for script in candidates:
        if script.hex() == result.get("scriptPubKey"):
            return script
    raise ExternalMinerError(f"address {address}: the node gives a script that it does not pay to")


class ExternalMiner:
    """Mines for one node until it is stopped."""

    def __init__(self, rpc: RpcClient, script: bytes, kernel: Kernel, threads: int) -> None:
        self.figures = MiningProgress()
        self._rpc = rpc
        self._script = script
        # Not a Queue: an interrupt while that is entered leaves its lock taken, and its users hang.
        self._events: queue.SimpleQueue[_Work | _Problem | Block] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._rate = HashRate()
        self._rate_requested_at = float("-inf")
        self._work: _Work | None = None
        self._is_solved = False  # then even the same template is searched again
        self._fetched_at = float("-inf")
        self._miner = Miner(
            kernel,
            threads,
            self._events.put,
            clock=lambda: int(time.time()),
            first_extranonce=time.time_ns(),
        )

    def run(
        self,
        on_block: Callable[[SubmittedBlock], None],
        on_tick: Callable[[], None],
        blocks_max: int | None = None,
    ) -> None:
        """Mine until the thread is interrupted, or that many blocks are accepted.

        Raises ExternalMinerError: the node cannot be mined for at all.
        """
        asking = threading.Thread(target=self._ask, name="longpoll", daemon=True)
        asking.start()
        try:
            while blocks_max is None or self.figures.accepted < blocks_max:
                try:
                    event = self._events.get(timeout=TICK_S)
                except queue.Empty:
                    if not asking.is_alive():
                        raise ExternalMinerError("the thread that asks for work ended") from None
                else:
                    self._take(event, on_block)
                self.figures.hashes_per_second = self._rate.over_span(self._miner.hashes)
                on_tick()
        finally:
            self._stopped.set()
            self._miner.stop()

    def _take(
        self, event: _Work | _Problem | Block, on_block: Callable[[SubmittedBlock], None]
    ) -> None:
        match event:
            case Block():
                self._submit_block(event, on_block)
            case _Work():
                self._search(event)
            case _Problem():
                self._report_problem(event.error)

    def _report_problem(self, error: Exception) -> None:
        """Continue with the old work while the node is away; give up after a permanent error."""
        is_passing = isinstance(error, UnreachableError) or (
            isinstance(error, RpcResponseError) and error.code in _WAITING
        )
        if not is_passing or (self._work is None and isinstance(error, UnreachableError)):
            raise ExternalMinerError(str(error)) from error
        self.figures.problem = str(error)

    def _search(self, work: _Work) -> None:
        """Start on new work, unless it is the current work or older."""
        old = self._work
        self.figures.problem = ""
        if work.arrived_at < self._fetched_at:
            return
        is_same = old is not None and work.poll_id is not None and work.poll_id == old.poll_id
        if is_same and not self._is_solved:
            return
        self._work, self._is_solved = work, False
        self._miner.set_job(work.job)
        self.figures.height = work.job.height
        self.figures.transactions = len(work.job.transactions)
        self._ask_network_rate()

    def _submit_block(self, block: Block, on_block: Callable[[SubmittedBlock], None]) -> None:
        work = self._work
        assert work is not None, "a block is found in the work that was taken up"
        if block.header.previous != work.job.previous:
            self.figures.stale += 1  # other work has been taken up already
            return
        self._is_solved = True
        problem = self._submit(block, work)
        if problem is None:
            self.figures.accepted += 1
        else:
            self.figures.rejected += 1
        on_block(SubmittedBlock(block, work.job.height, problem))
        if work.job.target >= EASY_TARGET:
            self._stopped.wait(EASY_REST_S)
        self._fetch_next()

    def _fetch_next(self) -> None:
        """Replace the solved job at once, before the long poll ends."""
        self._fetched_at = time.monotonic()
        try:
            fetched = self._fetch(None)
        except (RpcFailure, TemplateError) as error:
            self._report_problem(error)
            return
        self._search(fetched)

    def _submit(self, block: Block, work: _Work) -> str | None:
        """Return None if the node accepted the block, else its reason."""
        more = [] if work.work_id is None else [{"workid": work.work_id}]
        problem = ""
        for _ in range(SUBMIT_TRIES):
            try:
                answer = self._rpc.call("submitblock", block.raw.hex(), *more)
            except UnreachableError as error:
                problem = str(error)
                self._stopped.wait(RETRY_S)
            except RpcFailure as error:
                return str(error)
            else:
                return None if answer is None else str(answer)[:200]
        return problem

    def _ask(self) -> None:
        """Poll the node for work; runs on the one thread that waits for the node."""
        poll_id: str | None = None
        while not self._stopped.is_set():
            try:
                work = self._fetch(poll_id)
            except (RpcFailure, TemplateError) as error:
                if not self._stopped.is_set():
                    self._events.put(_Problem(error))
                poll_id = None
                self._stopped.wait(RETRY_S)
                continue
            self._events.put(work)
            poll_id = work.poll_id
            if poll_id is None:
                self._stopped.wait(POLL_S)

    def _fetch(self, poll_id: str | None) -> _Work:
        """Request a template; with a long-poll id, wait for a new one. Raises as `call` does."""
        request = _REQUEST if poll_id is None else {**_REQUEST, "longpollid": poll_id}
        wait_s: dict[str, Any] = {} if poll_id is None else {"timeout_s": LONG_POLL_S}
        template = self._rpc.call("getblocktemplate", request, **wait_s)
        job = read_template(template, self._script, int(time.time()))
        return _Work(
            job, _text(template, "longpollid"), _text(template, "workid"), time.monotonic()
        )

    def _ask_network_rate(self) -> None:
        now = time.monotonic()
        if now - self._rate_requested_at < NETWORK_RATE_AGE_S_MAX:
            return
        self._rate_requested_at = now
        try:
            rate = float(self._rpc.call("getnetworkhashps"))
        except (RpcFailure, TypeError, ValueError):
            self.figures.network_hashes_per_second = None  # optional: no error
        else:
            self.figures.network_hashes_per_second = rate


def block_line(handed: SubmittedBlock, figures: MiningProgress) -> dict[str, Any]:
    """Return the JSON object that is printed for a block."""
    return {
        "height": handed.height,
        "hash": id_text(handed.block.id),
        "transactions": len(handed.block.transactions),
        "accepted": handed.problem is None,
        "problem": handed.problem,
        "accepted_count": figures.accepted,
        "rejected_count": figures.rejected,
        "hashes_per_second": figures.hashes_per_second,
    }


def _text(template: dict[str, Any], name: str) -> str | None:
    value = template.get(name)
    return value if isinstance(value, str) else None
