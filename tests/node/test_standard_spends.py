"""Coins of every kind in the mempool: what may be spent and how, under the standard flags."""

from dataclasses import replace

import pytest

from chain.consensus.block_validation import connect_block
from chain.consensus.errors import InvalidError, Reason
from chain.consensus.params import REGTEST
from chain.consensus.spend import spend_checks, verify_checks
from chain.node.policy import (
    DATA_BYTES_MAX,
    SCRIPT_SIG_BYTES_MAX,
    TX_WEIGHT_MAX,
    Policy,
    PolicyError,
    PolicyReason,
    virtual_size,
)
from chain.node.selection import select
from chain.node.standard_spends import (
    LEGACY_SIGOPS_MAX,
    REDEEM_SIGOPS_MAX,
    SIGOPS_COST_MAX,
    WITNESS_ITEM_BYTES_MAX,
    WITNESS_ITEMS_MAX,
    WITNESS_SCRIPT_BYTES_MAX,
)
from chain.node.template import TEMPLATE_ROOM, Template
from chain.primitives.numbers import Amount
from chain.primitives.script import push
from chain.primitives.transaction import Transaction, TxOut
from chain.script.sigops import sigops_cost
from tests.builders import pay, solve
from tests.node.spends import (
    ANCHOR,
    CHECKSIG,
    FEE,
    KEY,
    KINDS,
    MULTISIG,
    NOT_WRONG,
    SIGNED_TWICE,
    Spend,
    unlocked,
)
from tests.node.test_reorganise import reorganise
from tests.node.world import COIN, NOW, World
from tests.script.locks import Leaf

EVERY_KIND = pytest.mark.parametrize("kind", KINDS)
ROOMY = Policy(package_vbytes_max=1_000_000)


@pytest.fixture
def world() -> World:
    return World()


def refusal(world: World, transaction: Transaction) -> PolicyError | InvalidError | None:
    try:
        world.submit(transaction)
    except (PolicyError, InvalidError) as error:
        return error
    return None


def reason(world: World, transaction: Transaction) -> PolicyReason | Reason | None:
    error = refusal(world, transaction)
    return None if error is None else error.reason


# kinds


@EVERY_KIND
def test_a_spend_of_every_standard_kind_is_taken(world, kind):
    transaction = KINDS[kind](world)
    coins = [world.coins[txin.outpoint] for txin in transaction.inputs]
    entry = world.submit(transaction)
    assert entry.sigops_cost == sigops_cost(transaction, coins)
    assert entry.vsize == virtual_size(transaction.weight, entry.sigops_cost)


@EVERY_KIND
def test_a_template_holds_a_spend_of_every_kind_and_counts_it_as_a_block_does(world, kind):
    transaction = KINDS[kind](world)
    world.submit(transaction)
    template = Template(
        REGTEST, world.tip, KEY.xonly, tuple(select(world.mempool.pool, TEMPLATE_ROOM)), NOW
    )
    assert [entry.txid for entry in template.entries] == [transaction.txid]
    block = template.block(solve(template.header(0, template.time)), 0)
    verify_checks(connect_block(block, template.parent, world.coins, REGTEST).checks)


@EVERY_KIND
def test_a_reorganisation_puts_a_spend_of_every_kind_back(world, kind):
    transaction = KINDS[kind](world)
    world.connect([transaction])
    returned, removed = reorganise(world, 1, [])
    assert [entry.txid for entry in returned] == [transaction.txid]
    assert removed == []


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"anchor"}))
def test_a_wrong_signature_of_any_kind_is_refused_as_invalid(world, kind):
    transaction = KINDS[kind](world)
    other = Transaction(2, transaction.inputs, [pay(COIN - FEE - 1)])
    error = refusal(world, other)
    assert error.reason is PolicyReason.SCRIPT
    assert error.is_invalid


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (b"\x51", PolicyReason.INPUTS_NONSTANDARD),
        (b"\x52\x20" + bytes(32), PolicyReason.INPUTS_NONSTANDARD),
        (b"\x51\x02\x4e\x74", PolicyReason.INPUTS_NONSTANDARD),
        (b"\x00\x10" + bytes(16), PolicyReason.INPUTS_NONSTANDARD),
    ],
)
def test_a_coin_that_a_later_rule_may_lock_is_not_spent(world, script, why):
    assert reason(world, unlocked(world, [(Spend("base", script), b"", ())])) is why


# scripts that are right in a block, and refused


@pytest.mark.parametrize("name", NOT_WRONG)
def test_what_is_right_in_a_block_is_refused_without_blame(world, name):
    transaction = NOT_WRONG[name].transaction(world)
    coins = [world.coins[txin.outpoint] for txin in transaction.inputs]
    verify_checks(spend_checks(transaction, coins))  # which raises nothing
    error = refusal(world, transaction)
    assert error.reason is PolicyReason.SCRIPT
    assert not error.is_invalid
    assert error.reject_reason.startswith("mempool-script-verify-flag-failed (")


@pytest.mark.parametrize("name", NOT_WRONG)
def test_what_was_in_a_block_and_is_not_standard_does_not_come_back(world, name):
    world.connect([NOT_WRONG[name].transaction(world)])
    returned, _ = reorganise(world, 1, [])
    assert returned == []


# limits


def test_limits_are_bitcoins():
    assert (WITNESS_SCRIPT_BYTES_MAX, WITNESS_ITEMS_MAX, WITNESS_ITEM_BYTES_MAX) == (3600, 100, 80)
    assert (TX_WEIGHT_MAX, DATA_BYTES_MAX, SCRIPT_SIG_BYTES_MAX) == (400_000, 100_000, 1650)
    assert (REDEEM_SIGOPS_MAX, LEGACY_SIGOPS_MAX, SIGOPS_COST_MAX) == (15, 2500, 16_000)


def drops(count: int) -> bytes:
    """Return a script that drops items and leaves 1."""
    return b"\x75" * count + b"\x51"


@pytest.mark.parametrize(("extra", "why"), [(0, None), (1, PolicyReason.SCRIPT_SIG_SIZE)])
def test_a_script_sig_has_at_most_1650_bytes(world, extra, why):
    items = [bytes([1]) * 408] * 3 + [bytes([1]) * (408 + extra)]
    transaction = Spend("p2sh", drops(4), items).transaction(world)
    assert len(transaction.inputs[0].script_sig) == 1650 + extra
    assert reason(world, transaction) is why


@pytest.mark.parametrize("script_sig", [b"\x61", b"\x51\x75\x51", b"\x02\x51"])
def test_a_script_sig_only_pushes(world, script_sig):
    spent = Spend("base", ANCHOR)
    assert reason(world, unlocked(world, [(spent, script_sig, ())])) is (
        PolicyReason.SCRIPT_SIG_PUSHES
    )


def unreached(count: int) -> bytes:
    """Return a script with signature operations that never run."""
    return b"\x00\x63" + b"\xae" * (count // 20) + CHECKSIG * (count % 20) + b"\x68\x51"


def redeemed(count: int) -> tuple[Spend, bytes, tuple[bytes, ...]]:
    script = unreached(count)
    return Spend("p2sh", script), push(script), ()


@pytest.mark.parametrize(
    ("count", "why"),
    [(REDEEM_SIGOPS_MAX, None), (REDEEM_SIGOPS_MAX + 1, PolicyReason.INPUTS_NONSTANDARD)],
)
def test_a_redeem_script_has_at_most_15_signature_operations(world, count, why):
    assert reason(world, unlocked(world, [redeemed(count)])) is why


@pytest.mark.parametrize(("last", "why"), [(10, None), (11, PolicyReason.INPUTS_NONSTANDARD)])
def test_a_transaction_runs_at_most_2500_legacy_signature_operations(last, why):
    world = World(ROOMY)
    counts = [REDEEM_SIGOPS_MAX] * 166 + [last]
    assert sum(counts) - LEGACY_SIGOPS_MAX == last - 10
    transaction = unlocked(world, [redeemed(count) for count in counts], fee=100_000)
    assert reason(world, transaction) is why


@pytest.mark.parametrize(("extra", "why"), [(0, None), (1, PolicyReason.SIGOPS)])
def test_signature_operations_cost_at_most_16000(extra, why):
    world = World(ROOMY)
    counts = [3_200] * 4 + [3_200 + extra]
    spends = [(Spend("v0", unreached(n)), b"", (unreached(n),)) for n in counts]
    assert sum(counts) == SIGOPS_COST_MAX + extra
    assert reason(world, unlocked(world, spends, fee=100_000)) is why


@pytest.mark.parametrize("context", ["v0", "wrapped_v0"])
@pytest.mark.parametrize(
    ("sizes", "why"),  # of the script, at least; count of the items; of each item
    [
        ((WITNESS_SCRIPT_BYTES_MAX, 1, 1), None),
        ((WITNESS_SCRIPT_BYTES_MAX + 1, 1, 1), PolicyReason.WITNESS_NONSTANDARD),
        ((0, WITNESS_ITEMS_MAX, 1), None),
        ((0, WITNESS_ITEMS_MAX + 1, 1), PolicyReason.WITNESS_NONSTANDARD),
        ((0, 1, WITNESS_ITEM_BYTES_MAX), None),
        ((0, 1, WITNESS_ITEM_BYTES_MAX + 1), PolicyReason.WITNESS_NONSTANDARD),
    ],
)
def test_a_p2wsh_witness_has_limits(world, context, sizes, why):
    script_bytes, items, item_bytes = sizes
    filler = push(bytes([1]) * 500) + b"\x75"
    script = filler * (script_bytes // len(filler)) + drops(items)
    rest = script_bytes - len(script)
    if rest > 0:  # one more push, exactly as long as is left
        script = push(bytes([1]) * (rest - 4 if rest > 258 else rest - 2)) + b"\x75" + script
    assert not script_bytes or len(script) == script_bytes
    transaction = Spend(context, script, [bytes([1]) * item_bytes] * items).transaction(world)
    assert reason(world, transaction) is why


@pytest.mark.parametrize(
    ("leaf", "item_bytes", "why"),
    [
        (Leaf(), WITNESS_ITEM_BYTES_MAX, None),
        (Leaf(), WITNESS_ITEM_BYTES_MAX + 1, PolicyReason.WITNESS_NONSTANDARD),
        (Leaf(annex=b"\x50"), 1, PolicyReason.WITNESS_NONSTANDARD),
        (Leaf(version=0xC2), WITNESS_ITEM_BYTES_MAX + 1, PolicyReason.SCRIPT),
    ],
)
def test_a_taproot_witness_has_short_items_and_no_annex(world, leaf, item_bytes, why):
    spent = Spend("tapscript", drops(1), [bytes([1]) * item_bytes], leaf)
    assert reason(world, spent.transaction(world)) is why


def test_an_empty_control_block_is_refused(world):
    transaction = KINDS["p2tr-script"](world)
    [txin] = transaction.inputs
    filled = replace(txin, witness=(*txin.witness[:-1], b""))
    assert reason(world, Transaction(2, [filled], transaction.outputs)) is (
        PolicyReason.WITNESS_NONSTANDARD
    )


def test_an_annex_beside_a_key_path_is_refused(world):
    transaction = KINDS["p2tr-key"](world)
    [txin] = transaction.inputs
    filled = replace(txin, witness=(*txin.witness, b"\x50"))
    assert reason(world, Transaction(2, [filled], transaction.outputs)) is (
        PolicyReason.WITNESS_NONSTANDARD
    )


@pytest.mark.parametrize("kind", ["p2pk", "p2pkh", "multisig", "p2sh-multisig", "anchor"])
def test_a_witness_where_none_belongs_is_refused(world, kind):
    transaction = KINDS[kind](world)
    filled = replace(transaction.inputs[0], witness=(b"\x01",))
    assert reason(world, Transaction(2, [filled], transaction.outputs)) is (
        PolicyReason.WITNESS_NONSTANDARD
    )


@pytest.mark.parametrize(
    "script_sig", [b"\x50", b"", push(bytes(521)), b"\x51" * 1_001, b"\x01\x6a"]
)
def test_a_p2sh_input_without_a_redeem_script_that_can_run_is_refused(world, script_sig):
    spent = Spend("p2sh", b"\x51")
    error = refusal(world, unlocked(world, [(spent, script_sig, ())]))
    wrong_hash = script_sig == b"\x01\x6a"
    assert error.reason is (PolicyReason.SCRIPT if wrong_hash else PolicyReason.INPUTS_NONSTANDARD)


def test_the_size_that_pays_grows_with_signature_operations(world):
    """A multisig output costs 80 units, and each unit is worth 20 of weight."""
    transaction = Spend("v0", MULTISIG, SIGNED_TWICE).transaction(
        world, outputs=(TxOut(Amount(COIN - 2_400), MULTISIG),)
    )
    entry = world.submit(transaction)
    assert entry.sigops_cost == 80 + 3
    assert entry.vsize == 5 * 83 > transaction.vsize


@pytest.mark.parametrize(("fee", "why"), [(415, None), (414, PolicyReason.FEE_BELOW_RELAY)])
def test_the_relay_fee_is_of_the_size_with_signature_operations(world, fee, why):
    outputs = (TxOut(Amount(COIN - fee), MULTISIG),)
    transaction = Spend("v0", MULTISIG, SIGNED_TWICE).transaction(world, outputs=outputs)
    assert reason(world, transaction) is why
