"""Disagreements that were found, each in the smallest block that shows it."""

import pytest

from chain.primitives.script import p2wpkh_script
from tests.builders import KEY
from tests.differential.mutations.witnesses import funding, spend_of, with_witness
from tests.differential.offer import FALSE_ON_TOP, MISMATCH, bad


@pytest.mark.parametrize("faults", ["amount", "later transaction"])
def test_a_wrong_script_is_told_before_what_comes_behind_it(faults, arena):
    duel = arena.new(faults)
    world = duel.world
    wrong = with_witness(world.payment())
    if faults == "amount":
        block = world.block([wrong], value=1 << 45)
    else:
        block = world.block([wrong, world.payment(fee=-1)])
    duel.offer(bad(block, MISMATCH))


def test_a_wrong_signature_is_told_before_what_comes_behind_it(arena):
    duel = arena.new("signature")
    world = duel.world
    tx = world.payment()
    wrong = with_witness(tx, b"", tx.inputs[0].witness[1])
    duel.offer(bad(world.block([wrong], value=1 << 45), FALSE_ON_TOP))


@pytest.mark.parametrize("order", [1, -1])
def test_the_first_of_two_wrong_scripts_is_told(order, arena):
    duel = arena.new(order)
    world = duel.world
    tx, other = world.payment(), with_witness(world.payment())
    signature, key = tx.inputs[0].witness
    wrong = with_witness(tx, signature[:-1] + b"\x02", key)
    reason = FALSE_ON_TOP if order == 1 else MISMATCH
    duel.offer(bad(world.block([wrong, other][::order]), reason))


@pytest.mark.parametrize("key_hash", [bytes(20), bytes(19) + b"\x80"])
def test_a_program_that_reads_as_false_fails_as_such(key_hash, arena):
    duel = arena.new(key_hash)
    world = duel.world
    tx, coin = funding(world, p2wpkh_script(key_hash))
    spend = spend_of(coin, KEY)
    duel.offer(bad(world.block([tx, spend]), FALSE_ON_TOP))
