"""Fee filters: the fee rates that our mempool requires, as sent to peers (BIP133)."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.gossip.transactions.feefilter import (
    CHANGE_DELAY_S_MAX,
    CHECK_INTERVAL_S,
    STEP_FACTOR,
    STEP_FIRST,
    rounded,
)
from chain.gossip.transactions.txrelay import FEE_FILTER_MAX
from chain.gossip.wire.messages import FeeFilter, GetHeaders, Headers, Ping, Pong
from chain.simulator.light import LightNode
from tests.gossip.rig import Rig, closed, sent, sent_to


class NodeWithFeeFloor(LightNode):
    """A node whose mempool has a minimum fee rate."""

    rate = 0

    def feerate_min(self, now: int, /) -> int:
        return self.rate


def rig_with_fee_floor(rate: int) -> Rig:
    rig = Rig()
    rig.ledger.__class__ = NodeWithFeeFloor
    rig.ledger.rate = rate
    return rig


def pass_time(rig: Rig, seconds: int) -> list:
    """Let time pass with peers that answer."""
    done: list = []
    for link in sent_to(rig.actions, GetHeaders):
        rig.say(link, Headers(()))
    for _ in range(0, seconds, 5):
        actions = rig.wait(5)
        for ping, link in zip(sent(actions, Ping), sent_to(actions, Ping), strict=True):
            actions += rig.say(link, Pong(ping.nonce))
        done += actions
    assert closed(done) == []
    return done


def filters_sent(actions: list) -> list[int]:
    return [message.grains_per_kvb for message in sent(actions, FeeFilter)]


def test_a_new_link_is_told_what_our_pool_asks_for():
    rig = rig_with_fee_floor(STEP_FIRST)
    rig.accept()
    rig.dial(2)
    assert filters_sent(rig.actions) == [STEP_FIRST, STEP_FIRST]


def test_nothing_is_told_while_the_pool_takes_all():
    rig = rig_with_fee_floor(0)
    rig.accept()
    assert filters_sent(rig.actions + pass_time(rig, 3600)) == []


def test_who_wants_no_transactions_is_told_nothing():
    rig = rig_with_fee_floor(STEP_FIRST)
    rig.accept(flags=0)
    assert filters_sent(rig.actions + pass_time(rig, 3600)) == []


def test_what_did_not_change_is_not_told_again():
    rig = rig_with_fee_floor(STEP_FIRST)
    rig.accept()
    assert filters_sent(pass_time(rig, 6 * 3600)) == []


@pytest.mark.parametrize(("rate", "is_soon"), [(1340, True), (1300, False), (740, True)])
def test_a_large_change_is_told_within_minutes_and_a_small_one_when_it_is_time(rate, is_soon):
    late = 0
    for number in range(1, 30):  # a small change may be due within minutes at random
        rig = rig_with_fee_floor(STEP_FIRST)
        rig.gossip._context.rng.seed(number)
        rig.accept(number)
        rig.ledger.rate = rate
        late += not filters_sent(pass_time(rig, int(CHANGE_DELAY_S_MAX + 2 * CHECK_INTERVAL_S)))
    assert (late == 0) is is_soon


def test_a_rate_beyond_reason_is_told_as_the_highest_that_others_believe():
    rig = rig_with_fee_floor(10 * FEE_FILTER_MAX)
    rig.accept()
    assert filters_sent(rig.actions) == [FEE_FILTER_MAX]


@given(st.integers(0, 10**9), st.integers(0, 1000))
def test_a_rounded_rate_is_a_step_beside_the_true_one(rate, seed):
    near = rounded(rate, Random(seed))
    if rate <= STEP_FIRST:
        assert near == rate
    else:
        assert rate / STEP_FACTOR - 1 <= near < rate * STEP_FACTOR


def test_a_rate_is_mostly_rounded_down_so_that_little_is_missed():
    down = sum(rounded(5000, Random(seed)) < 5000 for seed in range(300))
    assert 150 < down < 250
