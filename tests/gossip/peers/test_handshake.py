"""Handshakes: which peers are admitted, which are dialled, and the effects of a failure."""

from dataclasses import replace

import pytest

from chain.consensus.params import DEVNET, MAIN, REGTEST
from chain.gossip.actions import Admit, Close, ConnectionType, Dial, Feeler, Refuse
from chain.gossip.config import config_for
from chain.gossip.events import (
    Accepted,
    BadFrame,
    Closed,
    DialFailed,
    DialFailure,
    DialId,
    Dialled,
    Discovered,
    LinkId,
    ManualAdded,
    ManualRemoved,
    ManualTryRequested,
)
from chain.gossip.peers.dialling import (
    LINKS_TO_BLAME,
    MANUAL_MAX,
)
from chain.gossip.wire.address import Address, parse_address
from chain.gossip.wire.hello import HelloReply
from chain.gossip.wire.messages import Ping, Pong
from chain.primitives.numbers import SECOND_US, Hash32
from chain.simulator.rules import SIMULATION
from tests.gossip.rig import Rig, closed, peer_address, sent


def dials(actions):
    return [action for action in actions if isinstance(action, Dial)]


def answer_to(rig, hello, number=1):
    actions = rig.handle(Accepted(LinkId(999), peer_address(number), hello))
    return next(action for action in actions if isinstance(action, Admit | Refuse))


def test_a_node_of_our_network_is_let_in():
    rig = Rig()
    answer = answer_to(rig, rig.hello())
    assert isinstance(answer, Admit)
    assert answer.reply.your_address == peer_address(1)
    assert answer.reply.hello.identity == rig.gossip.hello().identity


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"magic": MAIN.magic}, 421),
        ({"identity": Hash32(bytes(32))}, 421),
        ({"version_min": 2, "version": 2}, 426),
        ({"version": 0, "version_min": 0}, 426),
    ],
)
def test_a_node_that_we_cannot_talk_to_is_refused(changes, status):
    rig = Rig()
    answer = answer_to(rig, rig.hello(**changes))
    assert isinstance(answer, Refuse)
    assert answer.status == status


def test_we_know_ourselves_by_our_nonce():
    rig = Rig()
    dial = next(a for a in rig.handle(ManualAdded(peer_address(1))) if isinstance(a, Dial))
    answer = answer_to(rig, dial.hello)
    assert isinstance(answer, Refuse)
    assert answer.status == 409
    rig.handle(DialFailed(dial.dial, DialFailure.SELF))
    assert not [a for a in rig.wait(7200) if isinstance(a, Dial)], "we dialled ourselves again"


def test_a_named_peer_that_was_down_for_a_night_is_dialled_within_minutes():
    rig = Rig()
    [dial] = dials(rig.handle(ManualAdded(peer_address(1))))
    rig.handle(DialFailed(dial.dial, DialFailure.UNREACHABLE))
    failed_until_s = rig.now.unix_s + 8 * 3600
    while rig.now.unix_s < failed_until_s:
        for dial in dials(rig.wait(60)):
            rig.handle(DialFailed(dial.dial, DialFailure.UNREACHABLE))
    assert dials(rig.wait(10 * 60))


@pytest.mark.parametrize(("links", "status"), [(2, None), (3, 429)])
def test_links_from_one_ip_are_few_in_public(links, status):
    rig = Rig()
    for _ in range(links):
        rig.accept(1)
    assert getattr(answer_to(rig, rig.hello()), "status", None) == status


@pytest.mark.parametrize("ip", ["127.0.0.1", "192.168.1.7", "172.17.0.1", "::1", "fd00::7"])
def test_links_from_an_ip_of_the_local_network_are_limited_only_together(ip):
    rig = Rig(config=replace(Rig().config, inbound_max=20))
    for number in range(20):
        address = parse_address(ip, 50_000 + number)
        actions = rig.handle(Accepted(LinkId(1_000 + number), address, rig.hello()))
        assert [a for a in actions if isinstance(a, Admit)], f"link {number}"
    rig.handle(Accepted(LinkId(2_000), parse_address(ip, 60_000), rig.hello()))
    assert len(rig.gossip.peers()) == 20


@pytest.mark.parametrize("ip", ["127.0.0.1", "172.17.0.1", "fe80::1", "fd00::7"])
def test_one_that_misbehaves_does_not_discourage_all_who_share_its_local_ip(ip):
    rig = Rig()
    rig.handle(Accepted(LinkId(1_000), parse_address(ip, 50_000), rig.hello()))
    rig.handle(BadFrame(LinkId(1_000), "bad"))
    assert not rig.is_open(LinkId(1_000))
    assert not rig.gossip._context.discouraged.has(parse_address(ip, 50_001), rig.now.unix_s)


@pytest.mark.parametrize("params", [DEVNET, REGTEST])
def test_links_from_one_ip_are_many_where_all_share_it(params):
    rig = Rig(config=config_for(params, agent="/test/", auto_dial=False), params=params)
    for _ in range(20):
        rig.accept(1)
    assert isinstance(answer_to(rig, rig.hello()), Admit)


@pytest.mark.parametrize(("free", "admitted"), [(1, True), (0, False)])
def test_inbound_slots_are_bounded(free, admitted):
    config = replace(config_for(SIMULATION, agent="/test/", auto_dial=False), inbound_max=5)
    rig = Rig(config=config)
    for number in range(1, 6 - free):
        rig.accept(number)
    answer = answer_to(rig, rig.hello(), 9)
    assert isinstance(answer, Admit) is admitted
    assert admitted or (answer.status == 503 and answer.retry_after_s > 0)


def rig_with_free_slots(free: int) -> Rig:
    """Return a rig with this number of free inbound slots, where peer 1 has misbehaved."""
    config = replace(config_for(SIMULATION, agent="/test/", auto_dial=False), inbound_max=40)
    rig = Rig(config=config)
    link = rig.accept(1)
    assert closed(rig.handle(BadFrame(link, "nonsense"))) == [link]
    for number in range(2, 42 - free):
        rig.accept(number)
    return rig


@pytest.mark.parametrize(("free", "status"), [(1, None), (0, 403)])
def test_who_misbehaved_is_let_in_only_while_slots_are_free(free, status):
    rig = rig_with_free_slots(free)
    assert getattr(answer_to(rig, rig.hello()), "status", None) == status


def test_who_misbehaved_is_the_first_to_make_room():
    rig = rig_with_free_slots(free=1)
    link = rig.accept(1)
    assert rig.is_open(link)
    newcomer = rig.accept(99)
    assert rig.is_open(newcomer)
    assert not rig.is_open(link)


def test_who_misbehaved_may_displace_others_again_after_a_day():
    rig = rig_with_free_slots(free=0)
    rig.start_s += 24 * 3600 - 1
    assert answer_to(rig, rig.hello()).status == 403
    rig.start_s += 1
    assert isinstance(answer_to(rig, rig.hello()), Admit)


@pytest.mark.parametrize("params", [DEVNET, REGTEST])
def test_where_nodes_share_an_ip_nobody_is_shut_out(params):
    rig = Rig(config=config_for(params, agent="/test/", auto_dial=False), params=params)
    link = rig.accept(1)
    assert closed(rig.handle(BadFrame(link, "nonsense"))) == [link]
    assert isinstance(answer_to(rig, rig.hello()), Admit)


def test_a_manual_peer_is_dialled_again_ever_later():
    rig = Rig()
    actions = rig.handle(ManualAdded(peer_address(1)))
    waits = []
    for _ in range(5):
        dial = next(a for a in actions if isinstance(a, Dial))
        assert dial.connection_type is ConnectionType.MANUAL
        failed_us = rig.mono_us
        rig.handle(DialFailed(dial.dial, DialFailure.UNREACHABLE))
        actions = []
        while not any(isinstance(a, Dial) for a in actions):
            actions = rig.wait(0.5)
        waits.append((rig.mono_us - failed_us) / SECOND_US)
    assert waits[0] < 12
    assert all(later > earlier for earlier, later in zip(waits, waits[2:], strict=False)), waits


def test_a_manual_peer_that_is_removed_is_closed_and_left_alone():
    rig = Rig()
    link = rig.dial(1)
    assert closed(rig.handle(ManualRemoved(peer_address(1)))) == [link]
    assert not [a for a in rig.wait(600) if isinstance(a, Dial)]


def test_a_peer_tried_once_is_dialled_in_spite_of_what_failed_before_and_then_left_alone():
    rig = Rig()
    for _ in range(3):
        (dial,) = dials(
            rig.handle(ManualTryRequested(peer_address(1)), ManualTryRequested(peer_address(1)))
        )
        assert (dial.address, dial.connection_type) == (peer_address(1), ConnectionType.MANUAL)
        rig.handle(DialFailed(dial.dial, DialFailure.FORBIDDEN))
    assert dials(rig.wait(600)) == []
    (dial,) = dials(rig.handle(ManualTryRequested(peer_address(1))))
    rig.handle(Dialled(dial.dial, LinkId(70), HelloReply(rig.hello(), None, 20)))
    assert dials(rig.handle(ManualTryRequested(peer_address(1)))) == [], "linked already"
    rig.handle(Closed(LinkId(70), "over"))
    assert dials(rig.wait(600)) == []


def test_no_more_peers_are_tried_once_than_there_may_be_links_to():
    rig = Rig()
    for number in range(1, MANUAL_MAX + 1):
        assert len(dials(rig.handle(ManualTryRequested(peer_address(number))))) == 1
    assert dials(rig.handle(ManualTryRequested(peer_address(0)))) == []
    assert len(dials(rig.handle(ManualAdded(peer_address(0))))) == 1


def test_outbound_slots_fill_from_what_was_discovered_and_no_further():
    rig = Rig(config=config_for(SIMULATION, agent="/test/"))
    rig.handle(Discovered(tuple(peer_address(number) for number in range(1, 30))))
    dialled = []
    for _ in range(60):
        for action in rig.wait(1):
            if isinstance(action, Dial):
                dialled.append(action.address)
                reply = HelloReply(rig.hello(), None, 20)
                rig.handle(Dialled(action.dial, LinkId(5000 + len(dialled)), reply))
        for peer in rig.gossip.peers():
            rig.say(peer.link, Ping(1))
    assert len(dialled) == len(set(dialled)) == rig.config.outbound_max + rig.config.block_relay_max
    purposes = [peer.connection_type for peer in rig.gossip.peers()]
    assert purposes == [ConnectionType.OUTBOUND_FULL_RELAY] * 8 + [ConnectionType.BLOCK_RELAY] * 2


def test_outbound_links_in_public_are_to_different_groups():
    rig = Rig(config=config_for(SIMULATION, agent="/test/"))
    rig.handle(Discovered(tuple(Address(bytes([20, 1, 0, n]), 9444) for n in range(1, 30))))
    dials = [a for a in rig.wait(10) if isinstance(a, Dial)]
    assert len(dials) == 1
    rig.handle(Dialled(dials[0].dial, LinkId(77), HelloReply(rig.hello(), None, 20)))
    assert not [a for a in rig.wait(10) if isinstance(a, Dial)]


def test_private_addresses_that_peers_tell_of_are_never_dialled():
    rig = Rig(config=config_for(SIMULATION, agent="/test/"))
    rig.handle(
        Discovered((Address(bytes([127, 0, 0, 1]), 9444), Address(bytes([10, 0, 0, 1]), 80)))
    )
    assert not [a for a in rig.wait(300) if isinstance(a, Dial | Feeler)]


def test_a_link_that_nobody_asked_for_is_closed():
    rig = Rig()
    actions = rig.handle(Dialled(DialId(12345), LinkId(8), HelloReply(rig.hello(), None, 20)))
    assert [a.link for a in actions if isinstance(a, Close)] == [8]
    assert not rig.gossip.peers()


def test_an_acceptor_of_another_network_is_closed():
    rig = Rig()
    dial = next(a for a in rig.handle(ManualAdded(peer_address(1))) if isinstance(a, Dial))
    other = rig.hello(magic=b"abcd")
    actions = rig.handle(Dialled(dial.dial, LinkId(8), HelloReply(other, None, 20)))
    assert closed(actions) == [8]


def test_a_silent_link_is_pinged_and_then_closed():
    rig = Rig()
    link = rig.accept()
    pings = sent(rig.wait(21), Ping, link)
    assert len(pings) == 1
    assert link in closed(rig.wait(100))


def test_a_link_that_answers_pings_lives():
    rig = Rig()
    link = rig.accept()
    rig.say_headers(link, [])
    for _ in range(40):
        for ping in sent(rig.wait(10), Ping, link):
            rig.say(link, Pong(ping.nonce))
    assert rig.is_open(link)
    assert rig.gossip.peers()[0].ping_us is not None


def test_a_ping_is_answered():
    rig = Rig()
    link = rig.accept()
    assert sent(rig.say(link, Ping(7)), Pong) == [Pong(7)]


def test_events_of_links_that_ended_are_ignored():
    rig = Rig()
    link = rig.accept()
    rig.handle(Closed(link, "gone"))
    assert rig.say(link, Ping(7)) == []
    assert rig.handle(Closed(link, "again"), BadFrame(link, "late")) == []


@pytest.mark.parametrize("links", [LINKS_TO_BLAME - 1, LINKS_TO_BLAME])
def test_a_dial_that_fails_is_held_against_the_address_only_while_others_answer(links):
    config = config_for(SIMULATION, agent="/test/", auto_dial=True)
    rig = Rig(config=config)
    for number in range(1, links + 1):
        rig.dial(number)
    address = peer_address(50)
    rig.handle(Discovered((address,)))
    dial = next(action for action in rig.wait(10) if isinstance(action, Dial))
    assert dial.address == address
    rig.handle(DialFailed(dial.dial, DialFailure.UNREACHABLE))
    known = rig.gossip._address_relay._book.get(address)
    assert known.failures == (links == LINKS_TO_BLAME)
    assert known.tried_s
