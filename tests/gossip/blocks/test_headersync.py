"""Search for the best chain among peers, some of which lie."""

from dataclasses import replace

import pytest

from chain.consensus.work import meets_target
from chain.gossip.actions import ValidateHeaders
from chain.gossip.blocks.headersync import (
    AHEAD_S,
    LOW_WORK_BLOCKS,
    LOW_WORK_HEADERS_MAX,
    RESPONSE_TIMEOUT_S,
    SECOND_SYNC_S,
    UNCONNECTING_MAX,
)
from chain.gossip.events import RequestFinished
from chain.gossip.wire.messages import HEADERS_MAX, GetData, GetHeaders, Headers
from chain.simulator.rules import SIMULATION, START_S
from tests.gossip.rig import Rig, chain, closed, sent, sent_to


def unsolved(header):
    """Return the header with a nonce that does not meet its bits."""
    while meets_target(header.id, header.bits, SIMULATION):
        header = replace(header, nonce=header.nonce + 1)
    return header


def feed(rig, blocks):
    """Add blocks to the node's ledger without telling gossip."""
    for block in blocks:
        rig.ledger._add_block(block.raw, block.header, rig.now.unix_s)


def validations_requested(actions):
    return [action for action in actions if isinstance(action, ValidateHeaders)]


@pytest.mark.parametrize("how", ["dial", "accept"])
def test_each_side_of_a_new_link_asks_for_headers(how):
    rig = Rig()
    link = getattr(rig, how)()
    assert sent_to(rig.actions, GetHeaders) == [link]


def test_headers_go_to_the_ledger_and_their_blocks_are_fetched():
    rig = Rig()
    link = rig.accept()
    blocks = chain().grow(5)
    actions = rig.say_headers(link, blocks)
    assert len(validations_requested(actions)) == 1
    wanted = sent(actions, GetData, link)
    assert [item.id for message in wanted for item in message.items] == [b.id for b in blocks]


def test_a_full_batch_is_followed_by_the_next_question():
    rig = Rig()
    link = rig.accept()
    builder = chain()
    builder.grow(2001, time=None)
    first = rig.say_headers(link, builder.blocks[:2000])
    question = sent(first, GetHeaders)[0]
    assert question.locator[0] == builder.blocks[1999].id
    assert sent(rig.say_headers(link, builder.blocks[2000:]), GetHeaders) == []
    assert rig.ledger.chain.best_header.height == 2001


def waiting_batches(rig, count):
    """Return a link, the blocks of full batches, and one more, and answer nothing."""
    link = rig.accept()
    builder = chain()
    rig.start_s += count * HEADERS_MAX * SIMULATION.spacing_s
    builder.grow(count * HEADERS_MAX + 1, time=None)
    at = range(0, len(builder.blocks), HEADERS_MAX)
    return link, [builder.blocks[start : start + HEADERS_MAX] for start in at]


def test_the_next_batch_is_requested_while_the_ledger_has_the_first():
    rig = Rig(answers=False)
    link, (first, second, third, last) = waiting_batches(rig, 3)
    actions = rig.say_headers(link, first)
    assert sent(actions, GetHeaders, link)[0].locator[0] == first[-1].id
    actions = rig.say_headers(link, second)
    assert [action.headers[0].id for action in validations_requested(actions)] == [second[0].id]
    assert sent(actions, GetHeaders) == []  # two batches are enough for the ledger
    actions = rig.answer_next()
    assert sent(actions, GetHeaders, link)[0].locator[0] == second[-1].id
    rig.say_headers(link, third)
    actions = [action for _ in range(2) for action in rig.answer_next()]
    assert [request.locator[0] for request in sent(actions, GetHeaders)] == [third[-1].id]
    rig.say_headers(link, last)
    assert sent(rig.answer_next(), GetHeaders) == []
    assert rig.ledger.chain.best_header.id == last[-1].id


@pytest.mark.parametrize(("ahead_s", "is_closed"), [(0, True), (5, False)])
def test_what_follows_refused_headers_is_no_further_fault(ahead_s, is_closed):
    rig = Rig(answers=False)
    link = rig.accept()
    builder = chain()
    builder.grow(HEADERS_MAX - 1, time=None)
    too_new = rig.now.unix_s + SIMULATION.header_ahead_s_max + ahead_s
    builder.add(time=too_new) if ahead_s else builder.add(version=3)
    after = builder.add(time=too_new + 1)
    rig.say_headers(link, builder.blocks[:HEADERS_MAX])
    rig.say_headers(link, [after])
    actions = rig.answer_next() + rig.answer_next()
    assert closed(actions) == [link] * is_closed
    if not is_closed:
        assert sent_to(rig.wait(10), GetHeaders) == [link]
        rig.answers = True
        rig.say_headers(link, builder.blocks[HEADERS_MAX - 1 :])
        assert rig.ledger.chain.best_header.id == after.id


@pytest.mark.parametrize("more", [3, 30])
def test_the_reply_behind_headers_that_are_too_new_is_ignored_until_they_are_asked_for_again(more):
    rig = Rig()
    builder = chain()
    builder.grow(HEADERS_MAX - 1, time=None)
    builder.add(time=rig.now.unix_s + SIMULATION.header_ahead_s_max + 600)
    builder.grow(more)
    link = rig.dial()
    first = sent(rig.actions, GetHeaders, link)[-1]
    ahead = sent(rig.say_headers(link, builder.blocks[:HEADERS_MAX]), GetHeaders, link)[-1]
    rig.handle(RequestFinished(link, first, failed=False))
    actions = rig.say_headers(link, builder.blocks[HEADERS_MAX:])
    actions += rig.handle(RequestFinished(link, ahead, failed=False))
    assert closed(actions) == []
    assert sent(actions, GetHeaders) == []
    assert sent_to(rig.wait(10), GetHeaders) == [link]


@pytest.mark.parametrize("opens", ["dial", "accept"])
def test_a_reply_that_would_be_ignored_is_not_expected_for_ever(opens):
    rig = Rig()
    builder = chain()
    builder.grow(HEADERS_MAX - 1, time=None)
    builder.add(time=rig.now.unix_s + SIMULATION.header_ahead_s_max + 600)
    link = getattr(rig, opens)()
    ahead = sent(rig.say_headers(link, builder.blocks), GetHeaders, link)[-1]
    [(_, state)] = rig.gossip._header_sync._syncs.items()
    assert state.refused == builder.tip.id
    if opens == "dial":
        rig.handle(RequestFinished(link, ahead, failed=True))
    else:  # after RESPONSE_TIMEOUT_S, in which this link would end for the blocks that it owes
        rig.gossip._header_sync._expire(rig.gossip._context.links[link], ahead)
    assert rig.is_open(link)
    assert state.refused is None


def test_blocks_wait_no_longer_once_the_batch_after_a_full_one_is_empty():
    rig = Rig()
    link = rig.accept()
    builder = chain()
    builder.grow(HEADERS_MAX, time=None)
    assert sent(rig.say_headers(link, builder.blocks), GetData) == []
    rig.say_headers(link, [])
    assert sent(rig.wait(AHEAD_S), GetData, link) != []


def test_a_chain_that_is_none_is_punished():
    rig = Rig()
    link = rig.accept()
    blocks = chain().grow(3)
    assert closed(rig.say_headers(link, [blocks[0], blocks[2]])) == [link]


def test_headers_without_work_are_punished_before_the_ledger_sees_them():
    rig = Rig()
    link = rig.accept()
    blocks = chain().grow(2)
    actions = rig.say_headers(link, [blocks[0].header, unsolved(blocks[1].header)])
    assert closed(actions) == [link]
    assert validations_requested(actions) == []


def test_headers_that_break_a_rule_are_punished():
    rig = Rig()
    link = rig.accept()
    builder = chain()
    builder.grow(3)
    wrong = builder.add(version=3)
    assert closed(rig.say_headers(link, [*builder.blocks[:3], wrong])) == [link]
    assert rig.ledger.chain.best_header.height == 3


def test_a_header_from_the_future_is_asked_for_again_and_nobody_is_punished():
    rig = Rig()
    link = rig.accept()
    early = chain().add(time=rig.now.unix_s + SIMULATION.header_ahead_s_max + 30)
    assert closed(rig.say_headers(link, [early])) == []
    again = rig.wait(10)
    assert sent_to(again, GetHeaders) == [link]
    rig.say_headers(link, [early])
    rig.wait(31)
    assert closed(rig.say_headers(link, [early])) == []
    assert rig.ledger.chain.best_header.id == early.id


def test_a_header_of_unknown_parent_is_asked_about():
    rig = Rig()
    link = rig.accept()
    rig.say_headers(link, [])
    blocks = chain().grow(5)
    assert sent_to(rig.say_headers(link, blocks[4:]), GetHeaders) == [link]
    assert len(validations_requested(rig.say_headers(link, blocks))) == 1


@pytest.mark.parametrize(
    ("count", "stays"), [(UNCONNECTING_MAX, True), (UNCONNECTING_MAX + 1, False)]
)
def test_headers_that_never_connect_end_the_link(count, stays):
    rig = Rig()
    link = rig.accept()
    stray = chain().grow(20)[10:]  # more than anyone announces: an answer
    for _ in range(count):
        rig.say_headers(link, stray)
    assert rig.is_open(link) is stays


@pytest.mark.parametrize("known", [0, 1])
def test_headers_that_connect_let_the_count_begin_anew(known):
    rig = Rig()
    blocks = chain().grow(20)
    feed(rig, blocks[:known])
    link = rig.accept()
    for connecting in (blocks[:1], []):
        for _ in range(UNCONNECTING_MAX):
            rig.say_headers(link, blocks[10:])
        rig.say_headers(link, connecting)
    assert rig.is_open(link)


def test_announcements_while_a_question_is_open_are_no_reason_to_part():
    rig = Rig()
    link = rig.accept()
    blocks = chain().grow(40)
    for block in blocks[1:]:
        rig.say_headers(link, [block])
    assert rig.is_open(link)
    assert len(validations_requested(rig.say_headers(link, blocks))) == 1


def test_an_announcement_that_overtook_an_older_answer_is_asked_about():
    rig = Rig()
    link = rig.accept()
    blocks = chain().grow(7)
    assert sent_to(rig.say_headers(link, blocks[6:]), GetHeaders) == []  # a question is open
    assert sent_to(rig.say_headers(link, blocks[:6]), GetHeaders) == [link]
    assert sent_to(rig.say_headers(link, blocks[6:]), GetHeaders) == []
    assert rig.ledger.chain.best_header.id == blocks[6].id


@pytest.mark.parametrize("known", [0, 1])
@pytest.mark.parametrize(
    ("count", "stays"), [(UNCONNECTING_MAX, True), (UNCONNECTING_MAX + 1, False)]
)
def test_announcements_that_no_answer_ever_holds_end_the_link(count, stays, known):
    rig = Rig()
    blocks = chain().grow(3)
    feed(rig, blocks[:known])
    link = rig.accept()
    for _ in range(count):
        rig.say_headers(link, blocks[2:])  # while a question is open
        rig.say_headers(link, blocks[:known])  # which this answers
    assert rig.is_open(link) is stays


def test_of_announcements_in_any_order_each_must_be_in_the_answer():
    rig = Rig()
    link = rig.accept()
    blocks = chain().grow(7)
    rig.say_headers(link, blocks[6:])
    rig.say_headers(link, blocks[4:5])  # told of before the one above, and overtaken by it
    assert sent_to(rig.say_headers(link, blocks[:6]), GetHeaders) == [link]


def test_far_behind_liars_who_are_asked_again_keep_nobody_from_his_turn():
    rig = Rig()
    rig.start_s = START_S + 10 * 24 * 3600
    liar, honest = rig.accept(1), rig.accept(2)
    blocks = chain().grow(UNCONNECTING_MAX + 5)
    for block in blocks[2:]:
        rig.say_headers(honest, [block])  # it tells of each, and waits to be asked
    assert rig.is_open(honest)
    rig.say_headers(liar, blocks[1:2])
    assert sent_to(rig.say_headers(liar, []), GetHeaders) == [honest]


def test_an_announcement_that_the_answer_holds_is_not_asked_about():
    rig = Rig()
    link = rig.accept()
    blocks = chain().grow(7)
    rig.say_headers(link, blocks[6:])
    assert sent_to(rig.say_headers(link, blocks), GetHeaders) == []


def test_a_silent_answerer_is_closed_and_the_next_peer_asked():
    rig = Rig()
    rig.start_s = START_S + 10 * 24 * 3600  # far behind: one peer at a time
    first, second = rig.accept(1), rig.accept(2)
    assert sent_to(rig.actions, GetHeaders) == [first]
    assert sent_to(rig.wait(SECOND_SYNC_S + 1), GetHeaders) == [second]
    assert first in closed(rig.wait(RESPONSE_TIMEOUT_S))


def test_far_behind_the_next_peer_is_asked_when_the_first_has_told_all():
    rig = Rig()
    rig.start_s = START_S + 10 * 24 * 3600
    first, second = rig.accept(1), rig.accept(2)
    assert sent_to(rig.say_headers(first, chain().grow(3)), GetHeaders) == [second]


def test_not_far_behind_all_peers_are_asked_at_once():
    rig = Rig()
    feed(rig, chain().grow(1))
    links = [rig.accept(number) for number in range(1, 4)]
    assert sent_to(rig.actions, GetHeaders) == links


def test_a_failed_request_is_tried_again_and_then_given_up():
    rig = Rig()
    link = rig.dial()
    actions = rig.actions
    for _ in range(3):
        question = sent(actions, GetHeaders)[-1]
        assert closed(rig.handle(RequestFinished(link, question, failed=True))) == []
        actions = rig.wait(6)
    question = sent(actions, GetHeaders)[-1]
    assert closed(rig.handle(RequestFinished(link, question, failed=True))) == [link]


def test_the_end_of_an_old_request_does_not_end_the_new_one():
    rig = Rig()
    link = rig.dial()
    old = sent(rig.actions, GetHeaders)[0]
    builder = chain()
    builder.grow(2000)
    new = sent(rig.say_headers(link, builder.blocks), GetHeaders)
    assert len(new) == 1
    assert closed(rig.handle(RequestFinished(link, old, failed=False))) == []
    assert closed(rig.handle(RequestFinished(link, new[0], failed=False))) == [link]


@pytest.mark.parametrize(("behind", "stored"), [(-1, True), (0, True), (1, False)])
def test_chains_with_less_work_than_our_tip_had_144_blocks_ago_are_not_stored(behind, stored):
    rig = Rig()
    ours = chain()
    ours.grow(LOW_WORK_BLOCKS + 20)
    feed(rig, ours.blocks)
    link = rig.accept()
    other = chain()
    other.grow(20 - behind, extra=b"other")
    actions = rig.say_headers(link, other.blocks)
    assert bool(validations_requested(actions)) is stored
    assert closed(actions) == []
    assert (rig.ledger.chain.get(other.tip.id) is not None) is stored


def test_a_long_chain_of_little_work_is_kept_only_so_far():
    """H11: valid headers with little work are not stored, and few are held in memory."""
    rig = Rig()
    ours = chain()
    ours.grow(LOW_WORK_BLOCKS + 2 * LOW_WORK_HEADERS_MAX)
    rig.ledger.chain.tip = ours.tip  # as if it were stored: only its work matters here
    link = rig.accept()
    other = chain()
    other.grow(LOW_WORK_HEADERS_MAX + 2000, extra=b"other")
    requests = []
    for at in range(0, len(other.blocks), 2000):
        actions = rig.say_headers(link, other.blocks[at : at + 2000])
        assert validations_requested(actions) == []
        requests.append(len(sent(actions, GetHeaders)))
    assert requests == [1, 0, 1]  # given up at the second; the third connects to nothing
    kept = rig.gossip._header_sync._syncs[link].low_work
    assert len(kept) < LOW_WORK_HEADERS_MAX


def test_a_flood_of_batches_does_not_pile_up_with_the_ledger():
    rig = Rig(answers=False)
    link = rig.accept()
    blocks = chain().grow(30)
    for at in range(30):
        rig.say_headers(link, blocks[at : at + 1] if at == 0 else blocks[: at + 1])
    assert len(validations_requested(rig.actions)) <= 2


def test_empty_headers_end_the_question():
    rig = Rig()
    link = rig.accept()
    assert rig.say(link, Headers(())) == []
    assert closed(rig.wait(RESPONSE_TIMEOUT_S + 1)) == []
