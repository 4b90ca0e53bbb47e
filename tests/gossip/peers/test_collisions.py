"""Two addresses for one tried slot: the occupant is tested before it loses the slot (H1)."""

from dataclasses import dataclass, replace
from itertools import count
from random import Random

import pytest

from chain.gossip.actions import Feeler
from chain.gossip.config import config_for
from chain.gossip.events import DialFailed, DialFailure, FeelerSucceeded
from chain.gossip.gossip import SavedState
from chain.gossip.peers.addresses import COLLISIONS_MAX, KEPT_S, TEST_S_MAX, AddressBook
from chain.gossip.wire.address import Address
from chain.simulator.rules import SIMULATION, START_S
from tests.gossip.rig import SECRET, Rig

NOW_S = START_S
LATER_S = NOW_S + KEPT_S  # the holder has not answered for long enough to be doubted


def rivals(book: AddressBook, wanted: int) -> list[Address]:
    """Return addresses of one /16, all of which hash to one tried slot."""
    by_slot: dict[tuple[int, int], list[Address]] = {}
    for number in count():
        found = Address((0x15000000 + number % 65_536).to_bytes(4, "big"), 9444 + number // 65_536)
        same = by_slot.setdefault(book._tried_slot(found), [])
        same.append(found)
        if len(same) == wanted:
            return same
    raise AssertionError


@dataclass
class Contest:
    """A book in which `holder` has the slot of `rival`, which was reached later."""

    book: AddressBook
    holder: Address
    rival: Address

    def winner(self) -> Address:
        """Return which of the two is not in the new table."""
        new = {self.book.choose(Random(seed), lambda _: True, new_only=True) for seed in range(60)}
        (winner,) = {self.holder, self.rival} - new
        return winner


def reach(book: AddressBook, address: Address, now_s: int) -> None:
    book.add(address, address, now_s, now_s)
    book.reached(address, now_s)


@pytest.fixture
def contest() -> Contest:
    book = AddressBook(SECRET)
    holder, rival = rivals(book, 2)
    reach(book, holder, NOW_S)
    reach(book, rival, LATER_S)
    return Contest(book, holder, rival)


def test_who_has_a_slot_keeps_it_and_is_to_be_tested(contest: Contest) -> None:
    assert contest.winner() == contest.holder
    assert contest.book.collision_to_test(Random(1)) == contest.holder


def test_who_passes_the_test_keeps_the_slot(contest: Contest) -> None:
    contest.book.tried(contest.holder, LATER_S + 1)
    contest.book.reached(contest.holder, LATER_S + 2)
    contest.book.resolve(LATER_S + 3)
    assert contest.winner() == contest.holder
    assert contest.book.collision_to_test(Random(1)) is None


@pytest.mark.parametrize(("wait_s", "holder_wins"), [(60, True), (61, False)])
def test_who_fails_it_loses_the_slot_once_the_test_had_time(
    contest: Contest, wait_s: int, holder_wins: bool
) -> None:
    contest.book.tried(contest.holder, LATER_S + 1)
    contest.book.resolve(LATER_S + 1 + wait_s)
    assert contest.winner() == (contest.holder if holder_wins else contest.rival)


@pytest.mark.parametrize(("wait_s", "holder_wins"), [(TEST_S_MAX, True), (TEST_S_MAX + 1, False)])
def test_without_a_test_in_time_the_newer_one_wins(
    contest: Contest, wait_s: int, holder_wins: bool
) -> None:
    contest.book.resolve(LATER_S + wait_s)
    assert contest.winner() == (contest.holder if holder_wins else contest.rival)


def test_who_answered_in_the_last_hours_needs_no_test() -> None:
    book = AddressBook(SECRET)
    holder, rival = rivals(book, 2)
    reach(book, holder, NOW_S)
    reach(book, rival, NOW_S + 1)
    book.resolve(LATER_S - 1)
    assert Contest(book, holder, rival).winner() == holder
    assert book.collision_to_test(Random(1)) is None


def test_few_wait_for_slots_at_a_time() -> None:
    book = AddressBook(SECRET)
    one = rivals(book, COLLISIONS_MAX + 2)
    for address in one:
        reach(book, address, NOW_S)
    assert len(book._collisions) == COLLISIONS_MAX


def test_a_forgotten_rival_takes_no_slot(contest: Contest) -> None:
    contest.book.forget(contest.rival)
    contest.book.add(contest.rival, contest.rival, LATER_S, LATER_S)
    contest.book.resolve(LATER_S + TEST_S_MAX + 1)
    assert contest.winner() == contest.holder


@pytest.mark.parametrize("answers", [True, False])
def test_a_feeler_tests_the_holder(contest: Contest, answers: bool) -> None:
    book = AddressBook(SECRET)
    reach(book, contest.holder, NOW_S - 2 * KEPT_S)
    config = config_for(SIMULATION, agent="/test/")
    config = replace(config, outbound_max=0, block_relay_max=0)  # feelers alone
    rig = Rig(config=config, saved=SavedState(addresses=book.save()))
    kept = rig.gossip._dialling._book
    reach(kept, contest.rival, rig.now.unix_s)
    probes = []
    for _ in range(1500):
        for action in rig.wait(1):
            if isinstance(action, Feeler):
                probes.append(action.address)
                event = (
                    FeelerSucceeded(action.dial, rig.hello())
                    if answers
                    else DialFailed(action.dial, DialFailure.UNREACHABLE)
                )
                rig.handle(event)
    assert contest.holder in probes
    assert list(kept._tried.values()) == [contest.holder if answers else contest.rival]
