"""Trees of small blocks with mistakes: what is said and stored is as of one block after the other.

A run of blocks is given up, or disconnected, in any place; everything here is small enough for one.
"""

import io
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chain.consensus.coin import Coin
from chain.ledger import chain_tip as chain_tip_module
from chain.ledger.chainstate import Chainstate
from chain.ledger.db.engine import read_rows
from chain.ledger.ledger import Ledger
from chain.ledger.offline.blockfile import write_frame
from chain.ledger.offline.importing import import_blocks
from chain.primitives.block import Block, decode_block
from chain.primitives.numbers import Amount, OutPoint
from chain.primitives.script import op_return, push_number
from chain.primitives.sighash import SIGHASH_NONE
from chain.primitives.transaction import Transaction, TxOut
from tests.builders import (
    KEY,
    ChainBuilder,
    assemble,
    block_on,
    output_of,
    pay,
    sign_input,
    spend,
)
from tests.ledger.chains import FEE, QUICK, coins_after, quick_chain, quick_ledger, tables

BLOCKS = 30  # upon the trunk
MISTAKE = 0.08  # how likely a block has one
_HEADERS = (  # numbers and sequences may have gaps where pipelined blocks were forgotten
    "SELECT id, raw, height, work, status, rank() OVER (ORDER BY number),"
    " CASE WHEN sequence IS NULL THEN 0 ELSE rank() OVER (ORDER BY sequence) END"
    " - (SELECT count(*) FROM headers WHERE sequence IS NULL) FROM headers ORDER BY id"
)
_BLOCKS = "SELECT id, raw, checksum FROM blocks ORDER BY id"
WAYS = ["a few at a time", "in batches", "headers first", "imported"]
TRUNK = quick_chain(14)


@dataclass
class Plan:
    """The next block, while it is drawn."""

    source: Random
    chain: ChainBuilder
    payments: list[Transaction]
    coins: list[tuple[OutPoint, Coin]]  # mature ones that are left
    how: dict

    def block(self) -> Block:
        return block_on(self.chain.tip, self.payments, params=QUICK, **self.how)

    def pay(self, *transactions: Transaction) -> None:
        at = self.source.randrange(len(self.payments) + 1)
        self.payments[at:at] = transactions


Mistake = Callable[[Plan], list[Block]]  # returns what arrives; a child builds on the last


def payment(plan: Plan, *outputs: TxOut, **how: int) -> Transaction:
    point, coin = plan.coins.pop()
    return spend([(point, coin)], outputs or [pay(coin.value - FEE)], **how)


def paid(make: Callable[[Plan], Sequence[Transaction]]) -> Mistake:
    def mistake(plan: Plan) -> list[Block]:
        plan.pay(*make(plan))
        return [plan.block()]

    return mistake


def of_block(**how: Callable[[Plan], object]) -> Mistake:
    def mistake(plan: Plan) -> list[Block]:
        plan.how |= {name: value(plan) for name, value in how.items()}
        return [plan.block()]

    return mistake


def of_coinbase(change: Callable[[Plan, Transaction], Transaction]) -> Mistake:
    def mistake(plan: Plan) -> list[Block]:
        first, *rest = plan.block().transactions
        return [assemble(plan.chain.tip, [change(plan, first), *rest], params=QUICK)]

    return mistake


def wrong_signature(plan: Plan) -> list[Transaction]:
    point, coin = plan.coins.pop()
    return [spend([(point, replace(coin, value=coin.value - 1))], [pay(coin.value - FEE)])]


def immature(plan: Plan) -> list[Transaction]:
    height = plan.chain.tip.height - plan.source.randrange(QUICK.coinbase_maturity_blocks - 1)
    return [spend([plan.chain.coinbase_coin(height)], [pay(1)])]


def spent_before(plan: Plan) -> list[Transaction]:
    earlier = [tx for block in plan.chain.blocks[-5:] for tx in block.transactions[1:]]
    return earlier[-1:]


def spent_in_two(plan: Plan) -> list[Transaction]:
    spent = plan.coins.pop()
    return [spend([spent], [pay(value)]) for value in (5, 6)]


def child_first(plan: Plan) -> list[Transaction]:
    parent = payment(plan)
    out = parent.outputs[0]
    coin = Coin(out.value, out.script, 1, from_coinbase=False)
    return [spend([(output_of(parent), coin)], [pay(out.value)]), parent]


def other_hash_type(plan: Plan) -> list[Transaction]:
    _, coin = plan.coins[-1]
    return [sign_input(payment(plan), 0, coin.value, KEY, SIGHASH_NONE)]


def two_bodies(plan: Plan) -> list[Block]:
    block = plan.block()
    first, *rest = block.transactions
    other_nonce = Transaction(2, [replace(first.inputs[0], witness=(bytes(31),))], first.outputs)
    wrong = [[first, *rest, *rest, first], [other_nonce, *rest]]
    twin = Block(block.header, plan.source.choice(wrong))
    return plan.source.choice([[twin, block], [twin, twin, block], [block, twin]])


def other_height(plan: Plan, first: Transaction) -> Transaction:
    script_sig = push_number(plan.chain.tip.height) + b"\x01x"
    return Transaction(2, [replace(first.inputs[0], script_sig=script_sig)], first.outputs)


def other_commitment(_: Plan, first: Transaction) -> Transaction:
    wrong = TxOut(Amount(0), first.outputs[1].script[:6] + bytes(32))
    return Transaction(2, first.inputs, [first.outputs[0], wrong])


def ahead(plan: Plan) -> int:
    return now_of(TRUNK) + QUICK.header_ahead_s_max + plan.source.choice([-1, 0, 1, 2])


MISTAKES: list[Mistake] = [
    paid(wrong_signature),
    paid(wrong_signature),
    paid(immature),
    paid(spent_before),
    paid(spent_in_two),
    paid(child_first),
    paid(lambda plan: [spend([(OutPoint(bytes(36)), plan.coins[0][1])], [pay(1)])]),
    paid(lambda plan: [payment(plan, pay(-1), pay(5))]),
    paid(lambda plan: [payment(plan, lock_time=plan.chain.tip.height + 2, sequence=0)]),
    # unusual but right, in part
    paid(lambda plan: [payment(plan, sequence=plan.source.choice([1, 30]))]),
    paid(lambda plan: [payment(plan, pay(7), TxOut(Amount(1), b"\x51"))]),
    paid(other_hash_type),
    of_block(fees=lambda plan: plan.how["fees"] + 1),
    of_block(time=lambda plan: plan.chain.tip.median_time_past),
    of_block(time=ahead),
    of_block(bits=lambda _: 0x207FFFFE),
    of_block(version=lambda _: 3),
    of_coinbase(other_height),
    of_coinbase(other_commitment),
    two_bodies,
]


def now_of(chain: ChainBuilder) -> int:
    return chain.tip.header.time + 1_000


def drawn_plan(source: Random, chain: ChainBuilder) -> Plan:
    height = chain.tip.height + 1
    coins = [
        (point, coin)
        for point, coin in coins_after(chain.blocks).items()
        if coin.script == KEY.script and coin.value > 10 * FEE
        if not coin.from_coinbase or height - coin.height >= QUICK.coinbase_maturity_blocks
    ]
    source.shuffle(coins)
    plan = Plan(source, chain, [], coins, {"extra": source.randbytes(5)})
    for _ in range(min(source.choice([0, 0, 1, 1, 2, 14, 15]), len(coins) - 2)):
        half = coins[-1][1].value // 2 - FEE
        note = [TxOut(Amount(0), op_return(b"note"))] * (source.random() < 0.1)
        plan.payments.append(payment(plan, pay(half), pay(half), *note))
        if source.random() < 0.3:  # for the next one
            made = Coin(Amount(half), KEY.script, height, from_coinbase=False)
            coins.append((output_of(plan.payments[-1]), made))
    plan.how["fees"] = 0
    return plan


def drawn_tree(source: Random) -> list[Block]:
    """Blocks as they arrive: parents mostly first, some twice."""
    tips, blocks = [TRUNK.fork(0)], list(TRUNK.blocks)
    for _ in range(BLOCKS):
        chain = tips[-1]
        if source.random() < 0.04 and chain.tip.height > TRUNK.tip.height:
            back = source.randrange(1, min(4, chain.tip.height - TRUNK.tip.height + 1))
            tips.append(chain.fork(back))
        elif source.random() < 0.04:
            tips.insert(0, tips.pop())
        chain = tips[-1]
        plan = drawn_plan(source, chain)
        is_wrong = source.random() < MISTAKE
        arriving = source.choice(MISTAKES)(plan) if is_wrong else [plan.block()]
        blocks += arriving
        if not is_wrong or source.random() < 0.6:
            chain.append(arriving[-1])
    for _ in range(source.choice([0, 0, 1, 4])):
        at = source.randrange(len(blocks))
        moved = blocks[at] if source.random() < 0.5 else blocks.pop(at)
        blocks.insert(max(at + source.randrange(-6, 7), 0), moved)
    return blocks


def content(ledger: Ledger) -> dict[str, object]:
    with ledger._reading():
        rows = [read_rows(ledger._connection, query) for query in (_HEADERS, _BLOCKS)]
    tree, ids = ledger.tree, sorted(entry.id for entry in ledger.tree)
    states = [(one, tree.is_stored(one), tree.is_invalid(one), tree.is_awaited(one)) for one in ids]
    tips = ledger.tip.id, tree.best_header.id
    return tables(ledger) | {"rows": rows, "states": states, "tips": tips}


def added(ledger: Ledger, raws: Sequence[bytes], times: Sequence[int], **how: bool) -> list:
    clock = iter(times)
    verdicts = ledger.add_blocks(map(decode_block, raws), lambda: next(clock), **how)
    return [
        (one.block.id, str(one.error), one.error is None and one.result().is_new)
        for one in verdicts
    ]


def imported(ledger: Ledger, raws: Sequence[bytes], now: int, **how: bool) -> list:
    stream = io.BytesIO()
    for raw in raws:
        write_frame(stream, raw, QUICK)
    stream.seek(0)
    add = ledger.add_blocks
    ledger.add_blocks = lambda blocks, clock: add(blocks, clock, **how)
    return [replace(import_blocks(ledger, stream, lambda: now), seconds=0)]


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=settings().max_examples // 8)
@given(seed=st.integers(0, 1 << 32), threads=st.integers(1, 2))
def test_small_blocks_with_mistakes_have_the_same_effects_together_as_one_by_one(
    way, seed, threads
):
    source = Random(seed)
    blocks = drawn_tree(source)
    raws, now = [block.raw for block in blocks], now_of(TRUNK)
    times = [now + source.choice([0, 0, 1, -1]) for _ in blocks]  # a clock may go back
    outcomes = []
    for is_pipelined in (False, True):
        with pytest.MonkeyPatch.context() as patched, closing(quick_ledger(threads)) as ledger:
            if way == "in batches":
                patched.setattr(chain_tip_module, "BATCH_BLOCKS_MAX", 7)
            if way == "headers first":
                ledger.add_headers([block.header for block in blocks[: len(blocks) // 2]], now)
            if way == "imported":
                said = imported(ledger, raws, now, pipelined=is_pipelined)
            elif way == "a few at a time":
                said = []
                for at in range(0, len(raws), 9):
                    some = slice(at, at + 9)
                    said += added(ledger, raws[some], times[some], pipelined=is_pipelined)
            else:
                said = added(ledger, raws, times, pipelined=is_pipelined)
            outcomes.append((said, content(ledger)))
    assert outcomes[0] == outcomes[1]


def test_many_of_the_blocks_with_mistakes_are_in_runs(monkeypatch):
    runs = []
    extend_run = Chainstate.extend_run

    def noted(chainstate, blocks, times):
        extensions = extend_run(chainstate, blocks, times)
        runs.append(0 if extensions is None else len(extensions))
        return extensions

    monkeypatch.setattr(Chainstate, "extend_run", noted)
    for seed in range(3):
        blocks = drawn_tree(Random(seed))
        with closing(quick_ledger()) as ledger:
            added(ledger, [block.raw for block in blocks], [now_of(TRUNK)] * len(blocks))
    assert 0 in runs, "some were given up"
    assert sum(runs) > BLOCKS // 2
