"""Eviction when all inbound slots are taken (H2)."""

from dataclasses import replace

import pytest

from chain.gossip.actions import Close, Refuse
from chain.gossip.config import config_for
from chain.gossip.events import Accepted, LinkId
from chain.gossip.peers.eviction import choose_evicted
from chain.gossip.wire.address import Address
from chain.simulator.rules import SIMULATION
from tests.gossip.rig import Rig

SLOTS = 60


def full_rig(*, slots: int = SLOTS, together: range = range(40, 50)) -> Rig:
    """Return a rig whose slots are taken by peers of different networks, but `together` of one."""
    config = config_for(SIMULATION, agent="/t/", auto_dial=False)
    rig = Rig(config=replace(config, inbound_max=slots))
    for number in range(slots):
        rig.mono_us += 1000
        group = 9 if number in together else 100 + number
        accept_from(rig, number + 1000, group, number)
    return rig


def accept_from(rig: Rig, link: int, group: int, host: int, flags: int = 3) -> list:
    remote = Address(bytes([77, group, 0, host]), 9444)
    return rig.handle(Accepted(LinkId(link), remote, rig.hello(flags=flags)))


def links(rig: Rig) -> list:
    return list(rig.gossip._context.links.values())


def test_the_youngest_of_the_network_with_the_most_links_goes():
    rig = full_rig()
    actions = accept_from(rig, 5000, 200, 1)
    assert [a.link for a in actions if isinstance(a, Close)] == [1049]
    assert rig.is_open(LinkId(5000))
    assert len(links(rig)) == SLOTS


def test_a_flood_from_one_network_only_parts_itself():
    rig = full_rig(together=range(0))
    honest = [link.id for link in links(rig)]
    for number in range(200):
        rig.mono_us += 1000
        accept_from(rig, 5000 + number, 9 + number % 3, number)
    kept = [link for link in honest if rig.is_open(link)]
    assert len(kept) >= SLOTS - 16
    assert len(links(rig)) <= SLOTS


def test_a_local_flood_displaces_only_itself_whatever_loopback_ips_it_has():
    """Each IP of 127.0.0.0/8 is this machine's: no /16 of it is a network of its own."""
    rig = full_rig(together=range(0))
    honest = [link.id for link in links(rig)]
    for number in range(200):
        rig.mono_us += 1000
        remote = Address(bytes([127, number, 0, 1]), 9444)
        rig.handle(Accepted(LinkId(5000 + number), remote, rig.hello()))
    assert sum(rig.is_open(link) for link in honest) >= SLOTS - 2


@pytest.mark.parametrize(
    ("merit", "value", "count"),
    [
        ("ping_us", 5, 8),
        ("last_transaction_us", 10**12, 4),
        ("last_block_us", 10**12, 4),
    ],
)
def test_what_is_useful_is_protected_and_not_more_of_it(merit, value, count):
    rig = full_rig(together=range(30, 60))
    for link in links(rig)[30:]:
        setattr(link, merit, value)
    survivors = 0
    for _ in range(30):
        evicted = choose_evicted(rig.gossip._context)
        if evicted is None or getattr(evicted, merit) != value:
            break
        rig.gossip._context.links.pop(evicted.id)
    survivors = sum(getattr(link, merit) == value for link in links(rig)[30:])
    assert survivors >= count


def test_block_only_links_that_gave_blocks_are_protected_besides():
    rig = full_rig(slots=16, together=range(16))
    for link in links(rig)[6:14]:
        link.hello = replace(link.hello, flags=0)
        link.last_block_us = 10**12
    for _ in range(20):
        evicted = choose_evicted(rig.gossip._context)
        if evicted is None:
            break
        assert evicted.hello.flags
        rig.gossip._context.links.pop(evicted.id)
    assert sum(not link.hello.flags for link in links(rig)) == 8


def test_whoever_misbehaved_goes_first():
    rig = full_rig()
    bad = links(rig)[0]
    rig.gossip._context.discouraged.add(bad.address, rig.now.unix_s)
    assert choose_evicted(rig.gossip._context) is bad


@pytest.mark.parametrize(("slots", "status"), [(12, 503), (40, 0)])
def test_where_all_are_worth_more_the_new_one_is_refused(slots, status):
    rig = full_rig(slots=slots, together=range(0))
    actions = accept_from(rig, 5000, 200, 1)
    assert [a.status for a in actions if isinstance(a, Refuse)] == ([status] if status else [])
    assert len(links(rig)) == slots


def test_outbound_links_are_never_evicted():
    rig = full_rig()
    dialled = rig.dial(200)
    for number in range(100):
        rig.mono_us += 1000
        accept_from(rig, 5000 + number, number, number)
    assert rig.is_open(dialled)
