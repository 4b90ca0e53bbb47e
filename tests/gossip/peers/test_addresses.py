"""The address book, and the relay of addresses."""

from dataclasses import replace
from random import Random

import pytest

from chain.gossip.actions import Feeler, SavedPart, SaveState
from chain.gossip.config import config_for
from chain.gossip.events import FeelerSucceeded
from chain.gossip.gossip import SavedState
from chain.gossip.peers.addresses import (
    BUCKET_SLOTS,
    HORIZON_S,
    NEW_BUCKETS_PER_SOURCE,
    AddressBook,
)
from chain.gossip.wire.address import Address
from chain.gossip.wire.messages import Addresses, AddressRecord, GetAddresses
from chain.primitives.encoding import DecodeError
from chain.simulator.rules import SIMULATION, START_S
from tests.gossip.rig import SECRET, Rig, peer_address, sent, sent_to

NOW_S = START_S
SOURCE = Address(bytes([30, 1, 0, 1]), 9444)


def address(number: int) -> Address:
    """Return one of 50,000 addresses, each in its own group."""
    return Address((0x14000001 + number * 0x10000).to_bytes(4, "big"), 9444)


def choose(book, rng, *, new_only=False):
    return book.choose(rng, lambda _: True, new_only=new_only)


def test_a_choice_asks_of_each_address_only_once_and_finds_the_one_that_is_wanted():
    book = AddressBook(SECRET)
    for number in range(5):
        book.add(address(number), SOURCE, NOW_S, NOW_S)
    asked = []
    assert book.choose(Random(1), asked.append, new_only=False) is None
    assert len(asked) == len(set(asked)) == len(book)
    for number in range(5):
        wanted = address(number)
        assert book.choose(Random(1), wanted.__eq__, new_only=False) == wanted


def test_a_saved_book_comes_back():
    book = AddressBook(SECRET)
    for number in range(200):
        book.add(address(number), SOURCE, NOW_S - number, NOW_S)
    for number in range(0, 200, 3):
        book.tried(address(number), NOW_S)
        book.reached(address(number), NOW_S)
    again = AddressBook(SECRET)
    again.load(book.save(), NOW_S)
    assert len(again) == len(book) > 150
    assert again.get(address(3)).reached_s == NOW_S


@pytest.mark.parametrize("damage", ["truncate", "flip", "version", "empty"])
def test_a_damaged_book_is_refused_and_the_node_starts_anew(damage):
    book = AddressBook(SECRET)
    book.add(address(1), SOURCE, NOW_S, NOW_S)
    data = bytearray(book.save())
    if damage == "flip":
        data[-1] ^= 1
    elif damage == "version":
        data[8] = 9
    else:
        del data[-1 if damage == "truncate" else 0 :]
    again = AddressBook(SECRET)
    with pytest.raises(DecodeError):
        again.load(bytes(data), NOW_S)
    assert len(again) == 0
    rig = Rig(saved=SavedState(addresses=bytes(data)))
    assert rig.gossip.peers() == []


def test_one_source_fills_only_its_share():
    book = AddressBook(SECRET)
    for number in range(20_000):
        book.add(address(number), SOURCE, NOW_S, NOW_S)
    assert 3000 < len(book) <= NEW_BUCKETS_PER_SOURCE * BUCKET_SLOTS
    other = Address(bytes([99, 1, 0, 1]), 1)
    taken = sum(book.add(address(20_000 + number), other, NOW_S, NOW_S) for number in range(100))
    assert taken > 80, "the flood took the slots of another source"


def test_a_flood_does_not_push_out_what_was_reached():
    """H1: the tried addresses stay."""
    book = AddressBook(SECRET)
    honest = [peer_address(number) for number in range(20)]
    for one in honest:
        book.add(one, SOURCE, NOW_S, NOW_S)
        book.reached(one, NOW_S)
    for source in range(50):
        for number in range(400):
            liar = Address(bytes([40, source, 0, 1]), 1)
            book.add(address(1000 + source * 500 + number), liar, NOW_S, NOW_S)
    assert all(book.get(one) is not None for one in honest)
    rng = Random(5)
    chosen = [choose(book, rng) for _ in range(400)]
    assert 0.3 < sum(one in honest for one in chosen) / len(chosen) < 0.7


def test_failures_make_an_address_rare_and_then_forgotten_for_another():
    book = AddressBook(SECRET)
    book.add(address(1), SOURCE, NOW_S, NOW_S)
    for _ in range(3):
        book.tried(address(1), NOW_S)
    assert not book.get(address(1)).is_terrible(NOW_S + 59)
    assert book.get(address(1)).is_terrible(NOW_S + 60)


@pytest.mark.parametrize(("age_s", "hopeless"), [(HORIZON_S, False), (HORIZON_S + 1, True)])
def test_addresses_not_heard_of_are_forgotten(age_s, hopeless):
    book = AddressBook(SECRET)
    book.add(address(1), SOURCE, NOW_S - age_s, NOW_S)
    assert book.get(address(1)).is_terrible(NOW_S) is hopeless


def test_a_forgotten_address_is_gone_from_its_slot():
    book = AddressBook(SECRET)
    for reached in (False, True):
        book.add(address(1), SOURCE, NOW_S, NOW_S)
        if reached:
            book.reached(address(1), NOW_S)
        book.forget(address(1))
        assert len(book) == 0
        assert choose(book, Random(1)) is None


def test_a_peer_that_we_chose_is_asked_for_addresses_and_one_that_chose_us_is_not():
    rig = Rig()
    outbound, inbound = rig.dial(1), rig.accept(2)
    assert sent_to(rig.actions, GetAddresses) == [outbound]
    assert inbound not in sent_to(rig.actions, GetAddresses)


def test_getaddr_is_answered_once_and_only_to_inbound_links():
    rig = Rig()
    outbound, inbound = rig.dial(1), rig.accept(2)
    assert len(sent(rig.say(inbound, GetAddresses()), Addresses)) == 1
    assert sent(rig.say(inbound, GetAddresses()), Addresses) == []
    assert sent(rig.say(outbound, GetAddresses()), Addresses) == []


def test_what_is_told_is_a_share_of_the_book_and_the_same_for_a_day():
    rig = Rig()
    source = rig.dial(1)
    told = tuple(AddressRecord(peer_address(n), rig.now.unix_s, 1) for n in range(2, 102))
    rig.say(source, Addresses(told))
    first = sent(rig.say(rig.accept(200), GetAddresses()), Addresses)[0]
    second = sent(rig.say(rig.accept(201), GetAddresses()), Addresses)[0]
    assert first == second
    assert 10 < len(first.records) <= 23


def test_unsolicited_addresses_are_taken_at_a_slow_rate():
    rig = Rig()
    link = rig.accept(1)
    records = tuple(AddressRecord(peer_address(n), rig.now.unix_s, 1) for n in range(2, 102))
    rig.say(link, Addresses(records))
    rig.wait(1)
    saved = next(a for a in rig.wait(400) if isinstance(a, SaveState))
    assert saved.part is SavedPart.ADDRESSES
    book = AddressBook(SECRET)
    book.load(saved.data, rig.now.unix_s)
    assert len(book) <= 2


def test_a_fresh_address_is_passed_on_to_two_links():
    rig = Rig()
    source = rig.dial(1)
    others = [rig.accept(number) for number in range(2, 10)]
    actions = rig.say(source, Addresses((AddressRecord(peer_address(50), rig.now.unix_s, 1),)))
    targets = sent_to(actions, Addresses)
    assert len(targets) == 2
    assert set(targets) <= set(others)
    again = rig.say(source, Addresses((AddressRecord(peer_address(50), rig.now.unix_s, 1),)))
    assert sent_to(again, Addresses) == []


@pytest.mark.parametrize(
    ("listen", "believed"),
    [
        (Address(peer_address(2).ip, 7777), Address(peer_address(2).ip, 7777)),
        (Address(bytes(4), 7777), Address(peer_address(2).ip, 7777)),
        (Address(peer_address(3).ip, 7777), None),
    ],
)
def test_a_claimed_address_must_be_where_the_peer_is(listen, believed):
    rig = Rig()
    rig.accept(2, listen=listen)
    record = next(a for a in rig.wait(301) if isinstance(a, SaveState))
    book = AddressBook(SECRET)
    book.load(record.data, rig.now.unix_s)
    assert len(book) == (believed is not None)
    assert believed is None or book.get(believed) is not None


def test_new_addresses_are_probed_now_and_then():
    config = config_for(SIMULATION, agent="/test/", auto_dial=True)
    rig = Rig(config=replace(config, outbound_max=0, block_relay_max=0))
    rig.accept(1, listen=Address(bytes(4), 9444))
    probe = next(a for a in rig.wait(1800) if isinstance(a, Feeler))
    assert probe.address == peer_address(1)
    rig.handle(FeelerSucceeded(probe.dial, rig.hello()))
    book = AddressBook(SECRET)
    book.load(next(a for a in rig.wait(301) if isinstance(a, SaveState)).data, rig.now.unix_s)
    assert book.get(peer_address(1)).reached_s > 0
