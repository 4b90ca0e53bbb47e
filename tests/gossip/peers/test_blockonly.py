"""Block-relay links, anchors, and the saved list of misbehaving peers."""

from dataclasses import replace

import pytest

from chain.gossip.actions import ConnectionType, Dial, SavedPart, SaveState
from chain.gossip.config import config_for
from chain.gossip.events import Dialled, Discovered, LinkId
from chain.gossip.gossip import SavedState
from chain.gossip.limits import DISCOURAGED_S, Discouraged
from chain.gossip.peers.anchors import load_anchors, save_anchors
from chain.gossip.wire.address import Address
from chain.gossip.wire.hello import HelloReply
from chain.gossip.wire.messages import (
    WTX,
    Addresses,
    AddressRecord,
    GetAddresses,
    GetData,
    Inv,
    Inventory,
)
from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import Hash32
from chain.simulator.rules import SIMULATION
from tests.gossip.rig import Rig, peer_address, sent

SECRET = bytes(32)


def dialling_rig(saved: SavedState | None = None, **how: int) -> Rig:
    config = config_for(SIMULATION, agent="/t/")
    return Rig(config=replace(config, **how), saved=saved)


def dials(rig: Rig) -> list[Dial]:
    return [action for action in rig.actions if isinstance(action, Dial)]


def answer_dials(rig: Rig) -> dict[LinkId, Dial]:
    """Let each dial so far open a link."""
    links = {}
    for number, dial in enumerate(dials(rig)):
        link = LinkId(900 + number)
        rig.handle(Dialled(dial.dial, link, HelloReply(rig.hello(), None, 20)))
        links[link] = dial
    return links


def test_besides_full_links_two_for_blocks_only_are_dialled():
    rig = dialling_rig()
    rig.handle(Discovered(tuple(peer_address(number) for number in range(1, 60))))
    done = 0
    for _ in range(30):
        rig.wait(4)
        for dial in dials(rig)[done:]:
            reply = HelloReply(rig.hello(), None, 20)
            rig.handle(Dialled(dial.dial, LinkId(9000 + dial.dial), reply))
        done = len(dials(rig))
    purposes = [peer.connection_type for peer in rig.gossip.peers()]
    assert purposes.count(ConnectionType.OUTBOUND_FULL_RELAY) == 8
    assert purposes.count(ConnectionType.BLOCK_RELAY) == 2


def block_only_link(rig: Rig) -> LinkId:
    rig.handle(Discovered((peer_address(1),)))
    rig.wait(10)
    ((link, dial),) = answer_dials(rig).items()
    assert dial.connection_type is ConnectionType.BLOCK_RELAY
    assert dial.hello.flags == 0
    assert dial.hello.listen is None
    return link


def test_a_link_for_blocks_only_carries_neither_transactions_nor_addresses():
    rig = dialling_rig(outbound_max=0)
    link = block_only_link(rig)
    inv = Inv((Inventory(WTX, Hash32(bytes(32))),))
    told = Addresses((AddressRecord(peer_address(7), rig.now.unix_s, 1),))
    rig.say(link, inv, told)
    actions = rig.wait(60)
    assert sent(rig.actions + actions, GetAddresses, link) == []
    assert sent(rig.actions + actions, GetData, link) == []
    assert len(rig.gossip._address_relay._book) == 1


def test_links_for_blocks_only_are_the_first_to_be_dialled_after_a_restart():
    rig = dialling_rig(outbound_max=0)
    block_only_link(rig)
    saved = [
        a.data for a in rig.actions if isinstance(a, SaveState) and a.part is SavedPart.ANCHORS
    ]
    again = dialling_rig(SavedState(anchors=saved[-1]))
    again.handle(Discovered(tuple(peer_address(number) for number in range(2, 60))))
    again.wait(1)
    assert dials(again)[0].address == peer_address(1)
    assert dials(again)[0].connection_type is ConnectionType.BLOCK_RELAY


@pytest.mark.parametrize(
    "damaged",
    [
        b"\x01\x04",
        b"\x00",
        save_anchors([peer_address(1)] * 2) * 2,
        save_anchors([replace(peer_address(1), port=0)]),
    ],
)
def test_damaged_anchors_are_forgotten(damaged):
    with pytest.raises(DecodeError):
        load_anchors(damaged)
    rig = dialling_rig(SavedState(anchors=damaged))
    assert dials(rig) == []


def test_anchors_come_back():
    addresses = [peer_address(1), Address(bytes(15) + b"\x01", 1)]
    assert load_anchors(save_anchors(addresses)) == addresses


def test_who_misbehaved_is_remembered_across_a_restart():
    before, after = Discouraged(SECRET), Discouraged(SECRET)
    before.add(peer_address(1), 1000)
    after.load(before.save(1000))
    assert after.has(peer_address(1), 1000)
    assert not after.has(peer_address(2), 1000)
    assert before.save(1000 + DISCOURAGED_S) == b""
    with pytest.raises(DecodeError):
        after.load(bytes(23))


def test_a_damaged_list_of_who_misbehaved_is_forgotten():
    rig = dialling_rig(SavedState(discouraged=bytes(5)))
    assert len(rig.gossip._context.discouraged) == 0


def test_who_misbehaved_is_saved_and_read_back():
    rig = dialling_rig()
    rig.gossip._context.discouraged.add(peer_address(3), rig.now.unix_s)
    saves = [
        a for a in rig.wait(301) if isinstance(a, SaveState) and a.part is SavedPart.DISCOURAGED
    ]
    again = dialling_rig(SavedState(discouraged=saves[-1].data))
    assert again.gossip._context.discouraged.has(peer_address(3), rig.now.unix_s)
