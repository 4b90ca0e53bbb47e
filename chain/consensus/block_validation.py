"""Rules for blocks.

`check_block` needs only the block, `check_block_context` its parent, and `connect_block` the coins.
A block with a valid header that passes all three is valid.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Final, cast

from chain.consensus import p2wpkh_block
from chain.consensus.coin import Coin, CoinView
from chain.consensus.entry import BlockTreeEntry
from chain.consensus.errors import InvalidError, Reason
from chain.consensus.header import check_header_work
from chain.consensus.params import Params
from chain.consensus.spend import SpendCheck, spend_checks
from chain.consensus.subsidy import block_subsidy
from chain.consensus.transaction import (
    BLOCK_WEIGHT_MAX,
    check_inputs,
    check_sequence_locks,
    check_transaction,
    is_final,
)
from chain.primitives.block import Block
from chain.primitives.hashes import sha256d
from chain.primitives.numbers import Amount, Hash32, Height, OutPoint, outpoint
from chain.primitives.script import is_unspendable, push_number
from chain.primitives.transaction import WITNESS_SCALE, Transaction
from chain.script.sigops import sigops_cost

BLOCK_SIGOPS_COST_MAX: Final = 80_000  # BIP141
COMMITMENT_PREFIX: Final = b"\x6a\x24\xaa\x21\xa9\xed"  # BIP141
_COMMITMENT_BYTES_MIN: Final = 38


@dataclass(slots=True)
class ConnectedBlock:
    """The effects of connecting a block, if each of `checks` verifies."""

    spent: Final[tuple[tuple[Coin, ...], ...]]  # by transaction but the coinbase, in input order
    removed: Final[dict[OutPoint, Coin]]  # coins from before the block that it spends
    created: Final[dict[OutPoint, Coin]]  # coins that it creates and does not spend
    fees: Final[Amount]
    checks: Final[Sequence[SpendCheck]]


def check_block(block: Block, params: Params) -> None:
    """Check a block without context (Bitcoin: CheckBlock).

    Raises InvalidError: PROOF_OF_WORK, those of check_block_body.
    """
    check_header_work(block.header, params)
    check_block_body(block, params)


def check_block_body(block: Block, params: Params) -> None:
    """Check a block without context, except for its proof of work, which a proposal lacks.

    Raises InvalidError: MERKLE_ROOT, MERKLE_DUPLICATE, BLOCK_LENGTH, COINBASE_MISSING,
    COINBASE_MULTIPLE, those of check_transaction, BLOCK_SIGOPS.
    """
    count = block.transaction_count
    root, mutated = block.merkle
    if root != block.header.merkle_root:
        raise InvalidError(Reason.MERKLE_ROOT)
    if mutated:
        raise InvalidError(Reason.MERKLE_DUPLICATE)
    count_weight = max(count, block.base_size) * WITNESS_SCALE
    if not count or count_weight > BLOCK_WEIGHT_MAX:
        raise InvalidError(Reason.BLOCK_LENGTH)
    if not block.coinbase.is_coinbase:
        raise InvalidError(Reason.COINBASE_MISSING)
    columns = block.p2wpkh_columns
    is_usual = columns is not None and p2wpkh_block.has_right_form(columns, params)
    transactions = (block.coinbase,) if is_usual else block.transactions
    sigops = columns.sigops if columns is not None and is_usual else 0
    if any(tx.is_coinbase for tx in transactions[1:]):
        raise InvalidError(Reason.COINBASE_MULTIPLE)
    for transaction in transactions:
        check_transaction(transaction, params)
    sigops += sum([tx.sigops for tx in transactions])
    if sigops * WITNESS_SCALE > BLOCK_SIGOPS_COST_MAX:
        raise InvalidError(Reason.BLOCK_SIGOPS)


def check_block_context(block: Block, parent: BlockTreeEntry) -> None:
    """Check a block as a child of `parent` (Bitcoin: ContextualCheckBlock).

    Raises InvalidError: NOT_FINAL, COINBASE_HEIGHT (BIP34), WITNESS_NONCE, WITNESS_COMMITMENT,
    WITNESS_UNEXPECTED, BLOCK_WEIGHT.
    """
    height = parent.height + 1
    columns = block.p2wpkh_columns
    is_usual = columns is not None and p2wpkh_block.are_final(columns, height)
    for transaction in (block.coinbase,) if is_usual else block.transactions:
        if transaction.lock_time and not is_final(transaction, height, parent.median_time_past):
            raise InvalidError(Reason.NOT_FINAL)
    if not block.coinbase.inputs[0].script_sig.startswith(push_number(height)):
        raise InvalidError(Reason.COINBASE_HEIGHT)
    _check_witness_commitment(block)
    if block.weight > BLOCK_WEIGHT_MAX:
        raise InvalidError(Reason.BLOCK_WEIGHT, f"{block.weight} weight units")


def connect_block(
    block: Block,
    parent: BlockTreeEntry,
    coins: CoinView,
    params: Params,
    verified: Container[Hash32] = frozenset(),
) -> ConnectedBlock:
    """Return the effects of `block` on the `coins` after `parent` (Bitcoin: ConnectBlock).

    The block passed check_block and check_block_context. The caller still has to verify `checks`.
    `verified` holds the wtxids of transactions whose checks were all verified before: they add no
    checks. Raises InvalidError: TXID_REPEATED (BIP30), those of check_inputs, FEES_RANGE, NOT_FINAL
    (BIP68), BLOCK_SIGOPS, COINBASE_AMOUNT, SCRIPT.
    """
    connecting = _BlockConnection(block, parent, coins, params, verified)
    try:
        connecting.add_coinbase(block.coinbase)
        if not connecting.add_usual_payments():
            for transaction in block.transactions[1:]:
                connecting.add_payment(transaction)
        return connecting.finish()
    except InvalidError:
        connecting.check_txids_new()
        connecting.check_signatures()
        raise


def witness_commitment_script(root: Hash32, nonce: bytes) -> bytes:
    """Return the output script by which a coinbase commits to a witness root (BIP141)."""
    return COMMITMENT_PREFIX + sha256d(root + nonce)


def commitment_index(coinbase: Transaction) -> int | None:
    """Return the index of the witness commitment, the last output of that form, or None."""
    for index in range(len(coinbase.outputs) - 1, -1, -1):
        script = coinbase.outputs[index].script
        if len(script) >= _COMMITMENT_BYTES_MIN and script.startswith(COMMITMENT_PREFIX):
            return index
    return None


def _check_witness_commitment(block: Block) -> None:
    """Check the witness commitment (Bitcoin: CheckWitnessMalleation)."""
    coinbase = block.coinbase
    index = commitment_index(coinbase)
    if index is None:
        if any(tx.has_witness for tx in block.transactions):
            raise InvalidError(Reason.WITNESS_UNEXPECTED)
        return
    witness = coinbase.inputs[0].witness
    if len(witness) != 1 or len(witness[0]) != 32:
        raise InvalidError(Reason.WITNESS_NONCE)
    committed = coinbase.outputs[index].script[len(COMMITMENT_PREFIX) : _COMMITMENT_BYTES_MIN]
    if committed != sha256d(block.witness_root + witness[0]):
        raise InvalidError(Reason.WITNESS_COMMITMENT)


class _BlockConnection:
    """A partly connected block: coins spent and created so far, and the pending checks."""

    def __init__(
        self,
        block: Block,
        parent: BlockTreeEntry,
        coins: CoinView,
        params: Params,
        verified: Container[Hash32],
    ) -> None:
        self.block = block
        self.parent = parent
        self.height = Height(parent.height + 1)
        self.coins = coins
        self.params = params
        self.verified = verified
        self.spent: list[tuple[Coin, ...]] = []
        self.removed: dict[OutPoint, Coin] = {}
        self.created: dict[OutPoint, Coin] = {}
        self.fees = 0
        self.sigops_cost = 0
        self.checks: list[SpendCheck] | p2wpkh_block.P2wpkhChecks = []

    def add_coinbase(self, transaction: Transaction) -> None:
        """Create the coinbase's coins; called first."""
        self._check_txid_new(transaction)
        self._count_sigops(transaction.sigops * WITNESS_SCALE)
        self.created.update(created_coins(transaction, self.height))

    def add_usual_payments(self) -> bool:
        """Add all payments at once; return whether that was possible, or else nothing changed."""
        effects = p2wpkh_block.connect_payments(
            self.block, self.height, self.coins, self.params, self.verified
        )
        if effects is None or self.sigops_cost + effects.sigops_cost > BLOCK_SIGOPS_COST_MAX:
            return False
        self.sigops_cost += effects.sigops_cost
        self.fees, self.spent = effects.fees_until[-1], effects.spent
        self.removed = effects.removed
        self.created |= effects.created
        self.checks = effects.checks
        return True

    def add_payment(self, transaction: Transaction) -> None:
        """Spend and create a transaction's coins; called in the block's order."""
        inputs, created, removed = transaction.inputs, self.created, self.removed
        found = [self._find(txin.outpoint) for txin in inputs]
        self.fees += check_inputs(transaction, found, self.height, self.params)
        if self.fees > self.params.amount_max:
            raise InvalidError(Reason.FEES_RANGE)
        taken = cast("tuple[Coin, ...]", tuple(found))  # check_inputs found them all
        check_sequence_locks(transaction, taken, self.parent)
        self._count_sigops(sigops_cost(transaction, taken))
        if transaction.wtxid not in self.verified:
            assert isinstance(self.checks, list), "all payments are added so"
            self.checks.extend(spend_checks(transaction, taken))
        self.spent.append(taken)
        for txin, coin in zip(inputs, taken, strict=True):
            point = txin.outpoint
            if created.pop(point, None) is None:
                removed[point] = coin
        created.update(created_coins(transaction, self.height))

    def finish(self) -> ConnectedBlock:
        """Check the coinbase's amount and return the effects of the whole block."""
        reward = block_subsidy(self.height, self.params) + self.fees
        paid = self.block.coinbase.output_value
        if paid > reward:
            raise InvalidError(Reason.COINBASE_AMOUNT, f"{paid} > {reward}")
        return ConnectedBlock(
            tuple(self.spent), self.removed, self.created, Amount(self.fees), self.checks
        )

    def check_txids_new(self) -> None:
        """Raise TXID_REPEATED if any output of the block existed before it (BIP30).

        Only a coinbase can repeat an id without missing coins, so the others are checked only in a
        block that failed, to report the same reason as Bitcoin.
        """
        for transaction in self.block.transactions:
            self._check_txid_new(transaction)

    def check_signatures(self) -> None:
        """Raise SCRIPT if a signature collected so far is wrong.

        Bitcoin verifies the scripts of a transaction before it checks the next one. Here the caller
        verifies them all at the end, so a block that fails earlier needs this.
        """
        error = p2wpkh_block.verify_now(self.checks)
        if error is not None:
            raise error

    def _find(self, point: OutPoint) -> Coin | None:
        if point in self.removed:
            return None
        return self.created.get(point) or self.coins.get(point)

    def _count_sigops(self, cost: int) -> None:
        self.sigops_cost += cost
        if self.sigops_cost > BLOCK_SIGOPS_COST_MAX:
            raise InvalidError(Reason.BLOCK_SIGOPS)

    def _check_txid_new(self, transaction: Transaction) -> None:
        for index in range(len(transaction.outputs)):
            if self.coins.get(outpoint(transaction.txid, index)) is not None:
                raise InvalidError(Reason.TXID_REPEATED)


def created_coins(transaction: Transaction, height: Height) -> list[tuple[OutPoint, Coin]]:
    """Return the coins that a transaction creates, except those that can never be spent."""
    txid, from_coinbase = transaction.txid, transaction.is_coinbase
    return [
        (outpoint(txid, index), Coin(out.value, out.script, height, from_coinbase))
        for index, out in enumerate(transaction.outputs)
        if not is_unspendable(out.script)
    ]
