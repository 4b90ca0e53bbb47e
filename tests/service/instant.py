"""Observers of a node's database, and a node whose tracked transactions move all the time.

Run as a program, it is one observer in a process of its own: it says what it saw as JSON.
"""

import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from chain.ledger.db.engine import read_rows
from chain.ledger.ledger import Ledger
from chain.ledger.reader import open_reader
from chain.node.node import Node
from chain.node.policy import Policy, PolicyError
from chain.primitives.address import script_address
from chain.primitives.block import decode_block
from chain.primitives.hashes import sha256
from chain.primitives.numbers import Hash32, id_text, outpoint_txid
from chain.primitives.transaction import Transaction
from chain.service.api.access.auth import Logins
from chain.service.api.app import create_api
from chain.service.api.context import ApiContext
from chain.service.api.events import Subscribers
from chain.service.api.queries.script_history import mempool_history, script_summary
from chain.service.api.snapshot import NodeSnapshot, open_snapshot
from chain.service.api.state.live_state import LiveNode, LiveState
from chain.service.api.state.port import ON_THREAD, Instant, ReadLimits, StatePort
from chain.service.readers.follower import Follower
from chain.service.readers.own_reads import TreeHeaders
from tests.builders import ChainBuilder, Key, pay, spend
from tests.ledger.chains import QUICK, quick_chain, url_of
from tests.node.world import NOW

TRUNK = 24
TRACKED = 3  # transactions that are never replaced: each is in the chain or in the mempool
STEPS_PER_LINE = 40
DEPTH_MAX = 4  # of a block that has something tracked
NEAR_S = 0.05  # of a change of the tip
HTTP_EVERY = 5  # observations of which one is made through the API's application
FEE = 10_000
_POOL = "SELECT wtxid FROM pool ORDER BY number"


def key(number: int) -> Key:
    """The key that tracked transaction `number` pays, and after these the replaced one."""
    return Key(100 + number)


class Mover:
    """A node and its chain: `step` confirms, replaces, or takes out of blocks again."""

    def __init__(self, ledger: Ledger, seed: int) -> None:
        self._source = random.Random(seed)
        self.ledger = ledger
        self.node = Node(ledger, Policy())
        self.chain: ChainBuilder = quick_chain(TRUNK)
        self._number = seed << 32  # what is mined after a restart differs from before
        self.tracked = [self._payment(number, FEE) for number in range(TRACKED)]
        self.replaced = self._payment(TRACKED, FEE)
        if ledger.tip.height:
            self._resume()
            return
        self._submit(self.chain.blocks)
        for tx in (*self.tracked, self.replaced):
            self.node.submit_transaction(tx, NOW)
        self.node.save_pool(NOW, is_durable=False)

    def step(self) -> None:
        """Change the chain or the mempool in one or two commits."""
        doing = self._source.choice((self._mine, self._mine, self._reorganise, self._replace))
        if self._depth() >= DEPTH_MAX:
            doing = self._reorganise  # or what is tracked would stay where it is
        doing()
        if self._source.random() < 0.7:
            self.node.save_pool(NOW, is_durable=False)

    def _resume(self) -> None:
        """Go on with the chain and the mempool that a node left that was killed."""
        self.node.restore_pool(NOW)
        self.node.save_pool(NOW, is_durable=False)
        for height in range(TRUNK + 1, self.ledger.tip.height + 1):
            raw = self.ledger.blocks([self.ledger.tip.ancestor(height).id], 0)[0]
            self.chain.append(decode_block(raw))

    def _payment(self, number: int, fee: int) -> Transaction:
        point, coin = self.chain.coinbase_coin(1 + number)
        return spend([(point, coin)], [pay(coin.value - fee, key(number))])

    def _replace(self) -> None:
        entry = self.node.view.pool.spender(self.replaced.inputs[0].outpoint)
        if entry is not None:
            better = self._payment(TRACKED, entry.fee + FEE)
            with suppress(PolicyError):  # a longer signature may make it no better
                self.node.submit_transaction(better, NOW)

    def _mine(self) -> None:
        entries = self.node.view.pool.entries()
        taken = entries[: self._source.randrange(len(entries) + 1)]
        self._submit([self._block(self.chain, taken)])

    def _reorganise(self) -> None:
        depth = self._depth() or min(1, self.chain.tip.height - TRUNK)
        if not depth:
            return
        blocks = self.chain.blocks[-depth:]
        confirmed = [tx for block in blocks for tx in block.transactions[1:]]
        self.chain = self.chain.fork(depth)
        again = confirmed[: self._source.randrange(len(confirmed) + 1)]
        fees = sum(self._fee(tx) for tx in again)
        new = [self.chain.add(extra=self._extra()) for _ in range(depth)]
        self._submit([*new, self.chain.add(again, fees=fees, extra=self._extra())])

    def _depth(self) -> int:
        """Return how many blocks have to go to take out every transaction of the last few."""
        last = self.chain.blocks[TRUNK:][-DEPTH_MAX - 1 :]
        full = [at for at, block in enumerate(last) if len(block.transactions) > 1]
        return len(last) - full[0] if full else 0

    def _fee(self, tx: Transaction) -> int:
        return self.chain.coinbase_coin(1)[1].value - tx.output_value

    def _block(self, chain: ChainBuilder, entries: list) -> Any:
        txs = [entry.transaction for entry in entries]
        return chain.add(txs, fees=sum(entry.fee for entry in entries), extra=self._extra())

    def _submit(self, blocks: list) -> None:
        if self._source.random() < 0.5:
            assert self.node.submit_blocks(blocks, NOW) == [None] * len(blocks)
        else:
            for block in blocks:
                self.node.submit_block(block, NOW)
        assert self.node.view.tip.id == self.chain.tip.id

    def _extra(self) -> bytes:
        self._number += 1
        return b"%d" % self._number


def tracked_ids() -> tuple[Hash32, ...]:
    """The ids of what every node here tracks: its trunk and its signatures are always the same."""
    chain = quick_chain(TRUNK)
    found = []
    for number in range(TRACKED):
        point, coin = chain.coinbase_coin(1 + number)
        found.append(spend([(point, coin)], [pay(coin.value - FEE, key(number))]).txid)
    return tuple(found)


@dataclass(frozen=True)
class Wanted:
    """What an observer looks for."""

    txids: tuple[Hash32, ...]

    def dump(self) -> str:
        return json.dumps([txid.hex() for txid in self.txids])


class TornFollower(Follower):
    """A planted fault: the mempool's rows are read in another transaction than the chain's."""

    between: Callable[[], None] = staticmethod(lambda: None)

    @contextmanager
    def snapshot(self, limits: ReadLimits = ON_THREAD, /) -> Iterator[Instant]:
        with self._reader.snapshot() as snapshot:
            view = self._view_at(snapshot) or self.view
        self.between()
        with Follower.snapshot(self, limits) as at:
            yield Instant(view, at.ledger, at.headers, at.version)


class Observer:
    """Looks at everything tracked in one snapshot after the other."""

    meanwhile: Callable[[], None] = staticmethod(lambda: None)  # called while one is open

    def __init__(self, state: StatePort, wanted: Wanted) -> None:
        self.wrong: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self._wanted = wanted
        self.state = state
        self._tip: Hash32 | None = None
        self._changed_s = 0.0
        self._places: dict[Hash32, bool] = {}
        self.api = ApiContext(
            params=QUICK,
            state=state,
            clock=lambda: NOW,
            logins=Logins(None),
            version="0",
            started_at=NOW,
            events=Subscribers(1),
        )

    def look(self) -> None:
        """Make one observation."""
        with open_snapshot(self.api) as snapshot:
            self.meanwhile()
            self._note(snapshot.tip.id)
            for txid in self._wanted.txids:
                self._check_place(snapshot, txid)
            number = self.seen["looks"] % (TRACKED + 1)
            self._check_sums(snapshot, sha256(key(number).script))
            self._check_coins(snapshot)
            self._check_committed(snapshot)

    async def ask(self, client: httpx.AsyncClient) -> None:
        """Make one observation through the application."""
        self._note(self.state.view.tip.id)
        number = self.seen["looks"] % TRACKED
        address = script_address(key(number).script, QUICK.address_prefixes)
        found = await client.get(f"/api/tx/{id_text(self._wanted.txids[number])}")
        self._expect(found.status_code == 200, "a reply knows no tracked transaction")
        both = (await client.get(f"/api/address/{address}")).json()
        counts = [both[name]["tx_count"] for name in ("chain_stats", "mempool_stats")]
        self._expect(sum(counts) == 1, "a reply has an address's transaction not once")
        coins = (await client.get(f"/api/address/{address}/utxo")).json()
        self._expect(len(coins) == 1, "a reply has a coin not once")

    def _note(self, tip: Hash32) -> None:
        now = time.monotonic()
        if tip != self._tip:
            self.seen["tips"] += self._tip is not None
            self._tip, self._changed_s = tip, now
        self.seen["looks"] += 1
        self.seen["near"] += now - self._changed_s <= NEAR_S

    def _check_place(self, snapshot: NodeSnapshot, txid: Hash32) -> None:
        is_pooled = snapshot.view.pool.get(txid) is not None
        is_confirmed = snapshot.ledger.find(txid) is not None
        self._expect(not (is_pooled and is_confirmed), "a transaction is in chain and mempool")
        self._expect(is_pooled or is_confirmed, "a transaction is in neither chain nor mempool")
        self.seen["moves"] += self._places.get(txid, is_pooled) != is_pooled
        self._places[txid] = is_pooled

    def _check_sums(self, snapshot: NodeSnapshot, script_hash: Hash32) -> None:
        """Compare an address's sums with its history, and each of its coins with its spend."""
        summary = script_summary(snapshot, script_hash, {"scripthash": ""})
        confirmed = snapshot.read(snapshot.history(script_hash, None, 50))
        waiting = mempool_history(snapshot, script_hash)
        stats = summary.chain_stats, summary.mempool_stats
        for found, sums in zip((confirmed, waiting), stats, strict=True):
            paid = [
                out.value
                for one in found
                for out in one.tx.outputs
                if sha256(out.script) == script_hash
            ]
            is_right = (len(found), sum(paid)) == (sums.tx_count, sums.funded_txo_sum)
            self._expect(is_right, "an address's sums differ from its history")
        self._expect(len(confirmed) + len(waiting) == 1, "an address has not one transaction")

    def _check_coins(self, snapshot: NodeSnapshot) -> None:
        pool, spent = snapshot.view.pool, set()
        for entry in pool.entries():
            for txin in entry.transaction.inputs:
                point = txin.outpoint
                self._expect(point not in spent, "the mempool spends a coin twice")
                spent.add(point)
                is_there = pool.get(outpoint_txid(point)) or snapshot.ledger.coin(point)
                self._expect(bool(is_there), "the mempool spends a coin that is spent")

    def _check_committed(self, snapshot: NodeSnapshot) -> None:
        """What is shown survives a kill of the node: the mempool is that of the same commit."""
        rows = snapshot.ledger.query(lambda connection: read_rows(connection, _POOL))
        shown = [entry.wtxid for entry in snapshot.view.pool.entries()]
        self._expect(shown == [wtxid for (wtxid,) in rows], "the mempool is not the committed one")

    def _expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.wrong[otherwise] += 1


def database_in(place: Path | str) -> str:
    """The URL of the ledger in a folder; a URL is returned as it is."""
    return str(place) if "://" in str(place) else url_of(Path(place))


@contextmanager
def moving(place: Path | str, seed: int) -> Iterator[Mover]:
    with closing(Ledger(database_in(place), QUICK, verify_threads=1)) as ledger:
        yield Mover(ledger, seed)


def observer(place: Path | str, wanted: Wanted, stack: ExitStack, *, is_torn: bool) -> Observer:
    reader = stack.enter_context(closing(open_reader(database_in(place))))
    follower = (TornFollower if is_torn else Follower)(reader, QUICK)
    follower.open()
    return Observer(follower, wanted)


def own_observer(
    mover: Mover, folder: Path, wanted: Wanted, stack: ExitStack, *, is_torn: bool
) -> Observer:
    """An observer of what a node's own API reads; the planted fault: what is in its memory."""
    node, ledger = mover.node, mover.ledger
    reader = stack.enter_context(closing(open_reader(url_of(folder))))
    if is_torn:
        events = Subscribers(1)
        nowhere: Any = None  # it is not called
        return Observer(
            LiveState(
                LiveNode(
                    node=node, events=events, tree=ledger.tree, reader=reader, call=nowhere,
                    call_when_idle=nowhere,
                )
            ),
            wanted,
        )  # fmt: skip
    state = Follower(reader, QUICK, headers=TreeHeaders(ledger.tree), known=lambda: node.view.pool)
    state.open()
    return Observer(state, wanted)


async def observe(watching: Observer, is_over: Callable[[], bool]) -> None:
    """Look, and now and then ask the application, until it is over."""
    transport = httpx.ASGITransport(app=create_api(watching.api))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        while not is_over():
            try:
                if watching.seen["looks"] % HTTP_EVERY:
                    watching.look()
                else:
                    await watching.ask(client)
            except AssertionError:  # of the code that reads: what it got does not fit together
                watching.wrong["a reader's own assertion failed"] += 1


def main(place: str, wanted: str, looks: str, torn: str) -> None:
    txids = tuple(Hash32(bytes.fromhex(text)) for text in json.loads(wanted))
    with ExitStack() as stack:
        watching = observer(place, Wanted(txids), stack, is_torn=torn == "torn")
        asyncio.run(observe(watching, lambda: watching.seen["looks"] >= int(looks)))
    sys.stdout.write(json.dumps({"wrong": watching.wrong, "seen": watching.seen}) + "\n")


def drive(place: str, seed: str) -> None:
    """Move until killed; say so at the start, and at intervals."""
    with moving(place, int(seed)) as mover:
        while True:
            sys.stdout.write("moving\n")
            sys.stdout.flush()
            for _ in range(STEPS_PER_LINE):
                mover.step()


if __name__ == "__main__":
    (drive if len(sys.argv) == 3 else main)(*sys.argv[1:])
