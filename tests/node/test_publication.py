"""A transaction is never in neither place and never in both, for a reader on another thread."""

import threading

from chain.consensus.params import REGTEST
from chain.ledger.ledger import Ledger
from chain.ledger.reader import open_reader
from chain.node.node import Node
from chain.node.policy import Policy
from chain.primitives.numbers import Hash32
from tests.builders import ChainBuilder
from tests.node.world import NOW, send

FEE = 10_000
ROUNDS = 12
MOMENTS_MIN = 20


class Watcher:
    """Reads view and snapshot over and over, and notes what is wrong at one and the same tip."""

    def __init__(self, node: Node, url: str) -> None:
        self.known: list[Hash32] = []  # submitted, and never replaced
        self.wrong: list[str] = []
        self.moments = 0
        self.enough = threading.Event()
        self._stop = threading.Event()
        self._node = node
        self._reader = open_reader(url)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._reader.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            known = list(self.known)
            view = self._node.view
            with self._reader.snapshot() as snapshot:
                if snapshot.tip_id != view.tip.id:
                    continue
                for txid in known:
                    places = (snapshot.find(txid) is not None, view.pool.get(txid) is not None)
                    if sum(places) != 1:
                        self.wrong.append(f"at {view.tip.height}: {places}")
            self.moments += 1
            if self.moments >= MOMENTS_MIN:
                self.enough.set()


def test_every_moment_has_each_transaction_in_exactly_one_place(tmp_path):
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    ledger = Ledger(url, REGTEST, verify_threads=1)
    node, chain = Node(ledger, Policy()), ChainBuilder()
    for block in chain.grow(100 + ROUNDS):
        node.submit_block(block, NOW)
    watcher = Watcher(node, url)
    try:
        while len(watcher.known) < ROUNDS or not watcher.enough.is_set():
            for number in range(ROUNDS):
                transaction = send([chain.coinbase_coin(number + 1)], FEE)
                if transaction.txid not in watcher.known:
                    node.submit_transaction(transaction, NOW)
                    watcher.known.append(transaction.txid)
                pooled = [entry.transaction for entry in node.view.pool.entries()]
                other = chain.fork(0)
                node.submit_block(chain.add(pooled, fees=FEE * len(pooled)), NOW)
                for block in other.grow(2, extra=b"other %d" % number):
                    node.submit_block(block, NOW)
                chain = other
                assert node.view.tip.id == chain.tip.id
    finally:
        watcher.stop()
        ledger.close()
    assert watcher.wrong == []
    assert len(watcher.known) == ROUNDS
