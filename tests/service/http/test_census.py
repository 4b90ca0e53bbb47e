"""The open connections of one listener, and which is shed for a new one (H1)."""

from collections import Counter
from ipaddress import ip_address

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chain.service.http.census import (
    CONNECTIONS_MAX,
    Census,
    Connection,
    Exempt,
    Rank,
    exempt_loopback,
    exempt_nobody,
)


class Crowd:
    """A census, and which of those who came were dropped."""

    def __init__(self, connections_max: int, per_origin_max: int = 1000, **how: Exempt) -> None:
        self.census = Census(connections_max, per_origin_max, **how)
        self.dropped: list[str] = []

    def come(self, address: str) -> Connection | None:
        return self.census.admit(address, lambda: self.dropped.append(address))


def test_a_census_counts_addresses_networks_and_everybody() -> None:
    crowd = Crowd(5, 1)
    assert crowd.come("192.0.2.1").origin == "192.0.2.1"
    assert crowd.come("192.0.2.1") is None
    assert crowd.come("::ffff:192.0.2.1") is None
    first = crowd.come("2001:db8::1")
    assert first is not None
    assert crowd.come("2001:db8::2") is None, "one /64 is one customer"
    assert crowd.come("2001:db8:0:1::1") is not None
    assert crowd.come("127.0.0.1") is not None
    assert crowd.come("fe80::1%eth0") is not None
    assert crowd.census.total == 5
    crowd.census.leave(first)
    assert crowd.come("2001:db8::2").origin == first.origin
    assert crowd.dropped == []


def test_loopback_may_be_exempt_from_the_limit_per_address() -> None:
    crowd = Crowd(100, 1, exempt=exempt_loopback)
    assert [crowd.come("127.0.0.1").origin for _ in range(3)] == ["127.0.0.1"] * 3
    assert [crowd.come("::1").origin for _ in range(3)] == ["::1"] * 3
    assert crowd.come("192.0.2.1") is not None
    assert crowd.come("192.0.2.1") is None


def test_exempt_addresses_are_one_network_so_that_their_flood_displaces_only_itself() -> None:
    crowd = Crowd(4, 1, exempt=exempt_loopback)
    assert crowd.come("192.0.2.1") is not None
    assert all(crowd.come(f"127.{number}.0.1") is not None for number in range(20))
    assert "192.0.2.1" not in crowd.dropped


def test_exempt_addresses_leave_places_to_others_even_if_all_of_theirs_are_protected() -> None:
    crowd = Crowd(32, 1, exempt=exempt_loopback)
    came = [crowd.come("127.0.0.1") for _ in range(30)]
    for connection in came:
        crowd.census.set_rank(connection, Rank.ANSWERED)
    assert crowd.come("127.0.0.1") is None
    assert crowd.come("192.0.2.1") is not None
    assert crowd.come("198.51.100.1") is not None
    assert crowd.census.total == 32
    crowd.census.leave(came[0])
    assert crowd.come("127.0.0.1") is not None
    assert crowd.come("127.0.0.2") is not None
    assert crowd.dropped == ["127.0.0.1"], "a place of its own network"


@pytest.mark.parametrize(
    ("flood", "newcomer"),
    [
        (["198.51.0.1", "198.51.100.2", "198.51.7.3"], "192.0.2.1"),
        (["127.1.0.1", "127.1.0.2", "127.1.9.3"], "127.2.0.1"),
        (["2001:db8:0:1::1", "2001:db8:0:2::1", "2001:db8:1:3::1"], "2001:db9::1"),
        (["2001:db8:0:1::1", "2001:db8:0:2::1", "2001:db8:1:3::1"], "192.0.2.1"),
        (["::ffff:198.51.0.1", "198.51.100.2", "198.51.7.3"], "::ffff:192.0.2.1"),
    ],
    ids=["IPv4 /16", "loopback /16", "IPv6 /32", "IPv4 among IPv6", "IPv4 in IPv6"],
)
def test_a_newcomer_of_a_small_network_takes_the_oldest_place_of_the_largest(flood, newcomer):
    crowd = Crowd(4)
    for address in ("203.0.113.1", *flood):
        crowd.come(address)
    assert crowd.come(newcomer) is not None
    assert crowd.dropped == [flood[0]]
    assert (crowd.census.total, crowd.census.shed) == (4, 1)


def test_a_newcomer_of_the_largest_network_takes_a_place_of_its_own() -> None:
    crowd = Crowd(3)
    for address in ("203.0.113.1", "198.51.0.1", "198.51.0.2", "198.51.0.3"):
        assert crowd.come(address) is not None
    assert crowd.dropped == ["198.51.0.1"]
    pair = Crowd(2)
    for address in ("203.0.113.1", "198.51.0.1", "198.51.0.2"):
        assert pair.come(address) is not None
    assert pair.dropped == ["198.51.0.1"], "of equal networks its own pays"


def test_the_idle_go_before_those_that_send_and_those_that_are_answered_stay() -> None:
    crowd = Crowd(3)
    answered, sending, _ = (crowd.come(f"198.51.0.{n}") for n in range(3))
    crowd.census.set_rank(answered, Rank.ANSWERED)
    crowd.census.set_rank(sending, Rank.SENDING)
    first, second = crowd.come("192.0.2.1"), crowd.come("203.0.113.1")
    assert crowd.dropped == ["198.51.0.2", "198.51.0.1"]
    for connection in (first, second):
        crowd.census.set_rank(connection, Rank.ANSWERED)
    assert crowd.come("192.0.2.2") is None, "all are being answered"
    crowd.census.set_rank(answered, Rank.IDLE)
    assert crowd.come("192.0.2.2") is not None
    assert crowd.dropped[2:] == ["198.51.0.0"]


def test_of_the_idle_the_one_that_has_been_so_longest_goes() -> None:
    crowd = Crowd(2)
    busy = crowd.come("198.51.0.1")
    crowd.come("198.51.0.2")
    crowd.census.set_rank(busy, Rank.ANSWERED)
    crowd.census.set_rank(busy, Rank.IDLE)
    crowd.come("192.0.2.1")
    assert crowd.dropped == ["198.51.0.2"]


def test_a_link_keeps_its_connections_but_no_more_than_it_needs_and_none_of_another_host() -> None:
    crowd = Crowd(CONNECTIONS_MAX + 2)
    own = [crowd.come("198.51.0.1") for _ in range(CONNECTIONS_MAX + 1)]
    other = crowd.come("198.51.0.2")
    for connection in (*own, other):
        crowd.census.vouch(connection, "link", "198.51.0.1")
    assert crowd.come("192.0.2.1") is not None
    assert crowd.come("203.0.113.1") is not None
    assert crowd.dropped == ["198.51.0.1", "198.51.0.2"]
    assert crowd.come("192.0.2.2") is not None
    assert crowd.dropped[2:] == ["192.0.2.1"], "of equal networks its own pays"
    for connection in own[3:5]:
        crowd.census.disown(connection)  # its next request is not the link's
    assert crowd.come("233.252.0.1") is not None
    assert crowd.dropped[3:] == ["198.51.0.1"]


ADDRESSES = ("127.1.0.1", "127.1.0.2", "127.2.0.1", "127.3.0.1", "2001:db8::1", "2001:db8:0:1::1")


class CensusMachine(RuleBasedStateMachine):
    """In any order of events the counts hold, and no protected connection is dropped."""

    most = 6
    exempt = staticmethod(exempt_nobody)

    def __init__(self) -> None:
        super().__init__()
        self.census = Census(self.most, 3, exempt=self.exempt)
        self.here: list[Connection] = []
        self.busy: set[int] = set()

    @rule(address=st.sampled_from(ADDRESSES))
    def come(self, address: str) -> None:
        came: list[Connection] = []

        def dropped() -> None:
            connection = came[0]
            assert id(connection) not in self.busy
            self.here.remove(connection)

        connection = self.census.admit(address, dropped)
        if connection is not None:
            came.append(connection)
            self.here.append(connection)

    @precondition(lambda self: self.here)
    @rule(data=st.data(), rank=st.sampled_from(Rank))
    def turn(self, data: st.DataObject, rank: Rank) -> None:
        connection = data.draw(st.sampled_from(self.here))
        self.census.set_rank(connection, rank)
        is_kept = rank is Rank.ANSWERED or connection.owner is not None
        (self.busy.add if is_kept else self.busy.discard)(id(connection))

    @precondition(lambda self: self.here)
    @rule(data=st.data(), owner=st.integers(1, 2))
    def vouch(self, data: st.DataObject, owner: int) -> None:
        connection = data.draw(st.sampled_from(self.here))
        self.census.vouch(connection, owner, connection.origin)
        if connection.owner is not None:
            self.busy.add(id(connection))

    @precondition(lambda self: self.here)
    @rule(data=st.data())
    def disown(self, data: st.DataObject) -> None:
        connection = data.draw(st.sampled_from(self.here))
        self.census.disown(connection)
        if connection.rank is not Rank.ANSWERED:
            self.busy.discard(id(connection))

    @precondition(lambda self: self.here)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        connection = data.draw(st.sampled_from(self.here))
        self.census.leave(connection)
        self.here.remove(connection)
        self.busy.discard(id(connection))

    @invariant()
    def counts_hold(self) -> None:
        origins = Counter(connection.origin for connection in self.here)
        assert self.census.total == len(self.here) <= self.most
        is_exempt = {origin: self.exempt(ip_address(origin)) for origin in origins}
        assert all(count <= 3 or is_exempt[origin] for origin, count in origins.items())
        exempt = sum(is_exempt[connection.origin] for connection in self.here)
        assert self.census._exempt_total == exempt <= self.most - self.most // 16
        assert all(count <= CONNECTIONS_MAX for count in self.census._owners.values())
        idle = sum(map(self.census._count, {one.group for one in self.here}))
        assert idle == len([one for one in self.here if id(one) not in self.busy])


class LocalCensusMachine(CensusMachine):
    """Most of those who come are exempt."""

    most = 16
    exempt = staticmethod(exempt_loopback)


TestCensusMachine = CensusMachine.TestCase
TestLocalCensusMachine = LocalCensusMachine.TestCase
