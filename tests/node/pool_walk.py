"""A node that does what nodes do, at random: pays, replaces, mines, reorganises, saves."""

import random
from collections.abc import Callable, Sequence
from contextlib import suppress

from chain.consensus.errors import InvalidError
from chain.ledger.db.engine import read_rows
from chain.ledger.ledger import Ledger
from chain.node.deltas import DeltasFullError
from chain.node.entry import PoolEntry
from chain.node.node import Node
from chain.node.policy import Policy, PolicyError
from chain.primitives.transaction import Transaction
from tests.ledger.chains import QUICK, bad_spend, quick_chain
from tests.node.world import NOW, Held, output, send

FEE = 1_000
TRUNK = 30
POLICY = Policy(expiry_s=2_000)
_TABLES = {
    "pool": "SELECT number, wtxid, txid, raw, time, height, fee FROM pool ORDER BY number",
    "deltas": "SELECT txid, grains FROM deltas ORDER BY txid",
}


class PoolWalk:
    """The node, the best chain as a builder, and `step`, which does something to both."""

    def __init__(self, ledger: Ledger, seed: int, *, trunk: int = TRUNK) -> None:
        self.ledger = ledger
        self.node = Node(ledger, POLICY)
        self.chain = quick_chain(0)
        self.now = NOW
        self._source = random.Random(seed)
        self.submit(self.chain.grow(trunk))

    def step(self) -> str:
        """Do one thing; return its name."""
        doings: Sequence[Callable[[], None]] = (
            *(self.pay, self.pay, self.pay, self.pay_on, self.pay_on, self.replace),
            *(self.mine, self.mine_a_conflict, self.reorganise, self.mine_many, self.mine_wrongly),
            *(self.prioritise, self.wait, self.save, self.save),
        )
        doing = self._source.choice(doings)
        doing()
        return doing.__name__

    def submit(self, blocks: list) -> None:
        assert self.node.submit_blocks(blocks, self.now) == [None] * len(blocks)
        assert self.node.view.tip.id == self.chain.tip.id

    def restart(self) -> None:
        """Go on with another node on the same ledger."""
        self.node = Node(self.ledger, POLICY)
        self.node.restore_pool(self.now)

    def pay(self) -> None:
        height = self._source.randrange(1, self.chain.tip.height - QUICK.coinbase_maturity_blocks)
        self._offer(send([self.chain.coinbase_coin(height)], self._fee(), outputs=2))

    def pay_on(self) -> None:
        if parent := self._pooled():
            self._offer(send([output(parent, self._source.randrange(2))], self._fee(), outputs=2))

    def replace(self) -> None:
        if old := self._pooled():
            entry = self.node.view.pool.get(old.txid)
            self._offer(send(_held(entry), entry.descendants.fees + 3 * FEE, outputs=2))

    def mine(self) -> None:
        entries = self.node.view.pool.entries()
        taken = entries[: self._source.randrange(len(entries) + 1)]
        fees = sum(entry.fee for entry in taken)
        txs = [entry.transaction for entry in taken]
        self.submit([self.chain.add(txs, fees=fees, extra=self._extra())])

    def mine_a_conflict(self) -> None:
        for entry in self.node.view.pool.entries():
            if entry.ancestors.count == 1:
                held = _held(entry)
                other = send(held, FEE * 7, outputs=3)
                self.submit([self.chain.add([other], fees=FEE * 7, extra=self._extra())])
                return

    def mine_many(self) -> None:
        """Mine a run of blocks that are submitted together."""
        entries = self.node.view.pool.entries()[:4]
        blocks = []
        for entry in entries:
            block = self.chain.add([entry.transaction], fees=entry.fee, extra=self._extra())
            blocks.append(block)
        self.submit([*blocks, *self.chain.grow(2, extra=self._extra())])

    def mine_wrongly(self) -> None:
        """Submit a run of blocks, one of which has a wrong signature and pooled transactions."""
        entries = self.node.view.pool.entries()[:3]
        good = [
            self.chain.add([e.transaction], fees=e.fee, extra=self._extra()) for e in entries[:1]
        ]
        wrong = self.chain.fork(0)
        height = self._source.randrange(1, self.chain.tip.height - QUICK.coinbase_maturity_blocks)
        txs = [*(entry.transaction for entry in entries[1:]), bad_spend(wrong, height)]
        blocks = [wrong.add(txs, fees=0, extra=self._extra()), *wrong.grow(2, extra=self._extra())]
        refusals = self.node.submit_blocks([*good, *blocks], self.now)
        assert [refusal is None for refusal in refusals] == [True] * len(good) + [False] * 3
        assert self.node.view.tip.id == self.chain.tip.id

    def reorganise(self) -> None:
        depth = self._source.randrange(1, 4)
        if self.chain.tip.height - depth <= TRUNK:
            return
        self.chain = self.chain.fork(depth)
        self.submit(self.chain.grow(depth + 1, extra=self._extra()))

    def prioritise(self) -> None:
        pooled = self._pooled()
        txid = pooled.txid if pooled else self._source.randbytes(32)
        try:
            self.node.prioritise(txid, self._source.randrange(-FEE, FEE))
        except DeltasFullError:
            raise AssertionError("few are set") from None

    def wait(self) -> None:
        self.now += self._source.randrange(POLICY.expiry_s // 3)

    def save(self) -> None:
        self.node.save_pool(self.now, is_durable=False)

    def rows(self) -> dict[str, list]:
        """What the tables hold."""
        return self.ledger.read(
            lambda connection: {name: read_rows(connection, sql) for name, sql in _TABLES.items()}
        )

    def expected_rows(self) -> dict[str, list]:
        """What they should hold once everything is saved."""
        pool = [
            (e.row, e.wtxid, e.txid, e.transaction.raw, e.time, e.height, e.fee)
            for e in self.node.view.pool.entries()
        ]
        return {"pool": pool, "deltas": sorted(self.node.deltas().items())}

    def _offer(self, transaction: Transaction) -> None:
        with suppress(InvalidError, PolicyError):  # its coin may be spent
            self.node.submit_transaction(transaction, self.now)

    def _pooled(self) -> Transaction | None:
        entries = self.node.view.pool.entries()
        return self._source.choice(entries).transaction if entries else None

    def _fee(self) -> int:
        return self._source.randrange(FEE, 4 * FEE)

    def _extra(self) -> bytes:
        return self._source.randbytes(8)


def _held(entry: PoolEntry) -> list[Held]:
    """The coins that an entry spends."""
    inputs = entry.transaction.inputs
    return [(txin.outpoint, coin) for txin, coin in zip(inputs, entry.coins, strict=True)]
