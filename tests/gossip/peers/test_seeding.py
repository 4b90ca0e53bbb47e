"""Seeds are used while few addresses are known, within bounds, and count as one source."""

from dataclasses import replace

import pytest

from chain.consensus.params import DEVNET
from chain.gossip.actions import Close, ConnectionType, Dial, ResolveSeed, Trace
from chain.gossip.bans import Ban, Bans, parse_network
from chain.gossip.config import config_for
from chain.gossip.events import (
    BadFrame,
    Closed,
    DialFailed,
    DialFailure,
    Dialled,
    LinkId,
    NetworkActivity,
    SeedResolved,
)
from chain.gossip.gossip import SavedState
from chain.gossip.peers.addresses import AddressBook
from chain.gossip.peers.dialling import FEW_LINKS, NAMED_REDIAL_S, REDIAL_JITTER
from chain.gossip.peers.links import SEED_ANSWERED, SEED_SILENT
from chain.gossip.peers.seeding import (
    ANSWER_S_MAX,
    CHECK_INTERVAL_S,
    KNOWN_FIRST_S,
    RESOLVE_AGAIN_S,
    RESOLVE_AGAIN_S_MAX,
    THIN_BOOK,
)
from chain.gossip.seeds import SEED_ADDRESSES_MAX, SEEDS_AT_ONCE, DnsSeed
from chain.gossip.wire.address import Address, parse_address
from chain.gossip.wire.hello import RELAYS_ADDRESSES, HelloReply
from chain.gossip.wire.messages import Addresses, AddressRecord, GetAddresses, GetHeaders
from chain.primitives.numbers import SECOND_US
from chain.simulator.rules import SIMULATION, START_S
from tests.gossip.rig import SECRET, Rig, peer_address, sent

NAME = DnsSeed("seed.example.org", 9444)
NODE = parse_address("198.18.0.7", 9444)  # of no public network
HERE = parse_address("127.0.0.1", 9444)
FAR_LINK = LinkId(10_000)


def rig(*seeds, params=SIMULATION, auto_dial=True, **settings):
    config = config_for(params, agent="/t/", auto_dial=auto_dial)
    return Rig(params=params, config=replace(config, seeds=seeds), **settings)


def resolutions(actions):
    return [action.seed for action in actions if isinstance(action, ResolveSeed)]


def fetches(actions):
    return [a for a in dials(actions) if a.connection_type is ConnectionType.ADDR_FETCH]


def dials(actions):
    return [action for action in actions if isinstance(action, Dial)]


def traces(actions, kind):
    return [dict(a.fields) for a in actions if isinstance(a, Trace) and a.kind == kind]


def saved_book(count):
    book = AddressBook(SECRET)
    number = 0
    while len(book) < count:
        number += 1
        book.add(peer_address(number), peer_address(number), START_S + 3600, START_S + 3600)
    return SavedState(addresses=book.save())


def known(subject):
    return {record.address for record in subject.gossip.known_addresses(10**6, {4, 16})}


def linked_for_addresses(subject, link=FAR_LINK):
    """Let the seed that was dialled accept; return the actions."""
    dial = fetches(subject.actions)[-1]
    return subject.handle(Dialled(dial.dial, link, HelloReply(subject.hello(), None, 20)))


def records(*numbers):
    now_s = START_S + 3600
    return Addresses(tuple(AddressRecord(peer_address(n), now_s, 1) for n in numbers))


def test_a_node_that_knows_no_address_uses_its_seeds_at_once():
    subject = rig(NAME, NODE)
    assert resolutions(subject.actions) == [NAME]
    (dial,) = dials(subject.actions)
    assert (dial.address, dial.connection_type) == (NODE, ConnectionType.ADDR_FETCH)
    assert (dial.hello.flags, dial.hello.listen) == (RELAYS_ADDRESSES, None)


def test_without_seeds_or_without_automatic_dialling_nothing_is_resolved():
    for subject in (rig(), rig(NAME, NODE, auto_dial=False)):
        subject.wait(3600)
        assert not resolutions(subject.actions)
        assert not dials(subject.actions)


@pytest.mark.parametrize(("count", "is_used"), [(THIN_BOOK - 1, True), (THIN_BOOK, False)])
def test_seeds_are_used_only_while_the_address_book_is_thin(count, is_used):
    subject = rig(NAME, saved=saved_book(count))
    assert not resolutions(subject.wait(KNOWN_FIRST_S - 1)), "known addresses come first"
    assert bool(resolutions(subject.wait(2 + CHECK_INTERVAL_S))) is is_used


@pytest.mark.parametrize(("links", "is_used"), [(FEW_LINKS - 1, True), (FEW_LINKS, False)])
def test_seeds_are_used_only_while_there_are_few_outbound_links(links, is_used):
    subject = rig(NAME, saved=saved_book(1))
    for number in range(links):
        subject.dial(300 + number)
    assert bool(resolutions(subject.wait(KNOWN_FIRST_S + 1))) is is_used


def test_inbound_links_do_not_keep_seeds_from_being_used():
    subject = rig(NAME, saved=saved_book(1))
    for number in range(FEW_LINKS):
        subject.accept(300 + number)
    assert resolutions(subject.wait(KNOWN_FIRST_S + 1)) == [NAME]


def test_a_dns_seeds_addresses_are_stored_with_the_seed_as_source_and_dialled():
    subject = rig(NAME)
    actions = subject.handle(SeedResolved(NAME, (peer_address(1), peer_address(2))))
    assert known(subject) == {peer_address(1), peer_address(2)}
    assert subject.gossip._dialling._book.get(peer_address(1)).source == NAME.group
    assert traces(actions, SEED_ANSWERED) == [
        {"seed": "seed.example.org", "addresses": 2, "usable": 2}
    ]
    assert len(dials(actions)) == 1, "at once"
    subject.wait(10)
    assert {dial.address for dial in dials(subject.actions)} == known(subject)


def test_the_group_of_a_dns_seed_is_that_of_no_address_and_of_no_other_seed():
    assert len(NAME.group) not in {2, 4}
    assert NAME.group != DnsSeed("seed.example.net", 9444).group
    assert NAME.group == DnsSeed("SEED.example.org", 9444).group


def test_a_dns_seed_cannot_make_a_node_dial_forbidden_addresses():
    forbidden = [
        parse_address(ip, 9444) for ip in ("127.0.0.1", "10.0.0.1", "169.254.1.1", "::1", "fe80::1")
    ]
    subject = rig(NAME)
    actions = subject.handle(SeedResolved(NAME, (*forbidden, peer_address(1))))
    assert known(subject) == {peer_address(1)}
    assert traces(actions, SEED_ANSWERED)[0]["usable"] == 1
    local = rig(NAME, params=DEVNET)
    local.handle(SeedResolved(NAME, tuple(forbidden)))
    assert known(local) == {forbidden[0], forbidden[1], forbidden[3]}


@pytest.mark.parametrize(("before", "is_kept"), [(255, True), (256, False)])
def test_a_dns_seed_gives_a_bounded_number_of_addresses(before, is_kept):
    assert SEED_ADDRESSES_MAX == 256
    subject = rig(NAME)
    subject.handle(SeedResolved(NAME, (peer_address(1),) * before + (peer_address(2),)))
    assert (peer_address(2) in known(subject)) is is_kept


@pytest.mark.parametrize(("before", "is_kept"), [(255, True), (256, False)])
def test_a_seed_that_is_a_node_gives_a_bounded_number_of_addresses(before, is_kept):
    subject = rig(NODE)
    linked_for_addresses(subject)
    subject.say(FAR_LINK, records(*[1] * before, 2))
    assert (peer_address(2) in known(subject)) is is_kept


def test_what_nobody_resolved_is_not_taken():
    subject = rig(NAME)
    subject.handle(SeedResolved(DnsSeed("other.example.org", 9444), (peer_address(1),)))
    subject.handle(SeedResolved(NAME, ()))
    subject.handle(SeedResolved(NAME, (peer_address(1),)))
    assert known(subject) == set()


def test_a_dns_seed_without_an_answer_is_resolved_again_ever_more_seldom():
    subject = rig(NAME)
    for wait_s in (RESOLVE_AGAIN_S, 2 * RESOLVE_AGAIN_S, 4 * RESOLVE_AGAIN_S):
        subject.handle(SeedResolved(NAME, ()))
        assert not resolutions(subject.wait(wait_s - 1))
        assert resolutions(subject.wait(1 + CHECK_INTERVAL_S)) == [NAME]
    for _ in range(10):
        subject.handle(SeedResolved(NAME, ()))
        subject.wait(RESOLVE_AGAIN_S_MAX + CHECK_INTERVAL_S)
    subject.handle(SeedResolved(NAME, ()))
    assert not resolutions(subject.wait(RESOLVE_AGAIN_S_MAX - 1))
    assert resolutions(subject.wait(1 + CHECK_INTERVAL_S)) == [NAME]


def test_a_dns_seed_is_not_resolved_twice_at_a_time():
    subject = rig(NAME)
    subject.wait(7200)
    assert resolutions(subject.actions) == [NAME]


def test_few_seeds_are_used_at_a_time():
    names = [DnsSeed(f"s{number}.example.org", 9444) for number in range(SEEDS_AT_ONCE + 2)]
    nodes = [replace(NODE, port=9444 + number) for number in range(SEEDS_AT_ONCE + 2)]
    subject = rig(*names, *nodes)
    assert len(resolutions(subject.actions)) == len(fetches(subject.actions)) == SEEDS_AT_ONCE
    for seed in resolutions(subject.actions):
        subject.handle(SeedResolved(seed, ()))
    later = resolutions(subject.wait(CHECK_INTERVAL_S + 1))
    assert set(resolutions(subject.actions)) == set(names)
    assert len(later) == 2


@pytest.mark.parametrize("numbers", [(), (1, 2)])
def test_a_seed_that_is_a_node_is_asked_once_and_its_link_ends_with_the_answer(numbers):
    subject = rig(NODE)
    opened = linked_for_addresses(subject)
    assert len(sent(opened, GetAddresses)) == 1
    assert not sent(opened, GetHeaders), "it is not a peer to synchronise with"
    (peer,) = subject.gossip.peers()
    assert (peer.relays_transactions, peer.relays_addresses) == (False, True)
    answered = subject.say(FAR_LINK, records(*numbers))
    assert [a.link for a in answered if isinstance(a, Close)] == [FAR_LINK]
    assert known(subject) == set(map(peer_address, numbers))
    assert all(
        subject.gossip._dialling._book.get(address).source == NODE.group
        for address in known(subject)
    )
    subject.actions.clear()
    subject.wait(7200)
    assert not fetches(subject.actions)


def test_a_single_address_may_be_one_that_the_seed_relays_so_the_answer_is_awaited():
    subject = rig(NODE)
    linked_for_addresses(subject)
    (dial,) = dials(subject.say(FAR_LINK, records(1)))
    assert dial.address == peer_address(1), "at once"
    assert subject.is_open(FAR_LINK)
    waited = subject.wait(ANSWER_S_MAX + 1)
    assert not subject.is_open(FAR_LINK)
    assert traces(waited, SEED_ANSWERED) == [{"seed": str(NODE), "addresses": 1, "usable": 1}]


def test_a_seed_that_says_nothing_is_left_in_time_and_not_asked_again():
    subject = rig(NODE)
    linked_for_addresses(subject)
    assert subject.wait(ANSWER_S_MAX - 1) is not None
    assert subject.is_open(FAR_LINK)
    waited = subject.wait(2)
    assert not subject.is_open(FAR_LINK)
    assert traces(waited, SEED_SILENT) == [{"seed": str(NODE)}]
    assert not fetches(subject.wait(3600))


def test_a_link_for_addresses_is_not_one_of_the_links_that_make_seeds_needless():
    subject = rig(NAME, NODE)
    subject.handle(SeedResolved(NAME, ()))
    subject.wait(RESOLVE_AGAIN_S - 5)
    for number in range(FEW_LINKS - 1):
        subject.dial(300 + number)
    linked_for_addresses(subject)
    assert resolutions(subject.wait(5 + CHECK_INTERVAL_S)) == [NAME]
    assert subject.is_open(FAR_LINK)


def test_a_link_for_addresses_is_no_duplicate_of_one_that_the_seed_dialled():
    seed = peer_address(5)
    subject = rig(seed)
    linked_for_addresses(subject)
    inbound = subject.accept(5, listen=seed)
    assert subject.is_open(FAR_LINK)
    assert subject.is_open(inbound)


def test_a_seed_that_cannot_be_reached_is_tried_again_soon_then_every_minute():
    subject = rig(NODE)
    subject.handle(DialFailed(dials(subject.actions)[-1].dial, DialFailure.UNREACHABLE))
    subject.actions.clear()
    soon_s = NAMED_REDIAL_S * (1 + REDIAL_JITTER) + CHECK_INTERVAL_S
    assert dials(subject.wait(soon_s))
    for _ in range(9):
        subject.handle(DialFailed(dials(subject.actions)[-1].dial, DialFailure.UNREACHABLE))
        subject.actions.clear()
        subject.wait(5000)
    subject.handle(DialFailed(dials(subject.actions)[-1].dial, DialFailure.UNREACHABLE))
    assert not dials(subject.wait(40))
    assert dials(subject.wait(60))


def test_a_seed_whose_link_ends_before_its_answer_is_asked_again():
    subject = rig(NODE)
    linked_for_addresses(subject)
    subject.handle(Closed(FAR_LINK, "reset"))
    assert dials(subject.wait(3600))


def test_without_other_nodes_a_seed_becomes_an_ordinary_peer():
    """A young network has no other node; others of private networks are not announced."""
    subject = rig(HERE)
    linked_for_addresses(subject)
    assert not [d for d in dials(subject.wait(5)) if d not in fetches(subject.actions)], "one link"
    (dial,) = dials(subject.say(FAR_LINK, records()))
    assert (dial.address, dial.connection_type) == (HERE, ConnectionType.OUTBOUND_FULL_RELAY)


def test_a_seed_is_no_ordinary_peer_while_another_address_is_known():
    subject = rig(NODE)
    linked_for_addresses(subject)
    subject.say(FAR_LINK, records(1, 2))
    first = dials(subject.actions)[-1]
    assert first.address in known(subject)
    subject.wait(30)
    link = LinkId(10_001)
    subject.handle(Dialled(first.dial, link, HelloReply(subject.hello(), None, 20)))
    subject.wait(3600)
    full = [dial.address for dial in dials(subject.actions) if dial not in fetches([dial])]
    assert NODE not in full, "while one link is open, and another dial pending"


@pytest.mark.parametrize(("links", "is_dialled"), [(FEW_LINKS - 1, True), (FEW_LINKS, False)])
def test_a_seed_is_the_last_resort_only_beside_few_links(links, is_dialled):
    subject = rig(HERE)
    linked_for_addresses(subject)
    for number in range(links):
        subject.dial(300 + number)
    subject.actions.clear()
    subject.say(FAR_LINK, records())
    subject.wait(30)
    assert (HERE in {dial.address for dial in dials(subject.actions)}) is is_dialled


def test_a_seed_that_misbehaved_is_not_dialled_again():
    subject = rig(NODE)
    linked_for_addresses(subject)
    subject.handle(BadFrame(FAR_LINK, "nonsense"))
    subject.actions.clear()
    subject.wait(12 * 3600)
    assert not dials(subject.actions)


def test_a_seed_is_never_dialled_for_blocks_only():
    """Such peers are dialled first after a restart, and a seed should not be."""
    config = config_for(SIMULATION, agent="/t/")
    subject = Rig(config=replace(config, seeds=(HERE,), outbound_max=0))
    linked_for_addresses(subject)
    subject.actions.clear()
    subject.say(FAR_LINK, records())
    subject.wait(60)
    assert not dials(subject.actions)


def test_a_node_that_is_its_own_seed_dials_itself_only_once():
    subject = rig(NODE)
    (dial,) = dials(subject.actions)
    subject.handle(DialFailed(dial.dial, DialFailure.SELF))
    assert dials(subject.wait(60)) == []
    subject.mono_us += 25 * 3600 * SECOND_US  # the back-off of a dial to oneself is a day
    assert dials(subject.wait(60)) == []


def test_a_banned_seed_is_not_dialled_and_its_ban_holds_for_what_dns_says():
    banned, bans = peer_address(5), Bans()
    bans.add(Ban(parse_network(banned.host), START_S, START_S * 2))
    subject = rig(banned, NAME, bans=bans)
    subject.handle(SeedResolved(NAME, (banned, peer_address(1))))
    assert known(subject) == {peer_address(1)}
    assert subject.gossip._dialling._book.get(banned) is None
    subject.wait(60)
    assert banned not in {dial.address for dial in dials(subject.actions)}


def test_seeds_are_not_used_while_networking_is_off():
    subject = rig(NAME, NODE, saved=saved_book(1))
    subject.handle(NetworkActivity(is_active=False))
    subject.wait(60)
    assert not resolutions(subject.actions)
    subject.actions.clear()
    subject.handle(NetworkActivity(is_active=True))
    subject.wait(CHECK_INTERVAL_S + 1)
    assert resolutions(subject.actions) == [NAME]
    assert [dial.address for dial in fetches(subject.actions)] == [NODE]


def test_an_address_of_two_seeds_counts_once():
    other = DnsSeed("two.example.org", 9444)
    subject = rig(NAME, other)
    for seed in (NAME, other):
        subject.handle(SeedResolved(seed, (Address(peer_address(1).ip, 9444),)))
    assert known(subject) == {peer_address(1)}
