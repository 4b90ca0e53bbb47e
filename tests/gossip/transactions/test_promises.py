"""A peer that announces but never delivers is ignored; local transactions are rebroadcast."""

import pytest

from chain.gossip.events import LocalTx
from chain.gossip.transactions.txrequest import IGNORED_S, REQUEST_TIMEOUT_S, REQUESTS_MIN
from chain.gossip.wire.messages import WTX, Headers, Inv, Inventory, NotFound, Ping, Pong
from chain.primitives.hashes import sha256
from chain.primitives.numbers import Hash32
from tests.gossip.rig import Rig, sent
from tests.gossip.transactions.test_transactions import Funded, tx_items


def announced(start: int, count: int) -> tuple[Inventory, ...]:
    ids = (sha256(b"%d" % number) for number in range(start, start + count))
    return tuple(Inventory(WTX, Hash32(item)) for item in ids)


def requests_again(rig: Rig, link) -> bool:
    items = announced(10_000, 1)
    return items[0] in tx_items(rig.say(link, Inv(items)), link)


def pass_time(rig: Rig, link, seconds: int) -> list:
    """Let time pass with a peer that is alive and has no chain."""
    actions = []
    for _ in range(seconds // 10):
        new = rig.wait(10)
        rig.say(link, Headers(()), *[Pong(ping.nonce) for ping in sent(new, Ping, link)])
        actions += new
    return actions


@pytest.mark.parametrize(("count", "ignored"), [(REQUESTS_MIN - 1, False), (REQUESTS_MIN, True)])
def test_who_gives_nothing_of_many_announced_is_asked_no_more(count, ignored):
    rig = Rig()
    link = rig.dial()
    rig.say(link, Inv(announced(0, count)))
    rig.wait(REQUEST_TIMEOUT_S + 1)
    assert requests_again(rig, link) != ignored


def test_who_says_what_it_lacks_keeps_its_word():
    rig = Rig()
    link = rig.dial()
    items = announced(0, 50)
    rig.say(link, Inv(items))
    rig.say(link, NotFound(items))
    rig.wait(REQUEST_TIMEOUT_S + 1)
    assert requests_again(rig, link)


@pytest.mark.parametrize(("given", "ignored"), [(19, True), (20, False)])
def test_who_gives_half_is_still_asked(given, ignored):
    rig = Rig()
    link = rig.dial()
    items = announced(0, 40)
    rig.say(link, Inv(items))
    rig.say(link, NotFound(items[:given]))
    rig.wait(REQUEST_TIMEOUT_S + 1)
    assert requests_again(rig, link) != ignored


def test_after_a_while_who_was_ignored_is_asked_again():
    rig = Rig()
    link = rig.dial()
    rig.say(link, Inv(announced(0, REQUESTS_MIN)))
    pass_time(rig, link, int(REQUEST_TIMEOUT_S) + 10)
    assert not requests_again(rig, link)
    pass_time(rig, link, IGNORED_S + 20)
    assert requests_again(rig, link)


def own_rig() -> tuple[Funded, object, object]:
    rig = Funded()
    link = rig.accept()
    tx = rig.tx()
    rig.ledger.submit(tx, rig.now.unix_s)
    rig.handle(LocalTx(tx))
    return rig, link, tx


def test_own_transactions_are_announced_again_while_they_are_in_the_pool():
    rig, link, tx = own_rig()
    assert sent(pass_time(rig, link, 100), Inv, link) == [Inv((Inventory(WTX, tx.wtxid),))]
    again = sent(pass_time(rig, link, 6000), Inv, link)
    assert again
    assert again[0] == Inv((Inventory(WTX, tx.wtxid),))


def test_own_transactions_that_left_the_pool_are_announced_no_more():
    rig, link, _ = own_rig()
    pass_time(rig, link, 100)
    rig.ledger.restart()
    assert sent(pass_time(rig, link, 6000), Inv, link) == []
    assert rig.gossip._tx_relay._unbroadcast == {}
