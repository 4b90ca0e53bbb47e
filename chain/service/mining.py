"""The node's own mining: templates go to the miner, found blocks to the ledger and the peers."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from chain.consensus.errors import InvalidError
from chain.consensus.params import Params
from chain.mining.kernel import Kernel
from chain.mining.miner import Miner
from chain.node.node import ChainStateUpdate, Node
from chain.node.template import Template
from chain.primitives.block import Block
from chain.primitives.numbers import counted, id_text
from chain.service.api.ports import MiningInfo
from chain.service.debug_lines import log_template
from chain.service.debug_log import debug_logger
from chain.service.ledger_thread import LedgerThread
from chain.service.local_block import submit_local_block

log = logging.getLogger(__name__)
_debug_log: Final = debug_logger("mining")

TEMPLATE_AGE_S_MAX: Final = 30.0  # then a new template includes new transactions
FIXED_DIFFICULTY_REST_S: Final = 1.0  # between blocks if the difficulty is fixed
REPORT_INTERVAL_S: Final = 5.0  # between log lines about mined blocks
RATE_SPAN_S: Final = 10.0  # over which the hash rate is averaged
_RECHECK_S: Final = 1.0  # between two checks of the reasons not to mine


@dataclass(frozen=True, slots=True, kw_only=True)
class MiningPlan:
    """Mining's inputs; `reason_to_wait` returns why not to mine now, or None."""

    script: bytes
    threads: int
    first_extranonce: int
    clock: Callable[[], int]  # unix seconds
    reason_to_wait: Callable[[], str | None]


class Mining:
    """Mines until cancelled; `run` is its one task, on the event loop."""

    def __init__(
        self, node: Node, ledger: LedgerThread, kernel: Kernel, plan: MiningPlan, params: Params
    ) -> None:
        self._node = node
        self._ledger = ledger
        self._plan = plan
        self._rest_s = 0.0 if params.asert_half_life_s else FIXED_DIFFICULTY_REST_S
        self._loop = asyncio.get_running_loop()
        self._found: asyncio.Queue[Block] = asyncio.Queue(1)
        self._changed = asyncio.Event()  # the tip has changed
        self._new_transactions = False
        self._rate = HashRate()
        self._waits_for = ""  # why it does not mine now
        self._unreported = 0  # blocks mined since the last log line
        self._last_mined = ""
        self._report_next = 0.0
        self.kernel = kernel
        self.miner = Miner(
            kernel,
            plan.threads,
            self._on_found,
            clock=plan.clock,
            first_extranonce=plan.first_extranonce,
        )
        node.listeners.append(self._on_change)

    @property
    def hashes_per_second(self) -> float:
        """The hash rate over the last seconds."""
        return self._rate.over_span(self.miner.hashes)

    def info(self) -> MiningInfo:
        """Return what the API shows of it; callable from any thread."""
        return MiningInfo(
            hashes_per_second=self.hashes_per_second,
            threads=self._plan.threads,
            kernel=self.kernel.name,
            waits_for=self._waits_for,
        )

    async def run(self, announce: Callable[[Block], None]) -> None:
        """Mine until cancelled; pass each found block in the best chain to `announce`."""
        try:
            while True:
                job = self._plan.reason_to_wait() or await self._template()
                if isinstance(job, str):
                    self.miner.set_job(None)
                    if job != self._waits_for:
                        log.info("not mining: %s", job)
                    self._waits_for = job
                    await asyncio.sleep(_RECHECK_S)
                    continue
                self._waits_for = ""
                await self._mine(job, announce)
        finally:
            self._report_rest()
            self._node.listeners.remove(self._on_change)
            await asyncio.to_thread(self.miner.stop)

    async def _template(self) -> Template | str:
        """Return a template, or the reason for having none."""
        self._changed.clear()
        self._new_transactions = False
        try:
            template = await self._ledger.call_patiently(
                lambda: self._node.template(self._plan.script, self._plan.clock())
            )
        except InvalidError as error:  # block times are as far ahead of the clock as allowed
            return f"no valid block can be made now ({error.reject_reason})"
        log_template(template)
        return template

    async def _mine(self, template: Template, announce: Callable[[Block], None]) -> None:
        self.miner.set_job(template)
        block = await self._wait_for_block()
        if block is not None:
            _debug_log.debug("found block %d %s", template.height, id_text(block.id))
            await self._submit(block, announce)
            await asyncio.sleep(self._rest_s)

    async def _wait_for_block(self) -> Block | None:
        """Return a block of the current template, or None when a new template is due."""
        found = asyncio.ensure_future(self._found.get())
        changed = asyncio.ensure_future(self._changed.wait())
        tasks = {found, changed}
        try:
            while True:
                done, _ = await asyncio.wait(
                    tasks, timeout=TEMPLATE_AGE_S_MAX, return_when=asyncio.FIRST_COMPLETED
                )
                if found in done:
                    return found.result()
                if done or self._new_transactions or self._plan.reason_to_wait() is not None:
                    return None
        finally:
            found.cancel()
            changed.cancel()

    async def _submit(self, block: Block, announce: Callable[[Block], None]) -> None:
        call = self._ledger.call_patiently
        try:
            added = await submit_local_block(self._node, block, self._plan.clock, call, announce)
        except InvalidError as error:
            log.warning("our own block %s was refused: %s", id_text(block.id), error)
            return
        if added.is_connected:
            self._report(added.entry.height, block)

    def _report(self, height: int, block: Block) -> None:
        """Log mined blocks, at a bounded rate."""
        self._unreported += 1
        self._last_mined = f"{height:,} {id_text(block.id)}"
        if time.monotonic() >= self._report_next:
            self._report_rest()

    def _report_rest(self) -> None:
        """Log the mined blocks that had no line yet."""
        if not self._unreported:
            return
        count = "block" if self._unreported == 1 else f"{counted(self._unreported, 'block')}, up to"
        log.info("mined %s %s", count, self._last_mined)
        self._unreported, self._report_next = 0, time.monotonic() + REPORT_INTERVAL_S

    def _on_found(self, block: Block) -> None:
        """Pass a block from a mining thread to the event loop."""
        self._loop.call_soon_threadsafe(self._put_found, block)

    def _put_found(self, block: Block) -> None:
        if self._found.empty():
            self._found.put_nowait(block)

    def _on_change(self, change: ChainStateUpdate) -> None:
        """Stop searching an old template at once; called on the ledger thread."""
        if change.connected or change.disconnected:
            self.miner.set_job(None)
            self._loop.call_soon_threadsafe(self._changed.set)
        elif change.added or change.has_other_fees:
            self._new_transactions = True


class HashRate:
    """Hashes per second over a sliding span, from samples of a growing counter."""

    def __init__(self) -> None:
        self._samples: list[tuple[float, int]] = [(time.monotonic(), 0)]

    def over_span(self, count: int) -> float:
        """Add a sample of the counter and return the rate over the span."""
        now = time.monotonic()
        self._samples.append((now, count))
        while len(self._samples) > 2 and now - self._samples[1][0] > RATE_SPAN_S:
            self._samples.pop(0)
        then, before = self._samples[0]
        return (count - before) / (now - then) if now > then else 0.0
