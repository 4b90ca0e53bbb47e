"""Peers that we chose and that may hide a better chain (H28)."""

from dataclasses import replace

from chain.gossip.actions import Dial, Purpose
from chain.gossip.config import config_for
from chain.gossip.events import Dialled, Discovered, LinkId
from chain.gossip.hello import HelloReply
from chain.gossip.messages import BlockMessage, GetHeaders, Ping, Pong
from chain.gossip.stale import BEHIND_S_MAX, CHALLENGE_S, STALE_SPACINGS
from chain.simulator.rules import SIMULATION
from tests.gossip.rig import Rig, chain, closed, peer_address, sent, sent_to
from tests.gossip.test_headersync import feed

SLOTS = 2


class Chosen(Rig):
    """A rig whose outbound links answer pings and questions for headers."""

    def __init__(self) -> None:
        config = config_for(SIMULATION, agent="/t/", auto_dial=True)
        super().__init__(config=replace(config, outbound_max=SLOTS, block_only_max=0))
        self.has: dict[LinkId, list] = {}
        self.handle(Discovered(tuple(peer_address(n) for n in range(1, 9))))

    def live(self, seconds: float) -> list:
        """Let time pass with polite peers; a new one has nothing."""
        done = []
        for _ in range(int(seconds / 2)):
            actions = self.wait(2)
            for action in [a for a in actions if isinstance(a, Dial)]:
                link = LinkId(7000 + len(self.has))
                self.has[link] = []
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
    rig.live(60)
    assert len(rig.gossip.peers()) == SLOTS
    rig.live(STALE_SPACINGS * SIMULATION.spacing_s)
    assert len(rig.has) == SLOTS + 1
    blocks = chain().grow(2)
    newest = max(rig.has)
    rig.say_headers(newest, blocks[:1])  # it knows more than the others
    rig.say(newest, BlockMessage(blocks[0].raw))
    actions = rig.live(120)
    assert len(closed(actions)) >= 1
    assert newest not in closed(actions)


def test_a_tip_that_moves_brings_nobody():
    rig = Chosen()
    rig.live(60)
    builder = chain()
    for _ in range(10):
        feed(rig, [builder.add()])
        rig.live(60)
    assert len(rig.has) == SLOTS


def test_a_peer_that_stays_behind_is_asked_and_then_closed():
    rig = Chosen()
    rig.live(60)
    builder = chain()
    feed(rig, builder.grow(3))
    good, bad = list(rig.has)
    rig.has[good] = builder.blocks
    gone = []
    for _ in range(int((BEHIND_S_MAX + CHALLENGE_S) / 60) + 3):
        feed(rig, [builder.add()])  # so that the tip is never stale
        gone += closed(rig.live(60))
    assert bad in gone
    assert good not in gone
    assert all(peer.purpose is Purpose.FULL for peer in rig.gossip.peers())
