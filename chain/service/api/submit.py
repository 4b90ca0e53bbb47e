"""Submission of blocks and transactions: decode, pass to the ledger thread, announce."""

import json
from collections.abc import Callable
from typing import Final

from chain.consensus.errors import InvalidError, Reason
from chain.ledger.outcomes import BlockAdded
from chain.node.entry import PoolEntry
from chain.node.policy import RATE_VBYTES, PolicyError, PolicyReason
from chain.primitives.block import Block
from chain.primitives.encoding import DecodeError, parse_hex
from chain.primitives.numbers import GRAINS_PER_GROAT, id_text, outpoint
from chain.primitives.script import is_unspendable
from chain.primitives.transaction import Transaction, decode_transaction
from chain.service.api.context import ApiContext
from chain.service.api.error_codes import Code
from chain.service.api.snapshot import open_snapshot
from chain.service.api.threads import on_thread
from chain.service.debug_log import debug_logger, is_on
from chain.service.local_block import submit_local_block

_log: Final = debug_logger("mempool")

FEE_RATE_MAX: Final = GRAINS_PER_GROAT // 10  # grains per kvB; Bitcoin: DEFAULT_MAX_RAW_TX_FEE_RATE
_DECODE_FAILED: Final = "TX decode failed. Make sure the tx has at least one input."
_MISSING: Final = "missing-inputs"  # as in testmempoolaccept


class SubmitError(Exception):
    """A transaction was refused; code and message are Core's."""

    def __init__(self, code: Code, message: str, reason: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason or message  # the message without its detail

    def to_json(self) -> str:
        """Return the error object as Esplora servers quote it."""
        return json.dumps({"code": self.code, "message": self.message}, separators=(",", ":"))


def decode_hex(text: str) -> Transaction:
    """Return a transaction from its hex. Raises SubmitError."""
    try:
        return decode_transaction(parse_hex(text))
    except DecodeError:
        raise SubmitError(Code.DESERIALIZATION, _DECODE_FAILED) from None


def check_burnt(tx: Transaction, burnt_max: int) -> None:
    """Refuse to burn more grains in one output than the caller allows. Raises SubmitError."""
    burnt = max((out.value for out in tx.outputs if is_unspendable(out.script)), default=0)
    if burnt > burnt_max:
        problem = "Unspendable output exceeds maximum configured by user (maxburnamount)"
        raise SubmitError(Code.VERIFY, problem)


async def send_transaction(
    api: ApiContext, raw: bytes, fee_rate_max: int = FEE_RATE_MAX
) -> Transaction:
    """Add a transaction to the mempool and announce it, even if it was there already.

    `fee_rate_max` is in grains per kvB, 0 for no limit. Raises SubmitError.
    """
    try:
        tx = decode_transaction(raw)
    except DecodeError:
        raise SubmitError(Code.DESERIALIZATION, _DECODE_FAILED) from None
    try:
        await on_thread(lambda: _check(api, tx, fee_rate_max))
        pooled = await _on_ledger(api, lambda: _pooled(api, tx))
    except SubmitError as error:
        if is_on(_log):
            _log.debug("refused %s from a client: %s", id_text(tx.txid), error.message)
        raise
    api.peers.broadcast_tx(pooled.transaction)
    return tx


async def try_transaction(api: ApiContext, tx: Transaction) -> PoolEntry:
    """Return the entry that a transaction would get in the mempool; nothing is changed.

    Raises SubmitError.
    """
    return await _on_ledger(api, lambda: api.node.test_transaction(tx, api.clock()))


async def submit_block(api: ApiContext, block: Block) -> BlockAdded:
    """Add a block to the ledger, and announce it if it is in the best chain.

    Raises InvalidError.
    """
    return await submit_local_block(
        api.node, block, api.clock, call=api.call, announce=api.peers.broadcast_block
    )


def policy_text(error: PolicyError) -> str:
    """Return the reason and, after a comma, the detail (Bitcoin: ValidationState::ToString)."""
    return error.reject_reason if error.reason is PolicyReason.SCRIPT else str(error)


def check_rate(fee: int, vsize: int, fee_rate_max: int) -> None:
    """Refuse a fee rate over the limit. Raises SubmitError."""
    if fee_rate_max and fee * RATE_VBYTES > fee_rate_max * vsize:
        detail = "Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)"
        raise SubmitError(Code.VERIFY, detail, "max-fee-exceeded")


async def _on_ledger(api: ApiContext, function: Callable[[], PoolEntry]) -> PoolEntry:
    try:
        return await api.call_when_idle(function)  # its scripts may take a second
    except InvalidError as error:
        code = Code.VERIFY if error.reason is Reason.COIN_MISSING else Code.VERIFY_REJECTED
        reason = _MISSING if error.reason is Reason.COIN_MISSING else error.reject_reason
        raise SubmitError(code, error.reject_reason, reason) from error
    except PolicyError as error:
        raise SubmitError(Code.VERIFY_REJECTED, policy_text(error), error.reject_reason) from error


def _pooled(api: ApiContext, tx: Transaction) -> PoolEntry:
    """Return the existing or new mempool entry; on the ledger thread, so without a race."""
    return api.node.view.pool.get(tx.txid) or api.node.submit_transaction(tx, api.clock())


def _check(api: ApiContext, tx: Transaction, fee_rate_max: int) -> None:
    """Refuse a confirmed transaction, and a fee that is too high, if all coins are known.

    One already in the mempool is only announced again: its fee was checked on arrival.
    """
    with open_snapshot(api, state=api.node_state) as snapshot:
        points = [outpoint(tx.txid, index) for index in range(len(tx.outputs))]
        if snapshot.ledger.coins(points):
            raise SubmitError(Code.ALREADY_IN_CHAIN, "Transaction outputs already in utxo set")
        if snapshot.view.pool.get(tx.txid) is not None:
            return
        coins = [snapshot.output(txin.outpoint) for txin in tx.inputs]
    values = [coin.value for coin in coins if coin is not None]
    if len(values) == len(coins):
        check_rate(sum(values) - tx.output_value, tx.vsize, fee_rate_max)
