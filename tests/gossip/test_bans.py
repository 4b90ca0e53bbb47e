"""Bans: their networks and durations, and that no banned IP is a peer."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.gossip import bans as limits
from chain.gossip.actions import Close, Dial, Feeler, Refuse
from chain.gossip.bans import Ban, Bans, parse_network
from chain.gossip.config import config_for
from chain.gossip.events import (
    Accepted,
    BansChanged,
    Dialled,
    Discovered,
    LinkId,
    ManualAdded,
    ManualTryRequested,
)
from chain.gossip.gossip import SavedState
from chain.gossip.peers.anchors import save_anchors
from chain.gossip.peers.greeting import STATUS_FORBIDDEN
from chain.gossip.wire.address import Address, parse_address
from chain.gossip.wire.hello import HelloReply
from chain.gossip.wire.messages import Addresses, AddressRecord, GetAddresses
from chain.primitives.encoding import DecodeError
from chain.simulator.rules import SIMULATION
from tests.gossip.rig import Rig, closed, peer_address, sent

NOW = 1000
LONG = 1 << 40


def banned(*texts: str, until_s: int = LONG) -> Bans:
    bans = Bans()
    for text in texts:
        assert bans.add(Ban(parse_network(text), NOW, until_s))
    return bans


def has(bans: Bans, host: str, now_s: int = NOW) -> bool:
    return bans.has(parse_address(host, 1).ip, now_s)


def rig_with(bans: Bans, *, auto_dial: bool = False) -> Rig:
    return Rig(config=config_for(SIMULATION, agent="/t/", auto_dial=auto_dial), bans=bans)


def ban(rig: Rig, text: str, seconds: int = 100) -> list:
    now_s = rig.now.unix_s
    rig.gossip._context.bans.add(Ban(parse_network(text), now_s, now_s + seconds))
    return rig.handle(BansChanged())


def dialled(actions: list) -> list[Address]:
    return [action.address for action in actions if isinstance(action, Dial | Feeler)]


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("192.0.2.7", "192.0.2.7/32"),
        ("192.0.2.7/24", "192.0.2.0/24"),
        ("192.0.2.7/255.255.254.0", "192.0.2.0/23"),
        ("192.0.2.7/0", "0.0.0.0/0"),
        ("192.0.2.7/0.0.0.0", "0.0.0.0/0"),
        ("::1", "::1/128"),
        ("2001:DB8::7/32", "2001:db8::/32"),
        ("2001:db8::7/ffff:ffff::", "2001:db8::/32"),
        ("::/0", "::/0"),
        ("::ffff:192.0.2.7", "192.0.2.7/32"),
        ("::ffff:192.0.2.7/24", "192.0.2.0/24"),
        ("::ffff:c000:207", "192.0.2.7/32"),
    ],
)
def test_a_network_is_an_ip_with_bits_or_a_mask(text: str, network: str) -> None:
    assert parse_network(text) == ipaddress.ip_network(network)


@pytest.mark.parametrize(
    "text",
    [
        "", "/", "/24", "192.0.2.7/", "192.0.2.7/33", "192.0.2.7/-1", "192.0.2.7/+8", "192.0.2.7/٣",
        "192.0.2.7/24/8", "192.0.2.7/0.0.0.255", "192.0.2.7/255.0.255.0", "192.0.2.7/ffff::",
        "::/129", "::/255.0.0.0", "::ffff:192.0.2.7/33", "::ffff:0:0/96", "fe80::1%eth0",
        "fe80::1%eth0/64", "192.0.2", "192.0.2.007", "192.0.2.7:9444", "[::1]", " 192.0.2.7",
        "192.0.2.7\n", "3221225985", "0xc0000207", "node.example", "192.0.2.7/" + "9" * 5000,
        "." * 5000, ":" * 5000, "\x00", "😀",
    ],
)  # fmt: skip
def test_anything_else_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_network(text)


@given(st.text() | st.text("0123456789abcdef:./%", max_size=40))
def test_no_text_gives_anything_but_a_network_or_a_value_error(text: str) -> None:
    try:
        network = parse_network(text)
    except ValueError:
        return
    assert parse_network(str(network)) == network


def test_the_first_and_the_last_ip_of_a_network_are_banned_and_no_other() -> None:
    bans = banned("192.0.2.0/24", "2001:db8::/33")
    for host in ("192.0.2.0", "192.0.2.255", "::ffff:192.0.2.7", "2001:db8:7fff:ffff::"):
        assert has(bans, host), host
    for host in ("192.0.1.255", "192.0.3.0", "2001:db8:8000::", "2001:db7:ffff::", "::1"):
        assert not has(bans, host), host


def test_all_of_one_family_are_none_of_the_other() -> None:
    assert has(banned("0.0.0.0/0"), "::ffff:127.0.0.1")
    assert not has(banned("0.0.0.0/0"), "::1")
    assert not has(banned("::/0"), "127.0.0.1")
    assert has(banned("::/0"), "::1")


@given(
    st.lists(st.ip_addresses(v=4).map(int), max_size=8), st.integers(0, 32), st.ip_addresses(v=4)
)
def test_a_ban_holds_for_exactly_what_its_networks_contain(
    ips: list[int], bits: int, asked: ipaddress.IPv4Address
) -> None:
    texts = [f"{ipaddress.IPv4Address(ip)}/{(bits + at) % 33}" for at, ip in enumerate(ips)]
    expected = any(asked in parse_network(text) for text in texts)
    assert has(banned(*texts), str(asked)) is expected


def test_a_ban_ends_on_its_second() -> None:
    bans = banned("192.0.2.0/24", until_s=NOW + 10)
    assert has(bans, "192.0.2.1", NOW + 9)
    assert not has(bans, "192.0.2.1", NOW + 10)
    assert bans.listed(NOW + 9) != []
    assert bans.listed(NOW + 10) == []


def test_a_narrow_ban_outlives_the_wide_one_that_held_too() -> None:
    bans = banned("10.0.0.0/8", until_s=NOW + 10)
    bans.add(Ban(parse_network("10.1.2.3"), NOW, NOW + 20))
    assert has(bans, "10.1.2.3", NOW + 15)
    assert not has(bans, "10.1.2.4", NOW + 15)


def test_only_the_very_network_is_unbanned() -> None:
    bans = banned("10.0.0.0/8")
    assert not bans.remove(parse_network("10.0.0.0/9"), NOW)
    assert not bans.remove(parse_network("10.0.0.0"), NOW)
    assert bans.remove(parse_network("10.9.9.9/8"), NOW)
    assert not bans.remove(parse_network("10.0.0.0/8"), NOW)
    assert not has(bans, "10.1.1.1")


def test_bans_are_bounded_and_expired_ones_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BANS_MAX", 3)
    bans = banned("10.0.0.1", until_s=NOW + 10)
    for host in ("10.0.0.2", "10.0.0.3"):
        assert bans.add(Ban(parse_network(host), NOW, LONG))
    assert not bans.add(Ban(parse_network("10.0.0.4"), NOW + 9, LONG))
    assert bans.add(Ban(parse_network("10.0.0.3"), NOW + 9, LONG + 1)), "in place of itself"
    assert bans.add(Ban(parse_network("10.0.0.4"), NOW + 10, LONG))
    assert len(bans) == 3


def test_what_was_saved_is_loaded_but_for_what_has_expired() -> None:
    bans = banned("10.0.0.0/8", "::1", "0.0.0.0/0", "2001:db8::/32")
    bans.add(Ban(parse_network("10.0.0.1"), NOW, NOW + 10))
    before, after = Bans(), Bans()
    before.load(bans.save(), NOW + 9)
    assert before.listed(NOW) == bans.listed(NOW)
    after.load(bans.save(), NOW + 10)
    assert [str(ban.network) for ban in after.listed(NOW)] == [
        "0.0.0.0/0", "10.0.0.0/8", "::1/128", "2001:db8::/32",
    ]  # fmt: skip


def test_damaged_bans_are_not_taken_in_by_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    good = banned("10.0.0.0/8", "::1").save()
    for damage in (
        b"",
        b"\x02",
        good[:-1],
        good + b"\x04",
        good[:5] + b"\x01" + good[6:],
        b"\x01\x05",
    ):
        bans = Bans()
        with pytest.raises(DecodeError):
            bans.load(damage, NOW)
        assert len(bans) == 0
    monkeypatch.setattr(limits, "BANS_MAX", 1)
    with pytest.raises(DecodeError):
        Bans().load(good, NOW)


@given(st.binary(max_size=80))
def test_no_bytes_are_anything_but_bans_or_damaged(data: bytes) -> None:
    bans = Bans()
    try:
        bans.load(b"\x01" + data, 0)
    except DecodeError:
        assert len(bans) == 0


# what the core does about them


def test_links_of_a_banned_network_end_and_no_other() -> None:
    rig = rig_with(Bans())
    inside, chosen, outside = rig.accept(1), rig.dial(2), rig.accept(300)
    assert closed(ban(rig, "20.0.0.0/8")) == [inside, chosen]
    assert rig.is_open(outside)


def test_who_is_banned_is_refused_until_the_ban_ends() -> None:
    rig = rig_with(Bans())
    ban(rig, f"{peer_address(1).host}", seconds=100)
    hello = rig.hello()
    (refused,) = rig.handle(Accepted(LinkId(50), peer_address(1), hello))
    assert refused == Refuse(LinkId(50), STATUS_FORBIDDEN, 0)
    rig.wait(99)
    assert isinstance(rig.handle(Accepted(LinkId(51), peer_address(1), hello))[0], Refuse)
    rig.wait(1)
    assert rig.is_open(rig.accept(1))


def test_a_banned_peer_of_the_user_is_dialled_again_when_the_ban_ends() -> None:
    rig = rig_with(Bans())
    rig.dial(1)
    ban(rig, "20.1.0.0/16", seconds=50)
    assert peer_address(1) not in dialled(rig.wait(49))
    assert peer_address(1) in dialled(rig.wait(10))


def test_nobody_banned_is_dialled_whoever_named_him() -> None:
    rig = rig_with(Bans(), auto_dial=True)
    ban(rig, "20.0.0.0/8", seconds=10_000)
    peers = tuple(peer_address(number) for number in range(1, 100))
    done = rig.handle(Discovered(peers), ManualAdded(peers[0]), ManualTryRequested(peers[1]))
    done += rig.wait(600)
    assert dialled(done) == []
    rig.handle(Discovered((peer_address(300),)))
    assert peer_address(300) in dialled(rig.wait(10))


def test_a_dial_under_way_to_who_is_banned_leads_to_no_link() -> None:
    rig = rig_with(Bans())
    (dial,) = [a for a in rig.handle(ManualAdded(peer_address(1))) if isinstance(a, Dial)]
    ban(rig, "20.0.0.0/8")
    done = rig.handle(Dialled(dial.dial, LinkId(70), HelloReply(rig.hello(), None, 20)))
    assert [type(action) for action in done] == [Close]
    assert not rig.is_open(LinkId(70))


def test_an_anchor_that_is_banned_is_passed_over() -> None:
    anchors = [peer_address(1), peer_address(300)]
    config = config_for(SIMULATION, agent="/t/")
    bans = banned("20.0.0.0/8", until_s=LONG)
    rig = Rig(config=config, saved=SavedState(anchors=save_anchors(anchors)), bans=bans)
    assert dialled(rig.actions + rig.wait(10)) == [peer_address(300)]


def test_addresses_that_are_banned_are_neither_kept_nor_passed_on() -> None:
    rig = rig_with(Bans())
    source = rig.dial(300)
    rig.accept(301)
    ban(rig, "20.0.0.0/8")
    told = [AddressRecord(peer_address(number), rig.now.unix_s, 1) for number in (1, 302)]
    assert sent(rig.say(source, Addresses(tuple(told))), Addresses) == [Addresses((told[1],))]
    book = rig.gossip._address_relay._book
    assert [book.get(record.address) is not None for record in told] == [False, True]


def test_addresses_that_were_known_before_a_ban_are_not_told_either() -> None:
    rig = rig_with(Bans())
    for number in range(1, 70):  # a part of them is told
        rig.gossip._address_relay._book.add(
            peer_address(number), peer_address(300), rig.now.unix_s, rig.now.unix_s
        )
    [before] = sent(rig.say(rig.accept(201), GetAddresses()), Addresses)
    assert before.records
    ban(rig, "20.0.0.0/8")
    assert all(r.address.ip[0] == 20 for r in before.records), "all are banned now"
    [after] = sent(rig.say(rig.accept(301), GetAddresses()), Addresses)
    assert after.records == ()
