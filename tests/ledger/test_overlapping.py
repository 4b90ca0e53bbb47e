"""A node with groups of blocks and tiny batches on a writer's thread, and one with single blocks.

Both report and end the same, and the coins are those of a plain computation.
"""

import random
import threading
from concurrent.futures import wait
from contextlib import closing, suppress

import pytest

from chain.consensus.coin import Coin
from chain.consensus.errors import InvalidError, Reason
from chain.ledger import chain_tip as chain_tip_module
from chain.ledger import pipeline as pipeline_module
from chain.ledger.db import coins as coins_module
from chain.ledger.db.coins import coin_of_row
from chain.ledger.db.exclusion import ExclusionError
from chain.ledger.ledger import Ledger
from chain.ledger.writer import Writer
from chain.node.node import Node
from chain.node.policy import Policy, PolicyError
from chain.primitives.block import decode_block
from chain.primitives.transaction import Transaction, TxIn
from tests.builders import output_of, pay, spend
from tests.ledger.chains import (
    FEE,
    KEYS,
    NOW,
    QUICK,
    bad_spend,
    coins_after,
    grow_busy,
    quick_chain,
    quick_ledger,
    tables,
    url_of,
)

MATURE = 14  # blocks of the trunk, from which four coins can be spent
_MATURITY = QUICK.coinbase_maturity_blocks
_TOP = 12  # blocks of a branch at most


@pytest.fixture(scope="module")
def trunk():
    return quick_chain(MATURE)


def grow_tree(trunk, source, payments):
    """Branches of one tree, most with a block that breaks a rule."""
    builders = [trunk]
    for _ in range(source.choice([1, 4])):
        start = source.choice(builders)
        fork = start.fork(source.randrange(start.tip.height - MATURE + 1))
        while fork.tip.height < MATURE + _TOP and source.random() < 0.95:
            _grow(fork, source, payments)
        builders.append(fork)
    return list(dict.fromkeys(block for one in builders for block in one.blocks[MATURE:]))


def _grow(fork, source, payments):
    what = source.random()
    extra = source.randbytes(8)
    if what < 0.05:
        fork.add([bad_spend(fork, fork.tip.height + 1 - _MATURITY)], fees=0, extra=extra)
    elif what < 0.08:
        fork.add(fees=1, extra=extra)  # takes too much
    elif what < 0.11:
        paid = _spend_of(fork, source)
        fork.add([paid, paid], fees=0, extra=extra)
    elif what < 0.2:  # what the pool may know with the right signature, under the same id
        paid = _spend_of(fork, source)
        payments.append(paid)
        fork.add([_with_signature_of(paid, _spend_of(fork, source))], fees=0, extra=extra)
    elif what < 0.3 and (spent := _spent(fork)):
        fork.add([source.choice(spent[-4:])], fees=0, extra=extra)
    else:
        grow_busy(fork, 1, seed=source.randrange(1 << 30))


def _spend_of(fork, source):
    """A payment from some coin that exists after the fork."""
    coins = {
        point: coin
        for point, coin in coins_after(fork.blocks).items()
        if coin.script in KEYS
        and coin.value > 4 * FEE
        and (not coin.from_coinbase or fork.tip.height + 1 - coin.height >= _MATURITY)
    }
    point = source.choice(sorted(coins))
    coin = coins[point]
    left = coin.value - source.randrange(FEE, 2 * FEE)
    return spend([(point, coin)], [pay(left)], key=KEYS[coin.script])


def _spent(fork):
    """The payments of a branch, possibly of spent coins."""
    return [tx for block in fork.blocks[MATURE:] for tx in block.transactions[1:]]


def _with_signature_of(transaction, other):
    [txin], [signed] = transaction.inputs, other.inputs
    witness = (signed.witness[0], txin.witness[1])
    forged = TxIn(txin.outpoint, sequence=txin.sequence, witness=witness)
    return Transaction(transaction.version, [forged], transaction.outputs)


def with_other_witness(block, source):
    """The block with a changed witness of one transaction, which has the same id."""
    raw = bytearray(block.raw)
    raw[-20] ^= 1 << source.randrange(8)  # in the key or signature of the last input
    return decode_block(bytes(raw))


def scenario(trunk, source):
    """Steps for a node: the action, and its blocks or transactions."""
    payments = []
    blocks = grow_tree(trunk, source, payments)
    order = _arrival(blocks, source)
    steps = [("headers", blocks[: source.randrange(len(blocks) + 1)])]
    while order:
        what = source.random()
        size = source.randrange(1, 20)
        if what < 0.1:
            steps.append(("headers", source.sample(blocks, len(blocks) // 2)))
        elif what < 0.5:
            soon = [tx for block in order[: 2 * size] for tx in block.transactions[1:]]
            steps.append(("pay", [*payments, *soon]))
        elif what < 0.6:
            block = source.choice(blocks)
            steps += [("exclude", [block]), ("blocks", order[:size]), ("include", [block])]
        steps.append(("blocks", order[:size]))
        del order[:size]
    return [*steps, ("blocks", blocks)]


def _arrival(blocks, source):
    """Blocks in a likely order of arrival, some twice, or with other witnesses."""
    order = list(blocks)
    if source.random() < 0.3:  # a level of the tree after the other, not a branch after the other
        order.sort(key=lambda block: block.transactions[0].inputs[0].script_sig[:3])
    for _ in range(source.choice([0, 0, 2, 8])):
        one, other = (source.randrange(len(order)) for _ in range(2))
        order[one], order[other] = order[other], order[one]
    for block in source.choices(blocks, k=source.choice([0, 0, 3])):
        order.insert(source.randrange(len(order)), block)
        if len(block.transactions) > 1:
            order.insert(source.randrange(len(order)), with_other_witness(block, source))
    return order


def play(node, ledger, step, *, together):
    """Do one step; return its result."""
    what, given = step
    if what == "headers":
        for block in given:
            node.submit_headers([block.header], NOW)
    elif what == "pay":
        for tx in given:
            with suppress(InvalidError, PolicyError):
                node.submit_transaction(tx, NOW)
    elif what == "blocks" and together:
        return [None if e is None else e.reason for e in node.submit_blocks(given, NOW)]
    elif what == "blocks":
        return [_reason(node, block) for block in given]
    elif (entry := ledger.tree.get(given[0].id)) is not None:
        with suppress(ExclusionError):
            (node.invalidate_block if what == "exclude" else node.reconsider_block)(entry, NOW)
    return []


def _reason(node, block):
    try:
        node.submit_block(block, NOW)
    except InvalidError as error:
        return error.reason
    return None


def run(ledger, trunk, steps, *, together):
    said = []
    told = []
    with closing(ledger):
        for block in trunk.blocks:
            ledger.add_block(block, NOW)
        node = Node(ledger, Policy())
        node.listeners.append(
            lambda change: told.extend([("-", b.id) for b in change.disconnected])
        )
        node.listeners.append(lambda change: told.extend([("+", b.id) for b in change.connected]))
        for step in steps:
            said.append(play(node, ledger, step, together=together))
            assert node.view.tip == ledger.tip
            said.append((ledger.tip.id, ledger.tree.best_header.id, len(ledger.tree)))
            said.append(sorted(e.txid for e in node.view.pool.entries()))
        content = tables(ledger)
        chain = [ledger.blocks([row[1]], 0)[0] for row in content["chain"]][1:]
        plain = coins_after([decode_block(raw) for raw in chain])
        assert dict(map(coin_of_row, content["coins"])) == plain
        said.append([ledger.tree.is_invalid(b.id) for s in steps if s[0] == "blocks" for b in s[1]])
        return said, told, content


@pytest.fixture
def slow_or_quick_writer(monkeypatch):
    """Let each batch be written as late as possible or at once, depending on a seed."""
    write, begin, finish, close = (
        getattr(Writer, name) for name in ("_write", "begin", "finish", "close")
    )
    source, may_write = random.Random(1), threading.Event()

    def write_when_allowed(self, *given):
        may_write.wait()
        return write(self, *given)

    def begin_slow_or_quick(self, *given):
        may_write.clear()
        begin(self, *given)
        if source.random() < 0.5:
            may_write.set()
            wait([self._job])

    def finish_after_all(self):
        may_write.set()
        return finish(self)

    def close_after_all(self):
        may_write.set()
        close(self)

    monkeypatch.setattr(Writer, "_write", write_when_allowed)
    monkeypatch.setattr(Writer, "begin", begin_slow_or_quick)
    monkeypatch.setattr(Writer, "finish", finish_after_all)
    monkeypatch.setattr(Writer, "close", close_after_all)


@pytest.mark.usefixtures("slow_or_quick_writer")
@pytest.mark.parametrize("seed", range(6))
def test_groups_of_anything_end_as_one_by_one(tmp_path, trunk, monkeypatch, seed):
    source = random.Random(seed)
    steps = scenario(trunk, source)
    plain = run(quick_ledger(), trunk, steps, together=False)
    monkeypatch.setattr(chain_tip_module, "BATCH_ROWS_MAX", source.choice([1, 4, 10, 30]))
    monkeypatch.setattr(pipeline_module, "UNVERIFIED_BLOCKS_MAX", source.choice([1, 3, 64]))
    monkeypatch.setattr(coins_module, "HOT_COINS_MAX", source.choice([1, 5, 200_000]))
    held = source.choice([9, 30, 5_000])  # the others are in columns
    ledger = Ledger(url_of(tmp_path), QUICK, verify_threads=2, held_blocks=held)
    aside = run(ledger, trunk, steps, together=True)
    assert aside == plain, f"seed {seed}"


def _pays(point, coin, value):
    return spend([(point, coin)], [pay(value)])


def _coin_of(tx, height):
    return Coin(tx.outputs[0].value, tx.outputs[0].script, height, from_coinbase=False)


@pytest.mark.usefixtures("slow_or_quick_writer")
@pytest.mark.parametrize("between", [0, 1, 2])
@pytest.mark.parametrize("is_old", [True, False], ids=["old", "just made"])
def test_a_coin_that_is_spent_while_batches_are_written_is_not_spent_again(
    tmp_path, trunk, monkeypatch, between, is_old
):
    monkeypatch.setattr(chain_tip_module, "BATCH_ROWS_MAX", 1)
    chain = trunk.fork(0)
    point, coin = chain.coinbase_coin(2)
    if not is_old:
        made = _pays(point, coin, coin.value - FEE)
        chain.add([made], fees=FEE)
        point, coin = output_of(made), _coin_of(made, chain.tip.height)
    chain.add([_pays(point, coin, coin.value - FEE)], fees=FEE)
    chain.grow(between)
    chain.add([_pays(point, coin, coin.value - 2 * FEE)], fees=FEE)
    given = chain.blocks[MATURE:]
    with closing(Ledger(url_of(tmp_path), QUICK, verify_threads=1)) as ledger:
        for block in trunk.blocks:
            ledger.add_block(block, NOW)
        errors = [verdict.error for verdict in ledger.add_blocks(given, NOW)]
        assert errors[:-1] == [None] * (len(given) - 1)
        assert errors[-1].reason is Reason.COIN_MISSING
        plain = coins_after(chain.blocks[:-1])
        assert dict(map(coin_of_row, tables(ledger)["coins"])) == plain
        assert ledger.tip.id == chain.blocks[-2].id


@pytest.mark.parametrize("together", [False, True])
def test_a_payment_of_the_pool_with_another_signature_in_a_block_is_looked_at(trunk, together):
    chain = trunk.fork(0)
    paid, other = (_pays(*chain.coinbase_coin(2), 10**8 - n * FEE) for n in (1, 2))
    forged = _with_signature_of(paid, other)
    assert forged.txid == paid.txid
    with closing(quick_ledger()) as ledger:
        for block in trunk.blocks:
            ledger.add_block(block, NOW)
        node = Node(ledger, Policy())
        node.submit_transaction(paid, NOW)
        blocks = [chain.add([forged], fees=0), chain.add()]
        told = play(node, ledger, ("blocks", blocks), together=together)
        assert told[0] is Reason.SCRIPT
        assert ledger.tip.height == MATURE
