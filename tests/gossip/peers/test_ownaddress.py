"""Our address is announced only if outbound peers agree on it."""

from dataclasses import replace

import pytest

from chain.consensus.params import REGTEST
from chain.gossip.actions import Dial
from chain.gossip.config import config_for
from chain.gossip.events import Closed, Dialled, Discovered, LinkId, ManualAdded
from chain.gossip.wire.address import Address
from chain.gossip.wire.hello import HelloReply
from chain.gossip.wire.messages import Addresses, Ping, Pong
from chain.simulator.rules import SIMULATION
from tests.gossip.rig import Rig, peer_address, sent, sent_to

PORT = 9444
OURS = Address(bytes([88, 1, 2, 3]), 50_001)
OTHER = Address(bytes([99, 1, 2, 3]), 50_002)


def rig_of(listen, params=SIMULATION, **changes):
    config = config_for(params, agent="/test/", listen=listen, auto_dial=False)
    return Rig(config=replace(config, **changes), params=params)


def dial(rig, at, seen_as, link):
    """Dial an address whose node sees us as `seen_as`; return the link."""
    (made,) = [a for a in rig.handle(ManualAdded(at)) if isinstance(a, Dial)]
    return rig.handle(Dialled(made.dial, LinkId(link), HelloReply(rig.hello(), seen_as, 20)))


def test_two_peers_of_different_networks_have_to_agree():
    rig = rig_of(Address(bytes(4), PORT))
    assert rig.gossip.hello().listen is None
    dial(rig, peer_address(1), OURS, 501)
    assert rig.gossip.hello().listen is None, "one witness is none"
    dial(rig, peer_address(2), OTHER, 502)
    assert rig.gossip.hello().listen is None, "they do not agree"
    actions = dial(rig, peer_address(3), OURS, 503)
    assert rig.gossip.hello().listen == Address(OURS.ip, PORT)
    told = [m.records[0].address for m in sent(actions, Addresses)]
    assert set(told) == {Address(OURS.ip, PORT)}
    assert sent_to(actions, Addresses) == [501, 502, 503]
    rig.handle(Closed(LinkId(501), "gone"))
    assert rig.gossip.hello().listen is None


def test_two_peers_of_one_network_are_one_witness():
    rig = rig_of(Address(bytes(4), PORT))
    dial(rig, Address(bytes([20, 1, 0, 1]), PORT), OURS, 501)
    dial(rig, Address(bytes([20, 1, 0, 2]), PORT), OURS, 502)
    assert rig.gossip.hello().listen is None


def test_who_dials_us_is_no_witness():
    rig = rig_of(Address(bytes(4), PORT))
    dial(rig, peer_address(1), OURS, 501)
    for number in range(2, 9):
        rig.accept(number)
    assert rig.gossip.hello().listen is None


@pytest.mark.parametrize(
    ("listen", "params"), [(Address(OTHER.ip, PORT), SIMULATION), (Address(bytes(4), 1), REGTEST)]
)
def test_a_configured_address_and_test_networks_need_no_witness(listen, params):
    assert rig_of(listen, params).gossip.hello().listen == listen


def test_without_a_listener_nothing_is_told():
    rig = rig_of(None)
    for number in (1, 2):
        dial(rig, peer_address(number), OURS, 500 + number)
    assert rig.gossip.hello().listen is None


@pytest.mark.slow
def test_our_own_address_is_told_again_every_day_and_never_dialled():
    rig = rig_of(Address(OURS.ip, PORT), auto_dial=True)
    rig.handle(Discovered((Address(OURS.ip, PORT),)))
    assert not [a for a in rig.wait(60) if isinstance(a, Dial)]
    dial(rig, peer_address(1), None, 501)
    rig.say_headers(LinkId(501), [])
    actions = []
    for _ in range(2 * 24 * 60):
        passed = rig.wait(60)
        actions += passed
        for ping in sent(passed, Ping):
            rig.say(LinkId(501), Pong(ping.nonce))
    told = [message.records[0].address for message in sent(actions, Addresses)]
    assert set(told) == {Address(OURS.ip, PORT)}
