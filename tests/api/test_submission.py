"""Blocks that miners propose (BIP23) and submit, and the limit on stale ones."""

import asyncio
from dataclasses import replace

import pytest

from chain.consensus.params import REGTEST
from chain.consensus.work import meets_target
from chain.primitives.block import Block
from chain.primitives.numbers import id_text
from chain.primitives.transaction import Transaction
from chain.service.api.access.stale import PARENTS_MAX, SIBLINGS_MAX, StaleBlocks
from tests.api.harness import NOW, payment
from tests.builders import assemble, block_on, coinbase, commit, pay, spend

SUBSIDY = 50 * 10**8
BURST = 200


def without_work(block: Block) -> Block:
    """Return the block with a nonce that does not meet its bits."""
    header = block.header
    while meets_target(header.id, header.bits, REGTEST):
        header = replace(header, nonce=header.nonce + 1)
    return Block(header, block.transactions)


async def propose(node, block: Block):
    return await node.rpc("getblocktemplate", {"mode": "proposal", "data": block.raw.hex()})


def counting(calls: list[object]):
    """Return a wrapper of the ledger thread's `call` that counts what reaches it."""

    def wrap(call):
        async def counted(function):
            calls.append(function)
            return await call(function)

        return counted

    return wrap


def test_template_says_that_proposals_are_answered(on_node):
    async def scenario(node):
        shape = await node.rpc("getblocktemplate", {"rules": ["segwit"]})
        assert shape["capabilities"] == ["proposal"]

    on_node(scenario)


def test_valid_proposal_needs_no_work_and_changes_nothing(on_node):
    async def scenario(node):
        await node.grow(101)
        await node.pool(payment(node))
        view = node.context.node.view
        block = without_work(block_on(node.chain.tip, [payment(node)], fees=1000))
        for _ in range(2):
            assert await propose(node, block) is None
        assert node.context.node.view is view
        assert node.context.tree.get(block.id) is None
        assert node.sent_blocks == []
        assert await node.rpc("submitblock", block.raw.hex()) == "high-hash"

    on_node(scenario)


def test_proposal_is_refused_for_what_would_refuse_the_block(on_node):
    async def scenario(node):
        await node.grow(101)
        tip, height = node.chain.tip, 102
        first = coinbase(height, SUBSIDY)
        tx = payment(node)
        forged = Transaction(
            tx.version,
            [replace(tx.inputs[0], witness=(bytes(71), tx.inputs[0].witness[1]))],
            tx.outputs,
            tx.lock_time,
        )
        point, coin = node.chain.coinbase_coin(3)
        early = spend([(point, coin)], [pay(coin.value - 1)])
        good = block_on(tip)
        cases = {
            "bad-cb-amount": assemble(tip, commit([coinbase(height, SUBSIDY + 1)])),
            "bad-cb-height": assemble(tip, commit([coinbase(height + 1, SUBSIDY)])),
            "bad-txnmrklroot": Block(good.header, commit([coinbase(height, SUBSIDY - 1)])),
            "bad-diffbits": assemble(tip, commit([first]), bits=0x207FFFFE),
            "time-too-old": assemble(tip, commit([first]), time=tip.median_time_past),
            "time-too-new": assemble(tip, commit([first]), time=NOW + 7201),
            "unexpected-witness": assemble(tip, [first, tx]),
            "bad-txns-premature-spend-of-coinbase": block_on(tip, [early]),
            "bad-txns-inputs-missingorspent": block_on(tip, [tx, tx.__class__(
                1, tx.inputs, tx.outputs, tx.lock_time)]),
        }  # fmt: skip
        for reason, block in cases.items():
            assert await propose(node, without_work(block)) == reason
        verdict = await propose(node, without_work(block_on(tip, [forged])))
        assert verdict.startswith("block-script-verify-flag-failed")
        assert await propose(node, good) is None

    on_node(scenario)


def test_proposal_of_a_known_block_is_a_duplicate(on_node):
    async def scenario(node):
        await node.grow(3)
        stale = node.chain.fork(1).add(extra=b"stale")
        await node.connect(stale)
        bad = assemble(node.chain.tip, commit([coinbase(4, SUBSIDY + 1)]))
        assert await node.rpc("submitblock", bad.raw.hex()) == "bad-cb-amount"
        assert await propose(node, node.chain.blocks[-1]) == "duplicate"
        assert await propose(node, node.chain.blocks[0]) == "duplicate"
        assert await propose(node, stale) == "duplicate-inconclusive"
        assert await propose(node, bad) == "duplicate-invalid"
        late = node.chain.fork(1).add(extra=b"late")
        assert await propose(node, late) == "inconclusive-not-best-prevblk"

    on_node(scenario)


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        ({"mode": "proposal"}, -3, "Missing data String key for proposal"),
        ({"mode": "proposal", "data": 1}, -3, "Missing data String key for proposal"),
        ({"mode": "proposal", "data": "0"}, -22, "Block decode failed"),
        ({"mode": "proposal", "data": "00" * 80}, -22, "Block decode failed"),
        ({"mode": "proposal", "data": "00" * 81}, -22, "Block does not start with a coinbase"),
    ],
)
def test_malformed_proposal_is_an_error(on_node, request_, code, message):
    async def scenario(node):
        error = await node.rpc_error("getblocktemplate", request_)
        assert error == {"code": code, "message": message}

    on_node(scenario)


def test_burst_of_late_brothers_reaches_the_ledger_a_few_times_only(on_node):
    calls: list[object] = []

    async def scenario(node):
        await node.grow(2)
        parent = node.chain.fork(1)
        brothers = [block_on(parent.tip, extra=b"%04d" % n) for n in range(BURST)]
        calls.clear()
        answers = await asyncio.gather(*(node.rpc("submitblock", b.raw.hex()) for b in brothers))
        assert set(answers) == {"inconclusive"}
        assert len(calls) == SIBLINGS_MAX
        stored = [b for b in brothers if node.context.tree.is_stored(b.id)]
        assert len(stored) == SIBLINGS_MAX
        assert node.sent_blocks == []

    on_node(scenario, wrap_call=counting(calls))


def test_burst_on_the_tip_is_judged_by_the_tip_that_its_first_block_made(on_node):
    calls: list[object] = []

    async def scenario(node):
        await node.grow(2)
        burst = [block_on(node.chain.tip, extra=b"%04d" % n) for n in range(BURST)]
        calls.clear()
        answers = await asyncio.gather(*(node.rpc("submitblock", b.raw.hex()) for b in burst))
        assert answers == [None] + ["inconclusive"] * (BURST - 1)
        assert len(calls) == 1 + SIBLINGS_MAX
        assert [b.id for b in node.sent_blocks] == [burst[0].id]

    on_node(scenario, wrap_call=counting(calls))


def test_repeated_and_invalid_blocks_do_not_reach_the_ledger(on_node):
    calls: list[object] = []

    async def scenario(node):
        await node.grow(2)
        good = node.chain.blocks[-1]
        bad = assemble(node.chain.tip, commit([coinbase(3, SUBSIDY + 1)]))
        assert await node.rpc("submitblock", bad.raw.hex()) == "bad-cb-amount"
        idle = without_work(block_on(node.chain.tip))
        calls.clear()
        for block, answer in (
            (good, "duplicate"), (bad, "duplicate-invalid"), (idle, "high-hash"),
        ):  # fmt: skip
            for _ in range(10):
                assert await node.rpc("submitblock", block.raw.hex()) == answer
        assert calls == []

    on_node(scenario, wrap_call=counting(calls))


def test_long_side_branch_block_by_block_still_takes_over(on_node):
    async def scenario(node):
        await node.grow(3 * SIBLINGS_MAX)
        rival = node.chain.fork(3 * SIBLINGS_MAX - 1)
        answers = [
            await node.rpc("submitblock", rival.add(extra=b"rival").raw.hex())
            for _ in range(3 * SIBLINGS_MAX)
        ]
        assert answers == ["inconclusive"] * (3 * SIBLINGS_MAX - 1) + [None]
        assert await node.text("/api/blocks/tip/hash") == id_text(rival.tip.id)

    on_node(scenario)


def test_parents_of_late_blocks_are_remembered_up_to_a_limit():
    stale = StaleBlocks()
    parents = [n.to_bytes(32, "big") for n in range(PARENTS_MAX + 1)]
    for _ in range(SIBLINGS_MAX):
        assert stale.admit(parents[0])
    assert not stale.admit(parents[0])
    for parent in parents[1:PARENTS_MAX]:
        assert stale.admit(parent)
    assert not stale.admit(parents[0]), "asked for again, so the last to be forgotten"
    for parent in parents[1:]:
        stale.admit(parent)
    assert stale.admit(parents[0])
