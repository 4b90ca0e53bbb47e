"""Two nodes that dial each other keep one link, in any order of events."""

from itertools import permutations

import pytest

from chain.gossip.actions import Close, Dial
from chain.gossip.config import config_for
from chain.gossip.events import Accepted, Closed, Dialled, LinkId, ManualAdded, ManualRemoved
from chain.gossip.wire.address import Address
from chain.gossip.wire.hello import HelloReply
from chain.simulator.rules import SIMULATION
from tests.gossip.rig import Rig, closed, peer_address

PORT = 9444


class Pair:
    """Two cores that dial each other; the test does the drivers' work in any order."""

    def __init__(self) -> None:
        self.rigs = [Rig(config=config_at(at), secret=bytes([at]) * 32) for at in (0, 1)]
        self.dials = [
            next(a for a in rig.handle(ManualAdded(peer_address(1 - at))) if isinstance(a, Dial))
            for at, rig in enumerate(self.rigs)
        ]
        self.gone: set[tuple[int, str]] = set()  # (who closed, which link)

    def accepted(self, dialler: int) -> None:
        """The other node receives a dial."""
        seen = Address(peer_address(dialler).ip, 50_000)
        event = Accepted(LinkId(100), seen, self.dials[dialler].hello)
        self._note(1 - dialler, self.rigs[1 - dialler].handle(event))

    def dialled(self, dialler: int) -> None:
        """The dialler's link opens."""
        reply = HelloReply(self.rigs[1 - dialler].hello(), None, 20)
        event = Dialled(self.dials[dialler].dial, LinkId(200), reply)
        self._note(dialler, self.rigs[dialler].handle(event))

    def links(self, at: int) -> list[str]:
        """Return a node's open links by who dialled them."""
        ids = {100: f"dialled by {1 - at}", 200: f"dialled by {at}"}
        return [ids[peer.link] for peer in self.rigs[at].gossip.peers()]

    def _note(self, at, actions) -> None:
        ids = {100: f"dialled by {1 - at}", 200: f"dialled by {at}"}
        self.gone |= {(at, ids[action.link]) for action in actions if isinstance(action, Close)}


def config_at(number):
    listen = Address(peer_address(number).ip, PORT)
    return config_for(SIMULATION, agent=f"/node {number}/", listen=listen, auto_dial=False)


STEPS = [("accepted", 0), ("accepted", 1), ("dialled", 0), ("dialled", 1)]
ORDERS = [
    order
    for order in permutations(STEPS)
    if all(order.index(("accepted", at)) < order.index(("dialled", at)) for at in (0, 1))
]


@pytest.mark.parametrize("order", ORDERS)
def test_two_that_dial_each_other_drop_the_same_link_in_whatever_order_they_hear(order):
    pair = Pair()
    for step, dialler in order:
        getattr(pair, step)(dialler)
    lower = min((0, 1), key=lambda at: pair.dials[at].hello.nonce)
    assert pair.gone == {(0, f"dialled by {lower}"), (1, f"dialled by {lower}")}
    assert pair.links(0) == pair.links(1) == [f"dialled by {1 - lower}"]


def test_the_node_that_lost_its_dial_does_not_dial_again_while_it_is_linked():
    pair = Pair()
    for step, dialler in STEPS:
        getattr(pair, step)(dialler)
    lower = min((0, 1), key=lambda at: pair.dials[at].hello.nonce)
    rig = pair.rigs[lower]
    assert not [action for action in rig.wait(30) if isinstance(action, Dial)]
    rig.handle(Closed(LinkId(100), "gone"))
    assert [a for a in rig.wait(3600) if isinstance(a, Dial)], "but it does once it is not"


def test_a_peer_that_the_user_named_and_that_dialled_us_counts_as_named():
    rig = Rig(config=config_at(0))
    link = rig.accept(1, listen=peer_address(1))
    assert not [a for a in rig.handle(ManualAdded(peer_address(1))) if isinstance(a, Dial)]
    assert closed(rig.handle(ManualRemoved(peer_address(1)))) == [link]


@pytest.mark.parametrize("listen", [None, Address(peer_address(2).ip, PORT), peer_address(3)])
def test_a_link_from_elsewhere_is_no_duplicate(listen):
    rig = Rig(config=config_at(0))
    rig.dial(1)
    rig.accept(2, listen=listen)
    assert len(rig.gossip.peers()) == 2


def test_a_peer_may_not_claim_the_address_of_another():
    rig = Rig(config=config_at(0))
    dialled = rig.dial(1)
    rig.accept(2, listen=peer_address(1))
    assert rig.is_open(dialled)
    assert len(rig.gossip.peers()) == 2
