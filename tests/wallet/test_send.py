"""`groat-wallet send` against a server that validates what it gets."""

import pytest

from chain.primitives.numbers import GRAINS_PER_GROAT
from chain.primitives.transaction import decode_transaction
from wallet.account import Branch

GROAT = GRAINS_PER_GROAT
PAYEE = "bcrt1qd7spv5q28348xl4myc8zmh983w5jx32cs707jh"  # the next address of the same wallet
OTHER = "bcrt1qwqdg6squsna38e46795at95yu9atm8azzmyvckulcc7kytlcckxswvvzej"  # P2WSH


def mempool_tx(regtest):
    (tx,) = regtest.mempool.values()
    return tx


def test_send_pays_the_recipient_and_returns_the_change(cli, rich, regtest):
    done = cli.json("send", PAYEE, "1.5", "--fee-rate", "2", "--yes")
    tx = mempool_tx(regtest)
    values = {out.script: out.value for out in tx.outputs}
    assert values[rich.script(Branch.RECEIVE, 1)] == 150_000_000
    assert values[rich.script(Branch.CHANGE, 0)] == 50 * GROAT - 150_000_000 - done["fee"]
    assert done["fee"] == regtest.fee_of(tx) >= 2 * tx.vsize
    assert done["fee"] <= 2 * (tx.vsize + 1)
    assert done["txid"] == bytes(reversed(tx.txid)).hex()
    regtest.mine()
    assert cli.json("balance")["trusted"] == 50 * GROAT - done["fee"]


def test_send_signals_replacement_and_locks_to_the_tip(cli, rich, regtest):
    cli.run("send", PAYEE, "1", "--yes")
    tx = mempool_tx(regtest)
    assert {txin.sequence for txin in tx.inputs} == {0xFFFFFFFD}
    assert tx.lock_time == regtest.builder.tip.height
    assert tx.version == 2


def test_dry_run_prints_the_transaction_and_sends_nothing(cli, rich, regtest):
    result = cli.run("send", PAYEE, "1", "--dry-run")
    tx = decode_transaction(bytes.fromhex(result.stdout.strip()))
    assert not regtest.mempool
    regtest.accept(tx)


@pytest.mark.usefixtures("rich")
@pytest.mark.parametrize(("answer", "code", "sent"), [("y\n", 0, 1), ("n\n", 9, 0), ("", 9, 0)])
def test_only_a_yes_sends(cli, answer, code, sent):
    regtest = cli.chain
    result = cli.run("send", PAYEE, "1", stdin=answer, code=code)
    assert len(regtest.mempool) == sent
    assert "1.00000000 GROAT  to bcrt1q" in result.stderr
    assert "grain/vB" in result.stderr
