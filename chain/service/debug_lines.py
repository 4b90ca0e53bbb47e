"""The debug lines about blocks and transactions: categories mempool, mining and validation."""

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from chain.gossip.actions import ValidateBlocks, ValidateTx
from chain.gossip.events import BlockVerdict, BlockVerdicts, TxOutcome, TxVerdict
from chain.ledger.timing import BlockTiming
from chain.node.ledger_requests import LedgerReply, LedgerRequest
from chain.node.mempool import RemovalReason
from chain.node.node import ChainStateUpdate
from chain.node.template import Template
from chain.primitives.numbers import counted, id_text
from chain.service.debug_log import debug_logger, is_on

SLOW_BLOCK_S: Final = 0.1  # slower blocks are logged even if the category is off

_log = logging.getLogger(__name__)
_pool_log: Final = debug_logger("mempool")
_block_log: Final = debug_logger("validation")
_mining_log: Final = debug_logger("mining")

Answer = Callable[[deque[LedgerRequest], int], list[LedgerReply]]


def log_update(update: ChainStateUpdate) -> None:
    """Log changes of the mempool, and connected and disconnected blocks: a listener of Node."""
    if is_on(_pool_log):
        for entry in update.added:
            txid, fee, vsize = id_text(entry.txid), entry.fee, entry.vsize
            _pool_log.debug("accepted %s: fee %d, %d vbytes", txid, fee, vsize)
        for removal in update.removed:
            by = "" if removal.by is None else f" by {id_text(removal.by)}"
            _pool_log.debug("removed %s: %s%s", id_text(removal.entry.txid), removal.reason, by)
        for dropped in update.dropped:
            _pool_log.debug("removed %s: %s", id_text(dropped), RemovalReason.REORGANISED)
    if is_on(_block_log):
        for block in update.disconnected:
            _block_log.debug("disconnected %s", id_text(block.id))
        height = update.view.tip.height - len(update.connected)
        for block in update.connected:
            height += 1
            count = counted(block.tx_count, "transaction")
            _block_log.debug("connected %d %s: %s", height, id_text(block.id), count)


def log_template(template: Template) -> None:
    """Log a new template."""
    if is_on(_mining_log):
        fees = sum(entry.fee for entry in template.entries)
        count = counted(len(template.entries) + 1, "transaction")
        text = "template for block %d: %s, fees %d"
        _mining_log.debug(text, template.height, count, fees)


def log_if_slow(timing: BlockTiming) -> None:
    """Log the time that a connected block took, if it was long: a listener of Ledger."""
    if timing.total_s <= SLOW_BLOCK_S:
        return
    parts = (timing.check_s, timing.connect_s, timing.verify_s, timing.write_s)
    _log.info(
        "block %d %s took %.0f ms: check %.0f, connect %.0f, verify %.0f, write %.0f",
        timing.height,
        id_text(timing.block_id),
        *(seconds * 1000 for seconds in (timing.total_s, *parts)),
    )


def with_lines(answer: Answer) -> Answer:
    """Return `answer` with a line for each verdict on a peer's block, and each refused transaction.

    Blocks answered together share one time.
    """

    def answer_with_lines(requests: deque[LedgerRequest], now: int) -> list[LedgerReply]:
        if not is_on(_pool_log) and not is_on(_block_log):
            return answer(requests, now)
        pending = list(requests)  # a copy: the event loop appends to it
        by_token = {request.token: request for request in pending}
        started_s = time.perf_counter()
        replies = answer(requests, now)
        took_ms = (time.perf_counter() - started_s) * 1000
        for reply in replies:
            for one in reply.verdicts if isinstance(reply, BlockVerdicts) else (reply,):
                _log_reply(by_token.get(one.token), one, took_ms)
        return replies

    return answer_with_lines


def _log_reply(
    request: LedgerRequest | None, reply: LedgerReply | BlockVerdict, took_ms: float
) -> None:
    match request, reply:
        case ValidateBlocks(), BlockVerdict():
            for block, error in zip(request.blocks, reply.errors, strict=True):
                verdict = "accepted" if error is None else f"refused: {error}"
                name = id_text(block.block_id)
                _block_log.debug("block %s from a peer: %.1f ms, %s", name, took_ms, verdict)
        case ValidateTx(), TxVerdict() if reply.outcome is not TxOutcome.ACCEPTED:
            txid = id_text(request.transaction.txid)
            _pool_log.debug("%s %s from a peer: %s", reply.outcome, txid, reply.reason)
        case _:
            pass
