"""Blocks with scripts of every kind in a ledger; signatures that are wrong by intent among them."""

from contextlib import closing

import pytest

from chain.consensus.block_validation import connect_block
from chain.consensus.errors import Reason
from chain.consensus.p2wpkh_block import verify_now
from chain.consensus.params import REGTEST
from chain.ledger.ledger import Ledger
from chain.primitives.numbers import Amount
from chain.primitives.script import push
from chain.primitives.transaction import TxOut, decode_transaction
from chain.script.errors import ScriptError
from tests.builders import output_of, pay, spend
from tests.ledger.chains import (
    FEE,
    NOW,
    coins_after,
    feed,
    mature_chain,
    memory_ledger,
    tables,
    url_of,
)
from tests.script.core_format import parse_script
from tests.script.locks import CONTEXTS, KEYS, Draft, Leaf, Sign, lock, spend_script

VALUE = 20_000
BLOCKS = 12  # more than may be unverified at a time
INTENDED = ("base", "p2sh", "v0", "wrapped_v0")


def signed(context: str) -> bytes:
    shown = KEYS[0].xonly if context == "tapscript" else KEYS[0].compressed
    return push(shown) + parse_script("CHECKSIG")


def refusing(context: str) -> bytes:
    """A script that only a wrong signature opens."""
    del context
    return push(KEYS[0].compressed) + parse_script("CHECKSIG NOT")


def fanned(builder, locks: list[tuple[str, bytes]]):
    """Add a block that makes a coin for each (context, script); return its transaction."""
    point, coin = builder.coinbase_coin(1)
    outputs = [TxOut(Amount(VALUE), lock(context, script, Leaf())) for context, script in locks]
    rest = coin.value - VALUE * len(locks) - FEE
    funding = spend([(point, coin)], [*outputs, pay(rest)])
    builder.add([funding])
    return funding


def spends_of(funding, locks, signer):
    """Return a transaction for each of the coins that `fanned` made."""
    for at, (context, script) in enumerate(locks):
        draft = Draft(value=VALUE, point=output_of(funding, at))
        yield decode_transaction(spend_script(draft, context, script, [Sign(signer)]).raw)


def chain_of(make, contexts, signer):
    """Return a chain with `BLOCKS` blocks of spends, each with one of every context."""
    builder = mature_chain(101)
    locks = [(context, make(context)) for _ in range(BLOCKS) for context in contexts]
    funding = fanned(builder, locks)
    txs = list(spends_of(funding, locks, signer))
    size = len(contexts)
    for at in range(0, len(txs), size):
        builder.add(txs[at : at + size])
    return builder


@pytest.fixture(scope="module")
def intended():
    """Valid blocks full of signatures that do not verify."""
    return chain_of(refusing, INTENDED, KEYS[1])


@pytest.fixture(scope="module")
def every_kind():
    return chain_of(signed, CONTEXTS, KEYS[0])


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("pipelined", [True, False])
@pytest.mark.parametrize("name", ["intended", "every_kind"])
def test_blocks_with_scripts_are_accepted_however_they_are_verified(
    name, pipelined, threads, request
):
    builder = request.getfixturevalue(name)
    with closing(memory_ledger(threads)) as ledger:
        verdicts = list(ledger.add_blocks(builder.blocks, NOW, pipelined=pipelined))
        assert [verdict.error for verdict in verdicts] == [None] * len(builder.blocks)
        assert ledger.tip.id == builder.tip.id


def test_valid_blocks_with_wrong_signatures_are_imported_from_an_empty_ledger(tmp_path, intended):
    with closing(Ledger(url_of(tmp_path), REGTEST, verify_threads=2)) as ledger:
        feed(ledger, intended.blocks)
        expected = tables(ledger)
    with closing(Ledger(url_of(tmp_path), REGTEST, verify_threads=2)) as ledger:
        assert ledger.tip.id == intended.tip.id
        assert tables(ledger) == expected


@pytest.mark.parametrize("threads", [1, 2])
def test_a_reorganisation_to_valid_blocks_with_wrong_signatures_is_followed(threads, intended):
    short = intended.fork(BLOCKS)
    short.grow(3, extra=b"short")
    with closing(memory_ledger(threads)) as ledger:
        feed(ledger, short.blocks)
        for block in intended.blocks[-BLOCKS:]:
            ledger.add_block(block, NOW)
        assert ledger.tip.id == intended.tip.id
        assert not any(ledger.tree.is_invalid(block.id) for block in intended.blocks)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("pipelined", [True, False])
@pytest.mark.parametrize("context", CONTEXTS)
def test_a_wrong_signature_is_refused_with_its_own_text(context, pipelined, threads):
    """Also among others that are right, and with a block behind it."""
    builder = mature_chain(101)
    locks = [(context, signed(context))] * 12
    funding = fanned(builder, locks)
    good = list(spends_of(funding, locks, KEYS[0]))
    (bad,) = list(spends_of(funding, locks, KEYS[1]))[7:8]
    builder.add([*good[:7], bad, *good[8:]])
    builder.grow(1)
    error = ScriptError.SCHNORR_SIG if context == "tapscript" else ScriptError.EVAL_FALSE
    with closing(memory_ledger(threads)) as ledger:
        verdicts = list(ledger.add_blocks(builder.blocks, NOW, pipelined=pipelined))
        reasons = [each.error.reason for each in verdicts[-2:]]
        assert reasons == [Reason.SCRIPT, Reason.PARENT_INVALID]
        assert verdicts[-2].error.detail == error
        assert ledger.tip.height == 102


def test_what_is_verified_again_later_forgives_the_same(intended):
    """As `verifychain` does it."""
    block = intended.blocks[-1]
    coins = coins_after(intended.blocks[:-1])
    parent = intended.tip.parent
    connection = connect_block(block, parent, coins, REGTEST)
    assert connection.checks == []
    assert verify_now(connection.checks) is None
