"""Peer infos: heights, pings, requests; and links that the user removed."""

import pytest

from chain.gossip.actions import Dial, Refuse
from chain.gossip.config import config_for
from chain.gossip.events import (
    Accepted,
    DialFailed,
    DialFailure,
    Dialled,
    Discovered,
    LinkId,
    LocalBlock,
    ManualTryRequested,
    NetworkActivity,
    PingWanted,
)
from chain.gossip.peers.greeting import STATUS_FULL
from chain.gossip.peers.policy import network_name
from chain.gossip.wire.compact import COMPACT_VERSION, SendCompact
from chain.gossip.wire.hello import HelloReply
from chain.gossip.wire.messages import (
    WITNESS_BLOCK,
    Addresses,
    AddressRecord,
    BlockMessage,
    FeeFilter,
    GetData,
    GetHeaders,
    Inventory,
    Ping,
    Pong,
)
from chain.primitives.numbers import NULL_HASH, Hash32
from chain.simulator.rules import SIMULATION
from tests.gossip.rig import Rig, chain, closed, peer_address, sent, sent_to


def info(rig, link):
    (found,) = [peer for peer in rig.gossip.peers() if peer.link == link]
    return found


def heights(rig, link):
    found = info(rig, link)
    return found.known_height, found.header_height, found.common_height


def rig_with_blocks(count):
    rig = Rig()
    builder = chain()
    builder.grow(count)
    source = rig.dial(9)
    rig.say_headers(source, builder.blocks)
    for block in builder.blocks:
        rig.say(source, BlockMessage.of(block))
    assert rig.ledger.chain.tip.height == count
    return rig, builder


def test_height_of_a_peer_grows_with_the_blocks_that_it_is_given():
    rig, builder = rig_with_blocks(5)
    link = rig.accept(height=0)
    assert heights(rig, link) == (None, None, None)
    asked = tuple(Inventory(WITNESS_BLOCK, block.id) for block in builder.blocks[:3])
    rig.say(link, GetData(asked))
    assert heights(rig, link) == (None, 3, 3)
    assert info(rig, link).start_height == 0


def test_height_of_a_peer_is_at_least_what_it_asks_for_headers_after():
    rig, builder = rig_with_blocks(5)
    link = rig.accept()
    unknown = Hash32(b"\xff" * 32)
    rig.say(link, GetHeaders((unknown,), NULL_HASH))
    assert heights(rig, link) == (None, None, None)
    rig.say(link, GetHeaders((unknown, builder.blocks[3].id, builder.blocks[1].id), NULL_HASH))
    assert heights(rig, link) == (None, 4, 4)


@pytest.mark.parametrize("compact", [False, True])
def test_height_of_a_peer_grows_with_own_blocks_that_it_is_pushed(compact):
    rig = Rig()
    link = rig.accept()
    if compact:
        rig.say(link, SendCompact(announces=True, version=COMPACT_VERSION))
    assert info(rig, link).wants_pushes == compact
    block = rig.ledger.mine(b"\x00\x14" + bytes(20), 1, rig.now.unix_s)
    rig.handle(LocalBlock(block))
    assert heights(rig, link) == (None, 1, 1)


def test_height_that_is_only_given_makes_nobody_be_asked_for_blocks():
    rig, builder = rig_with_blocks(5)
    link = rig.accept()
    rig.say(link, GetData((Inventory(WITNESS_BLOCK, builder.blocks[4].id),)))
    assert info(rig, link).known_height is None
    assert not rig.gossip._context.links[link].has(rig.ledger.chain.tip)


def test_blocks_that_a_peer_was_asked_for_are_told_by_height():
    rig = Rig()
    builder = chain()
    builder.grow(3)
    link = rig.dial()
    rig.say_headers(link, builder.blocks)
    assert sorted(info(rig, link).in_flight) == [1, 2, 3]
    rig.say(link, BlockMessage.of(builder.blocks[0]))
    assert sorted(info(rig, link).in_flight) == [2, 3]
    assert heights(rig, link) == (3, 3, 1)


def test_ping_on_demand_is_awaited_then_timed():
    rig = Rig()
    one, two = rig.accept(1), rig.accept(2)
    actions = rig.handle(PingWanted())
    assert sent_to(actions, Ping) == [one, two]
    (ping,) = sent(actions, Ping, one)
    rig.mono_us += 250_000
    rig.handle(PingWanted())
    assert info(rig, one).ping_waits_us == 250_000
    assert sent(rig.handle(PingWanted()), Ping) == [], "one at a time"
    rig.say(one, Pong(ping.nonce))
    found = info(rig, one)
    assert (found.ping_us, found.last_ping_us, found.ping_waits_us) == (250_000, 250_000, None)
    (ping,) = sent(rig.handle(PingWanted()), Ping, one)
    rig.mono_us += 900_000
    rig.say(one, Pong(ping.nonce))
    assert (info(rig, one).ping_us, info(rig, one).last_ping_us) == (250_000, 900_000)


def test_fee_filter_and_addresses_of_a_peer_are_told():
    rig = Rig()
    link = rig.accept()
    rig.say(link, FeeFilter(5000))
    assert info(rig, link).fee_floor == 5000
    records = [AddressRecord(peer_address(n), rig.now.unix_s, 1) for n in range(50, 60)]
    rig.say(link, Addresses(tuple(records)))
    found = info(rig, link)
    assert found.addresses_taken + found.addresses_refused == 10
    assert found.addresses_refused >= 8, "one that dialled us has one token at first"


def test_known_addresses_are_told_by_count_and_kind():
    rig = Rig()
    addresses = tuple(peer_address(number) for number in range(30))
    rig.handle(Discovered(addresses))
    assert {r.address for r in rig.gossip.known_addresses(100, (4, 16))} == set(addresses)
    assert len(rig.gossip.known_addresses(7, (4,))) == 7
    assert rig.gossip.known_addresses(7, (16,)) == []
    assert rig.gossip.known_addresses(0, (4, 16)) == []


def test_without_network_activity_links_end_and_nobody_is_dialled_or_let_in():
    rig = Rig(config=config_for(SIMULATION, agent="/t/", auto_dial=True))
    dialled, accepted = rig.dial(1), rig.accept(2)
    actions = rig.handle(NetworkActivity(is_active=False))
    assert sorted(closed(actions)) == sorted([dialled, accepted])
    rig.handle(Discovered(tuple(peer_address(number) for number in range(20, 40))))
    rig.handle(ManualTryRequested(peer_address(3)))
    assert not [a for a in rig.wait(7200) if isinstance(a, Dial)]
    refused = rig.handle(Accepted(LinkId(77), peer_address(4), rig.hello()))
    assert [a.status for a in refused if isinstance(a, Refuse)] == [STATUS_FULL]
    actions = rig.handle(NetworkActivity(is_active=True))
    assert peer_address(1) in [a.address for a in actions if isinstance(a, Dial)]
    assert rig.is_open(rig.accept(5))


def test_dial_that_ends_after_the_user_wants_no_links_gives_none():
    rig = Rig()
    actions = rig.handle(ManualTryRequested(peer_address(3)))
    (dial,) = [action for action in actions if isinstance(action, Dial)]
    rig.handle(NetworkActivity(is_active=False))
    actions = rig.handle(Dialled(dial.dial, LinkId(50), HelloReply(rig.hello(), None, 20)))
    assert closed(actions) == [50]
    assert rig.gossip.peers() == []
    rig.handle(DialFailed(dial.dial, DialFailure.UNREACHABLE))


@pytest.mark.parametrize(
    ("ip", "name"),
    [
        (bytes([8, 8, 8, 8]), "ipv4"),
        (bytes([127, 0, 0, 1]), "not_publicly_routable"),
        (bytes([10, 0, 0, 1]), "not_publicly_routable"),
        (bytes.fromhex("2a00" + "00" * 13 + "01"), "ipv6"),
        (bytes(15) + b"\x01", "not_publicly_routable"),
    ],
)
def test_networks_have_bitcoins_names(ip, name):
    address = peer_address(1)
    assert network_name(type(address)(ip, 9444)) == name
