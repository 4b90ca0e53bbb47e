"""Each question of the gossip core has the answer that its protocol names."""

from collections import deque
from dataclasses import replace

import pytest

from chain.consensus.errors import InvalidError, Reason
from chain.consensus.params import REGTEST
from chain.gossip.actions import (
    ReadBlocks,
    ReadHeaders,
    ValidateBlocks,
    ValidateHeaders,
    ValidateTx,
)
from chain.gossip.events import (
    BlocksRead,
    BlockVerdict,
    BlockVerdicts,
    HeadersRead,
    HeadersVerdict,
    Token,
    TxOutcome,
    TxVerdict,
)
from chain.gossip.wire.messages import BlockMessage
from chain.ledger.ledger import Ledger
from chain.node.ledger_requests import (
    BLOCKS_TOGETHER_MAX,
    LedgerRequestHandler,
    NodeChain,
    NodePool,
)
from chain.node.node import Node
from chain.node.policy import Policy
from chain.primitives.block import Block
from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import NULL_HASH
from chain.primitives.transaction import Transaction
from tests.builders import ChainBuilder, pay
from tests.node.spends import NOT_WRONG, Coinbases, Wanted
from tests.node.world import COIN, NOW, output, send

TOKEN = Token(7)
FEE = 10_000


class Asked:
    """A node of 101 blocks, and what answers for it."""

    def __init__(self) -> None:
        self.ledger = Ledger("sqlite://", REGTEST, verify_threads=1)
        self.node = Node(self.ledger, Policy())
        self.answers = LedgerRequestHandler(self.node)
        self.chain = ChainBuilder()
        assert not any(self.node.submit_blocks(self.chain.grow(101), NOW))

    def block(self, block: Block) -> BlockVerdict:
        answer = self.answers.handle(ValidateBlocks(TOKEN, (BlockMessage(block.raw),)), NOW)
        assert isinstance(answer, BlockVerdicts)
        [verdict] = answer.verdicts
        return verdict

    def transaction(self, transaction: Transaction) -> TxVerdict:
        answer = self.answers.handle(ValidateTx(TOKEN, transaction), NOW)
        assert isinstance(answer, TxVerdict)
        return answer


@pytest.fixture(scope="module")
def bench():
    bench = Asked()
    yield bench
    bench.ledger.close()


def test_headers_are_taken_up_to_the_first_bad_one(bench):
    other = bench.chain.fork(1)
    good = [block.header for block in other.grow(2, extra=b"headers")]
    bad = replace(good[1], bits=good[1].bits - 1, previous=good[1].id)
    request = ValidateHeaders(TOKEN, (*good, bad))
    answer = bench.answers.handle(request, NOW)
    assert isinstance(answer, HeadersVerdict)
    assert (answer.token, answer.last, answer.added) == (TOKEN, good[1].id, 2)
    assert isinstance(answer.error, InvalidError)


def test_headers_of_strangers_have_no_last(bench):
    stranger = replace(bench.chain.tip.header, previous=NULL_HASH)
    answer = bench.answers.handle(ValidateHeaders(TOKEN, (stranger,)), NOW)
    assert isinstance(answer, HeadersVerdict)
    assert (answer.last, answer.added) == (None, 0)


def test_a_block_that_is_only_stored_is_accepted(bench):
    assert bench.block(bench.chain.fork(1).add(extra=b"stored")) == BlockVerdict(TOKEN, (None,))


def test_a_block_that_breaks_a_rule_says_which(bench):
    [error] = bench.block(bench.chain.fork(0).add(fees=1)).errors
    assert isinstance(error, InvalidError)
    assert error.reason is Reason.COINBASE_AMOUNT


def test_bytes_that_are_no_block_are_a_decode_error(bench):
    header = bench.chain.tip.header
    answer = bench.answers.handle(ValidateBlocks(TOKEN, (BlockMessage(header.encode()),)), NOW)
    assert isinstance(answer, BlockVerdicts)
    assert isinstance(answer.verdicts[0].errors[0], DecodeError)


def test_a_transaction_is_accepted_once_and_then_known(bench):
    transaction = send([bench.chain.coinbase_coin(1)], FEE)
    assert bench.transaction(transaction) == TxVerdict(TOKEN, TxOutcome.ACCEPTED, "")
    again = bench.transaction(transaction)
    assert again == TxVerdict(TOKEN, TxOutcome.KNOWN, "txn-already-in-mempool")


def test_an_orphan_tells_which_parents_are_missing_each_once(bench):
    parent = send([bench.chain.coinbase_coin(1)], FEE * 2, outputs=2)
    child = send([output(parent, 0), output(parent, 1)], FEE)
    assert bench.transaction(child) == TxVerdict(
        TOKEN, TxOutcome.MISSING, "bad-txns-inputs-missingorspent", (parent.txid,)
    )


def test_policy_and_immaturity_refuse_without_blame(bench):
    cheap = send([bench.chain.coinbase_coin(2)], 1)
    young = send([bench.chain.coinbase_coin(90)], FEE)
    assert bench.transaction(cheap).outcome is TxOutcome.REFUSED
    assert bench.transaction(young) == TxVerdict(
        TOKEN, TxOutcome.REFUSED, "bad-txns-premature-spend-of-coinbase"
    )


def test_the_input_whose_scripts_ran_twice_is_named(bench):
    signed = send([bench.chain.coinbase_coin(height) for height in (1, 2)], FEE * 10)
    forged = replace(signed.inputs[1], witness=(signed.inputs[0].witness[0], b"\x02" + bytes(32)))
    wrong = Transaction(2, [signed.inputs[0], forged], signed.outputs)
    answer = bench.transaction(wrong)
    assert (answer.outcome, answer.failed_input) == (TxOutcome.INVALID, 1)


def test_nobody_is_blamed_for_a_script_that_only_policy_refuses():
    bench = Asked()
    wanted = Wanted()
    for spent in NOT_WRONG.values():
        spent.transaction(wanted)
    mined = [bench.chain.add(script=script) for script in wanted.scripts]
    for block in [*mined, *bench.chain.grow(100)]:
        bench.block(block)
    coins = Coinbases(mined, height=102)
    for name, spent in NOT_WRONG.items():
        answer = bench.transaction(spent.transaction(coins))
        assert (answer.outcome, answer.failed_input) == (TxOutcome.REFUSED, 0), name
        assert answer.reason.startswith("mempool-script-verify-flag-failed ("), name


def test_what_no_block_could_hold_is_invalid(bench):
    signed = send([bench.chain.coinbase_coin(2)], FEE)
    forged = Transaction(2, signed.inputs, [pay(COIN)])
    greedy = send([bench.chain.coinbase_coin(2)], -1)
    assert bench.transaction(forged).outcome is TxOutcome.INVALID
    assert bench.transaction(forged).reason.startswith("mempool-script-verify-flag-failed")
    assert bench.transaction(greedy).outcome is TxOutcome.INVALID


def test_blocks_and_headers_are_read(bench):
    block = bench.chain.blocks[4]
    ids = (block.id, NULL_HASH, bench.chain.blocks[5].id)
    read = bench.answers.handle(ReadBlocks(TOKEN, ids, 100_000), NOW)
    assert read == BlocksRead(TOKEN, (block.raw, None, bench.chain.blocks[5].raw))
    request = ReadHeaders(TOKEN, (block.id,), NULL_HASH, 2)
    headers = tuple(after.header for after in bench.chain.blocks[5:7])
    assert bench.answers.handle(request, NOW) == HeadersRead(TOKEN, headers)


def test_the_views_that_gossip_reads_show_what_is_published(bench):
    chain = NodeChain(bench.node, bench.ledger.tree)
    pool = NodePool(bench.node)
    assert chain.tip == bench.node.view.tip
    assert chain.best_header == bench.node.view.best_header
    assert chain.get(bench.chain.blocks[3].id).height == 4
    assert chain.has_block(bench.chain.blocks[3].id)
    for entry in bench.node.view.pool.entries():
        assert pool.by_txid(entry.txid) is entry
        assert pool.by_wtxid(entry.wtxid) is entry
    assert pool.wtxids() == [entry.wtxid for entry in bench.node.view.pool.entries()]


def verdicts(bench, waiting):
    """Return the verdicts of one reply on blocks that wait."""
    [answer] = bench.answers.handle_next(waiting, NOW)
    assert isinstance(answer, BlockVerdicts)
    return answer.verdicts


def ask_block(token, *blocks):
    return ValidateBlocks(Token(token), tuple(BlockMessage(block.raw) for block in blocks))


@pytest.fixture
def fresh():
    bench = Asked()
    yield bench
    bench.ledger.close()


def test_blocks_that_wait_one_behind_the_other_are_answered_together(fresh):
    changes = []
    fresh.node.listeners.append(changes.append)
    blocks = fresh.chain.grow(BLOCKS_TOGETHER_MAX + 1)
    waiting = deque(ask_block(at, block) for at, block in enumerate(blocks))
    answers = verdicts(fresh, waiting)
    assert [answer.token for answer in answers] == list(range(BLOCKS_TOGETHER_MAX))
    assert all(answer.errors == (None,) for answer in answers)
    assert [len(change.connected) for change in changes] == [BLOCKS_TOGETHER_MAX]
    assert len(verdicts(fresh, waiting)) == 1
    assert fresh.answers.handle_next(waiting, NOW) == []


@pytest.mark.parametrize("looks", [0, 1, 5, 20])
def test_a_node_that_stops_commits_what_was_begun_and_leaves_the_other_blocks_out(fresh, looks):
    before = fresh.ledger.tip.height
    blocks = fresh.chain.grow(12)
    left = iter(range(looks))
    fresh.answers = LedgerRequestHandler(fresh.node, lambda: next(left, None) is None)
    waiting = deque(ask_block(at, block) for at, block in enumerate(blocks))
    answers = verdicts(fresh, waiting)
    added = fresh.ledger.tip.height - before
    assert [verdict.token for verdict in answers] == list(range(added))
    assert all(verdict.errors == (None,) for verdict in answers)
    assert added == {0: 0, 1: 1, 5: 4, 20: 12}[looks]


def test_reads_between_blocks_do_not_split_what_is_committed_together(fresh):
    changes = []
    fresh.node.listeners.append(changes.append)
    blocks = fresh.chain.grow(6)
    waiting = deque()
    for at, block in enumerate(blocks):
        waiting += [ask_block(at, block), ReadBlocks(Token(10 + at), (block.id,), 1)]
    assert [verdict.token for verdict in verdicts(fresh, waiting)] == list(range(6))
    assert [len(change.connected) for change in changes] == [6]
    answers = [fresh.answers.handle_next(waiting, NOW) for _ in blocks]
    assert answers == [[BlocksRead(Token(10 + at), (each.raw,))] for at, each in enumerate(blocks)]


def test_what_blocks_overtook_is_answered_before_the_blocks_that_follow(fresh, monkeypatch):
    monkeypatch.setattr("chain.node.ledger_requests.BLOCKS_TOGETHER_MAX", 2)
    blocks = fresh.chain.grow(4)
    read = ReadBlocks(Token(9), (blocks[3].id,), 1)
    waiting = deque([ask_block(1, blocks[0]), read, *map(ask_block, (2, 3, 4), blocks[1:])])
    assert [verdict.token for verdict in verdicts(fresh, waiting)] == [1, 2]
    assert fresh.answers.handle_next(waiting, NOW) == [BlocksRead(Token(9), (None,))]
    assert [verdict.token for verdict in verdicts(fresh, waiting)] == [3, 4]


def test_each_block_of_many_gets_its_own_refusal(fresh):
    good, bad, child = fresh.chain.grow(3)
    stale = Block(replace(bad.header, merkle_root=NULL_HASH), bad.transactions)
    requests = [ask_block(1, good), ValidateBlocks(Token(2), (BlockMessage(bad.raw[:-1]),))]
    requests += [ask_block(3, stale), ask_block(4, child)]
    answers = verdicts(fresh, deque(requests))
    assert [answer.token for answer in answers] == [1, 2, 3, 4]
    assert answers[0].errors == (None,)
    assert isinstance(answers[1].errors[0], DecodeError)
    assert answers[2].errors[0].reason in {Reason.MERKLE_ROOT, Reason.PROOF_OF_WORK}
    assert answers[3].errors[0].reason is Reason.PARENT_MISSING


@pytest.mark.parametrize(("limit_bytes", "together"), [(-1, 1), (0, 2)])
def test_blocks_are_answered_together_up_to_a_number_of_bytes(
    fresh, monkeypatch, limit_bytes, together
):
    first, second, third = fresh.chain.grow(3)
    limit = len(first.raw) + len(second.raw) + limit_bytes
    monkeypatch.setattr("chain.node.ledger_requests.BYTES_TOGETHER_MAX", limit)
    waiting = deque([ask_block(1, first), ask_block(2, second), ask_block(3, third)])
    assert len(verdicts(fresh, waiting)) == together
    assert [request.token for request in waiting] == [1, 2, 3][together:]
