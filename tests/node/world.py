"""A mempool on a chain of headers, with coins in a dict: what pool tests start from."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from chain.consensus.coin import Coin
from chain.consensus.entry import BlockTreeEntry
from chain.consensus.params import REGTEST
from chain.node.entry import UNCONFIRMED_HEIGHT, PoolEntry
from chain.node.mempool import Mempool, Removal
from chain.node.policy import Policy
from chain.primitives.block import Block
from chain.primitives.hashes import sha256d
from chain.primitives.numbers import Amount, Height, OutPoint, outpoint
from chain.primitives.transaction import Transaction, TxOut
from tests.builders import KEY, ChainBuilder, Key, block_on, pay, spend

COIN = 100_000_000
NOW = 1_800_000_000
START_HEIGHT = 120

Held = tuple[OutPoint, Coin]


@dataclass
class World:
    """A mempool at a tip; `fund` makes confirmed coins, `submit` pools transactions."""

    policy: Policy = field(default_factory=Policy)
    now: int = NOW

    def __post_init__(self) -> None:
        builder = ChainBuilder()
        builder.grow(START_HEIGHT)
        self.tip: BlockTreeEntry = builder.tip
        self.coins: dict[OutPoint, Coin] = {}
        self.mempool = Mempool(REGTEST, self.policy)
        self.removed: list[Removal] = []
        self.blocks: list[tuple[Block, dict[OutPoint, Coin]]] = []  # and the coins they took
        self._funded = 0

    def fund(
        self,
        value: int = COIN,
        *,
        key: Key = KEY,
        height: int = 1,
        script: bytes | None = None,
        from_coinbase: bool = False,
    ) -> Held:
        """Return a new confirmed coin."""
        self._funded += 1
        point = outpoint(sha256d(b"funding %d" % self._funded), 0)
        coin = Coin(
            Amount(value), key.script if script is None else script, Height(height), from_coinbase
        )
        self.coins[point] = coin
        return point, coin

    def submit(self, transaction: Transaction) -> PoolEntry:
        """Pool a transaction; raises what admission raises."""
        candidate = self.mempool.examine(transaction, self.tip, self.coins, self.now)
        self.removed = self.mempool.add(candidate, self.now)
        return candidate.entry

    def connect(self, transactions: Sequence[Transaction]) -> Block:
        """Mine a block of these transactions and tell the pool."""
        block = self.extend(transactions)
        self.removed = self.mempool.connect([block], self.tip, self.now)
        return block

    def extend(self, transactions: Sequence[Transaction], extra: bytes = b"") -> Block:
        """Mine a block on the tip without telling the pool."""
        block = block_on(self.tip, transactions, extra=extra)
        self.tip = BlockTreeEntry(block.header, self.tip)
        taken = {}
        for tx in block.transactions:
            for txin in tx.inputs:
                if txin.outpoint in self.coins:
                    taken[txin.outpoint] = self.coins.pop(txin.outpoint)
            for index, out in enumerate(tx.outputs):
                coin = Coin(out.value, out.script, self.tip.height, tx.is_coinbase)
                self.coins[outpoint(tx.txid, index)] = coin
        self.blocks.append((block, taken))
        return block

    def undo(self) -> Block:
        """Take the last block back without telling the pool."""
        block, taken = self.blocks.pop()
        assert self.tip.parent is not None
        self.tip = self.tip.parent
        for tx in block.transactions:
            for index in range(len(tx.outputs)):
                self.coins.pop(outpoint(tx.txid, index), None)
        made = {tx.txid for tx in block.transactions}
        self.coins.update((p, coin) for p, coin in taken.items() if p[:32] not in made)
        return block

    @property
    def txids(self) -> set[bytes]:
        """The ids of all that is pooled."""
        return {entry.txid for entry in self.mempool.pool.entries()}


def output(transaction: Transaction, index: int = 0) -> Held:
    """Return an output as an unconfirmed coin."""
    out = transaction.outputs[index]
    return outpoint(transaction.txid, index), Coin(
        out.value, out.script, UNCONFIRMED_HEIGHT, from_coinbase=False
    )


def send(
    held: Sequence[Held], fee: int, *, outputs: int = 1, key: Key = KEY, **how: int
) -> Transaction:
    """Return a transaction that spends coins into equal outputs and leaves `fee`."""
    total = sum(coin.value for _, coin in held) - fee
    each = total // outputs
    outs: list[TxOut] = [pay(each, key)] * (outputs - 1) + [pay(total - each * (outputs - 1), key)]
    return spend(held, outs, key=key, **how)
