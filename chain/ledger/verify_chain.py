"""Repeated verification of the newest blocks, beside the writer (Bitcoin: CVerifyDB).

From the tip down, each block is read, checked by itself, compared with its undo data, disconnected
in memory, and connected again. Reads are short, so that the write-ahead log can be emptied; the
chain may grow meanwhile.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from chain.consensus.block_validation import (
    check_block,
    check_block_context,
    connect_block,
    created_coins,
)
from chain.consensus.coin import Coin
from chain.consensus.entry import BlockTreeEntry
from chain.consensus.errors import InvalidError
from chain.consensus.p2wpkh_block import verify_now
from chain.consensus.params import Params
from chain.ledger.db.archive import Spent
from chain.ledger.db.snapshot import LedgerSnapshot
from chain.ledger.errors import DamagedError, LedgerError
from chain.ledger.reader import Reader
from chain.ledger.tree import HeaderTree
from chain.primitives.block import Block, decode_block
from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import Hash32, OutPoint, id_text

LEVEL_MAX: Final = 4
READ_S: Final = 2.0  # after which a read ends and the next begins
COINS_MAX: Final = 500_000  # held in memory, about 350 bytes each
RESTARTS_MAX: Final = 3  # because blocks were disconnected meanwhile
_BODIES, _ALONE, _UNDO, _COINS, _RULES = range(LEVEL_MAX + 1)


class VerificationEndedError(LedgerError):
    """The verification ended without a result; the message says why."""


@dataclass(frozen=True, slots=True)
class Extent:
    """The extent of a verification."""

    level: int  # 0 to LEVEL_MAX, each including the lower ones
    blocks: int  # from the tip down


def verify_blocks(
    reader: Reader,
    tree: HeaderTree,
    params: Params,
    extent: Extent,
    is_stopped: Callable[[], bool],
) -> int:
    """Verify blocks and return how many, without genesis; the time is not limited.

    Raises DamagedError: a block is wrong; VerificationEndedError: `is_stopped`, the chain keeps
    reorganising, or too many coins would be held; DatabaseFailedError.
    """
    walk = _Walk(tree, params, extent)
    while not walk.is_done():
        with reader.snapshot() as snapshot:
            walk.resume(snapshot)
            end_s = time.monotonic() + READ_S
            while not walk.is_done() and time.monotonic() < end_s:
                if is_stopped():
                    raise VerificationEndedError("the node is stopping")
                walk.step(snapshot)
    return walk.verified


class _Walk:
    """The progress: everything above `_at` is verified, and disconnected in memory."""

    def __init__(self, tree: HeaderTree, params: Params, extent: Extent) -> None:
        self.verified = 0
        self._tree = tree
        self._params = params
        self._extent = extent
        self._tip: BlockTreeEntry | None = None
        self._at = self._end = tree.genesis  # the next block, and the first that is not verified
        self._restarts = 0
        # Differences from the table of coins; None: no such coin.
        self._coins: dict[OutPoint, Coin | None] = {}

    def is_done(self) -> bool:
        """Whether no block is left."""
        return self._tip is not None and self._at == self._end

    def resume(self, snapshot: LedgerSnapshot) -> None:
        """Continue with another snapshot, and adapt the coins to its tip."""
        tip = self._tree.get(snapshot.tip_id)
        if tip is None:
            raise DamagedError(f"the tip {id_text(snapshot.tip_id)} is not among the headers")
        if self._tip is None:
            self._begin(tip)
        elif self._tip.is_ancestor_of(tip):
            self._take_off_new(snapshot, tip)
        else:
            self._restarts += 1
            if self._restarts > RESTARTS_MAX:
                raise VerificationEndedError("the chain keeps being reorganised")
            self._begin(tip)

    def step(self, snapshot: LedgerSnapshot) -> None:
        """Verify one block. Raises DamagedError."""
        entry, level = self._at, self._extent.level
        assert entry.parent is not None, "genesis is not verified"
        block = _read(snapshot, entry.id)
        try:
            if level >= _ALONE:
                check_block(block, self._params)
                check_block_context(block, entry.parent)
            if level >= _UNDO:
                spent = _undo(snapshot, block)
                if level >= _COINS:
                    made = self._take_off(snapshot, block, entry, spent)
                    if level >= _RULES:
                        self._connect(block, entry.parent, spent)
                    for point in made:  # no block below refers to it
                        del self._coins[point]
        except InvalidError as error:
            raise DamagedError(f"block {id_text(entry.id)} breaks a rule: {error}") from error
        self._at = entry.parent
        self.verified += 1

    def _begin(self, tip: BlockTreeEntry) -> None:
        self._tip = self._at = tip
        self._end = tip.ancestor(max(tip.height - self._extent.blocks, 0))
        self._coins = {}
        self.verified = 0

    def _take_off_new(self, snapshot: LedgerSnapshot, tip: BlockTreeEntry) -> None:
        """Disconnect in memory the blocks added meanwhile, then those disconnected before."""
        before, self._coins = self._coins, {}
        entry = tip
        while self._extent.level >= _COINS and entry != self._tip:
            assert entry.parent is not None, "the old tip is on the way"
            block = _read(snapshot, entry.id)
            for point in self._take_off(snapshot, block, entry, _undo(snapshot, block)):
                del self._coins[point]
            entry = entry.parent
        self._coins |= before
        self._tip = tip

    def _take_off(
        self, snapshot: LedgerSnapshot, block: Block, entry: BlockTreeEntry, spent: Spent
    ) -> dict[OutPoint, Coin]:
        """Disconnect a block in memory: return the removed coins, restore the spent ones.

        Raises DamagedError: the coins differ from those after the block.
        """
        made = {p: c for tx in block.transactions for p, c in created_coins(tx, entry.height)}
        taken = {
            txin.outpoint: coin
            for tx, coins in zip(block.transactions[1:], spent, strict=True)
            for txin, coin in zip(tx.inputs, coins, strict=True)
        }
        expected: dict[OutPoint, Coin | None] = {**made, **dict.fromkeys(taken)}
        if self._find(snapshot, expected) != expected or any(
            made[point] != coin for point, coin in taken.items() if point in made
        ):
            raise DamagedError(f"the coins differ from those after block {id_text(entry.id)}")
        self._coins |= taken
        self._coins |= dict.fromkeys(made)
        if len(self._coins) > COINS_MAX:
            problem = f"over {COINS_MAX} coins were spent in these blocks: verify fewer of them"
            raise VerificationEndedError(problem)
        return made

    def _find(
        self, snapshot: LedgerSnapshot, points: dict[OutPoint, Coin | None]
    ) -> dict[OutPoint, Coin | None]:
        """Return the current coins at these outpoints."""
        stored = snapshot.coins([point for point in points if point not in self._coins])
        return {p: self._coins[p] if p in self._coins else stored.get(p) for p in points}

    def _connect(self, block: Block, parent: BlockTreeEntry, spent: Spent) -> None:
        """Connect a block to the coins before it. Raises InvalidError, DamagedError."""
        connection = connect_block(block, parent, self._coins, self._params)
        error = verify_now(connection.checks)
        if error is not None:
            raise DamagedError(f"block {id_text(block.id)} has a wrong signature: {error.detail}")
        if connection.spent != tuple(map(tuple, spent)):
            raise DamagedError(f"the undo data of block {id_text(block.id)} describe other coins")


def _read(snapshot: LedgerSnapshot, block_id: Hash32) -> Block:
    """Return a stored block. Raises DamagedError."""
    raw = snapshot.block(block_id)
    if raw is None:
        raise DamagedError(f"block {id_text(block_id)} is missing")
    try:
        block = decode_block(raw)
    except DecodeError as error:
        raise DamagedError(f"block {id_text(block_id)} is damaged: {error}") from error
    if block.id != block_id:
        raise DamagedError(f"block {id_text(block_id)} is a different block")
    return block


def _undo(snapshot: LedgerSnapshot, block: Block) -> Spent:
    """Return the coins that a block of the best chain spent. Raises DamagedError."""
    spent = snapshot.undo(block.id)
    if spent is None:
        raise DamagedError(f"the undo data of block {id_text(block.id)} are missing")
    if [len(tx.inputs) for tx in block.transactions[1:]] != [len(coins) for coins in spent]:
        raise DamagedError(f"the undo data of block {id_text(block.id)} belong to another block")
    return spent
