"""Outbound peers that may hide a better chain (H28)."""

from dataclasses import replace

import pytest

from chain.gossip.actions import ConnectionType, Dial, SavedPart, SaveState
from chain.gossip.config import config_for
from chain.gossip.events import Dialled, Discovered, LinkId
from chain.gossip.peers.anchors import load_anchors
from chain.gossip.peers.stale import (
    BEHIND_S_MAX,
    CHALLENGE_S,
    CHECK_INTERVAL_S,
    MIN_CONNECT_S,
    PROTECTED_MAX,
    STALE_SPACINGS,
)
from chain.gossip.wire.hello import HelloReply
from chain.gossip.wire.messages import BlockMessage, GetHeaders, Ping, Pong
from chain.simulator.rules import SIMULATION
from tests.gossip.blocks.test_headersync import feed
from tests.gossip.rig import Rig, chain, closed, peer_address, sent, sent_to

SLOTS = 2


class Chosen(Rig):
    """A rig whose outbound links answer pings and requests for headers."""

    def __init__(self, slots: int = SLOTS, block_only: int = 0) -> None:
        config = config_for(SIMULATION, agent="/t/", auto_dial=True)
        super().__init__(config=replace(config, outbound_max=slots, block_relay_max=block_only))
        self.has: dict[LinkId, list] = {}
        self.dialled: dict[LinkId, Dial] = {}
        self.handle(Discovered(tuple(peer_address(n) for n in range(1, 40))))

    def pass_time(self, seconds: float) -> list:
        """Let time pass with peers that answer; a new one has no headers."""
        done = []
        for _ in range(int(seconds / 2)):
            actions = self.wait(2)
            for action in [a for a in actions if isinstance(a, Dial)]:
                link = LinkId(7000 + len(self.has))
                self.has[link] = []
                self.dialled[link] = action
                reply = HelloReply(self.hello(), None, 20)
                actions += self.handle(Dialled(action.dial, link, reply))
            for link in self.has:
                for ping in sent(actions, Ping, link):
                    self.say(link, Pong(ping.nonce))
                if link in sent_to(actions, GetHeaders):
                    done += self.say_headers(link, self.has[link])
            done += actions
        return done


def test_a_stale_tip_brings_one_more_peer_and_costs_the_worst_its_link():
    rig = Chosen()
    rig.pass_time(60)
    assert len(rig.gossip.peers()) == SLOTS
    rig.pass_time(STALE_SPACINGS * SIMULATION.spacing_s)
    assert len(rig.has) == SLOTS + 1
    blocks = chain().grow(2)
    newest = max(rig.has)
    rig.say_headers(newest, blocks[:1])  # it knows more than the others
    rig.say(newest, BlockMessage(blocks[0].raw))
    actions = rig.pass_time(120)
    assert len(closed(actions)) >= 1
    assert newest not in closed(actions)


def test_a_tip_that_moves_brings_nobody():
    rig = Chosen()
    rig.pass_time(60)
    builder = chain()
    for _ in range(10):
        feed(rig, [builder.add()])
        rig.pass_time(60)
    assert len(rig.has) == SLOTS


def connection_types(rig: Chosen) -> list:
    return [peer.connection_type for peer in rig.gossip.peers()]


@pytest.mark.parametrize(("slots", "spared"), [(2, 1), (8, PROTECTED_MAX), (20, PROTECTED_MAX)])
def test_of_those_that_have_our_chain_a_few_are_never_closed_for_having_less(slots, spared):
    rig = Chosen(slots)
    rig.pass_time(120)
    builder = chain()
    feed(rig, builder.grow(3))
    for link in list(rig.has):
        rig.has[link] = list(builder.blocks)
        rig.say_headers(link, builder.blocks)
    rig.pass_time(30)
    first = {
        peer.link
        for peer in rig.gossip.peers()
        if peer.connection_type is ConnectionType.OUTBOUND_FULL_RELAY
    }
    assert len(first) == slots
    gone = []
    for _ in range(int((BEHIND_S_MAX + CHALLENGE_S) / 60) + 3):  # now they fall behind
        feed(rig, [builder.add()])
        gone += closed(rig.pass_time(60))
    assert len(first - set(gone)) == spared


def two_block_relay_links(rig: Chosen, gives: bool) -> tuple[LinkId, LinkId]:
    """Wait for a second block-relay link; return both, in the order of opening."""
    builder = chain()
    while len(rig.dialled) < 2 or not rig.is_open(max(rig.dialled)):
        feed(rig, [builder.add()])
        rig.pass_time(60)
    first, second = min(rig.dialled), max(rig.dialled)
    if gives:
        block = builder.add()
        rig.say_headers(second, [block])
        rig.say(second, BlockMessage(block.raw))
    return first, second


def test_now_and_then_one_more_peer_is_asked_for_blocks_only_and_let_go():
    rig = Chosen(slots=0, block_only=1)
    rig.pass_time(20)
    assert connection_types(rig) == [ConnectionType.BLOCK_RELAY]
    first, second = two_block_relay_links(rig, gives=False)
    assert connection_types(rig) == [ConnectionType.BLOCK_RELAY, ConnectionType.BLOCK_RELAY]
    assert not rig.dialled[second].hello.flags
    rig.pass_time(MIN_CONNECT_S + CHECK_INTERVAL_S)
    assert rig.is_open(first)
    assert not rig.is_open(second)
    saved = [
        a.data for a in rig.actions if isinstance(a, SaveState) and a.part is SavedPart.ANCHORS
    ]
    assert load_anchors(saved[-1]) == [rig.dialled[first].address]


def test_who_gave_a_block_when_asked_for_a_look_takes_the_place_of_the_one_before():
    rig = Chosen(slots=0, block_only=1)
    rig.pass_time(20)
    first, second = two_block_relay_links(rig, gives=True)
    rig.pass_time(MIN_CONNECT_S + CHECK_INTERVAL_S)
    assert not rig.is_open(first)
    assert rig.is_open(second)
    saved = [
        a.data for a in rig.actions if isinstance(a, SaveState) and a.part is SavedPart.ANCHORS
    ]
    assert load_anchors(saved[-1])[0] == rig.dialled[second].address


def test_a_peer_that_stays_behind_is_asked_and_then_closed():
    rig = Chosen()
    rig.pass_time(60)
    builder = chain()
    feed(rig, builder.grow(3))
    good, bad = list(rig.has)
    rig.has[good] = builder.blocks
    gone = []
    for _ in range(int((BEHIND_S_MAX + CHALLENGE_S) / 60) + 3):
        feed(rig, [builder.add()])  # so that the tip is never stale
        gone += closed(rig.pass_time(60))
    assert bad in gone
    assert good not in gone
    assert all(
        peer.connection_type is ConnectionType.OUTBOUND_FULL_RELAY for peer in rig.gossip.peers()
    )
