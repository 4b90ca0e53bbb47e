"""Catching up is a reason not to mine; being held up is none."""

from dataclasses import replace

import pytest

from chain.consensus.params import REGTEST
from chain.ledger.ledger import Ledger
from chain.node.node import Node, View
from chain.node.policy import Policy
from chain.service.readiness import BEHIND_BLOCKS_MIN, PATIENCE_S, Readiness
from tests.builders import ChainBuilder


class Scene:
    """A view and a clock that the test moves."""

    def __init__(self):
        chain = ChainBuilder()
        chain.grow(30)
        self.entries = [chain.tip.ancestor(height) for height in range(31)]
        ledger = Ledger("sqlite://", REGTEST, verify_threads=1)
        self.view: View = Node(ledger, Policy()).view
        ledger.close()
        self.now = 1000.0
        self.show(tip=10, header=10)
        self.readiness = Readiness(lambda: self.view, lambda: self.now)

    def show(self, tip: int, header: int) -> None:
        self.view = replace(self.view, tip=self.entries[tip], best_header=self.entries[header])


@pytest.mark.parametrize(
    ("missing", "waits"), [(BEHIND_BLOCKS_MIN - 1, False), (BEHIND_BLOCKS_MIN, True)]
)
def test_a_few_missing_blocks_are_news_and_more_are_a_sync(missing, waits):
    scene = Scene()
    scene.show(tip=10, header=10 + missing)
    assert scene.readiness.behind() == ((10, 10 + missing) if waits else None)


@pytest.mark.parametrize(("waited_s", "waits"), [(PATIENCE_S, True), (PATIENCE_S + 0.1, False)])
def test_a_withheld_block_stops_nobody_for_long(waited_s, waits):
    scene = Scene()
    scene.show(tip=10, header=30)
    scene.now += waited_s
    assert (scene.readiness.behind() is not None) is waits


def test_blocks_that_come_are_waited_for():
    scene = Scene()
    for tip in range(11, 28):
        scene.show(tip=tip, header=30)
        scene.now += PATIENCE_S
        assert scene.readiness.behind() == (tip, 30)
    scene.show(tip=28, header=30)
    assert scene.readiness.behind() is None
