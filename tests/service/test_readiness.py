"""Mining waits while the node catches up, but not while it is stalled."""

from dataclasses import replace

import pytest

from chain.consensus.params import REGTEST
from chain.gossip.events import Now
from chain.ledger.ledger import Ledger
from chain.node.node import Node, View
from chain.node.policy import Policy
from chain.primitives.numbers import SECOND_US
from chain.service.readiness import OLD_SPACINGS, PATIENCE_S, Readiness
from tests.builders import ChainBuilder


class Scene:
    """A view and clocks that the test moves; the tip is old at first."""

    def __init__(self):
        chain = ChainBuilder()
        chain.grow(30)
        self.entries = [chain.tip.ancestor(height) for height in range(31)]
        ledger = Ledger("sqlite://", REGTEST, verify_threads=1)
        self.view: View = Node(ledger, Policy()).view
        ledger.close()
        self.now_s = self.entries[10].header.time + OLD_SPACINGS * REGTEST.spacing_s + 1
        self.show(tip=10, header=30)
        self.readiness = Readiness(lambda: self.view, REGTEST.spacing_s, self.clock)

    def clock(self) -> Now:
        return Now(round(self.now_s * SECOND_US), int(self.now_s))

    def show(self, tip: int, header: int) -> None:
        self.view = replace(self.view, tip=self.entries[tip], best_header=self.entries[header])


@pytest.mark.parametrize(("header", "waits"), [(10, False), (11, True)])
def test_an_old_tip_waits_for_the_blocks_of_better_headers(header, waits):
    scene = Scene()
    scene.show(tip=10, header=header)
    assert scene.readiness.behind() == ((10, header) if waits else None)


@pytest.mark.parametrize(("younger_s", "waits"), [(0, True), (1, False)])
def test_a_young_tip_waits_for_nothing(younger_s, waits):
    scene = Scene()
    scene.now_s -= younger_s
    assert (scene.readiness.behind() is not None) is waits


@pytest.mark.parametrize(("waited_s", "waits"), [(PATIENCE_S, True), (PATIENCE_S + 0.1, False)])
def test_a_withheld_block_stops_nobody_for_long(waited_s, waits):
    scene = Scene()
    scene.now_s += waited_s
    assert (scene.readiness.behind() is not None) is waits


def test_blocks_that_come_are_waited_for():
    scene = Scene()
    for tip in range(11, 28):
        scene.show(tip=tip, header=30)
        scene.now_s += PATIENCE_S
        assert scene.readiness.behind() == (tip, 30)
