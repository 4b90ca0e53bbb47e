"""BIP34 and the subsidy at the heights where their forms change."""

import pytest

from chain.consensus.params import REGTEST
from chain.consensus.subsidy import block_subsidy
from chain.primitives.script import push_number
from tests.builders import commit
from tests.differential.mutations.coinbases import HEIGHT, HEIGHT_FORMS, LENGTH, with_script
from tests.differential.offer import bad, good

SMALL = {*range(1, 19), 127, 128, 129, 149, 150, 151, 255, 256, 257, 299, 300}
LAST = max(SMALL)


def try_height(duel) -> None:
    """Offer wrong coinbases of the world's next height, then right ones beside each other."""
    world, height = duel.world, duel.world.height
    right = push_number(height)
    for form in HEIGHT_FORMS.values():
        script = form(height) + b"\x00\x00"
        if not script.startswith(right):
            duel.offer(bad(world.assemble(commit([with_script(world, script)])), HEIGHT))
    sized = b"\x01" + height.to_bytes(1, "little") if height <= 16 else b"\x4c" + right
    duel.offer(bad(world.assemble(commit([with_script(world, sized)])), HEIGHT))
    alone = world.assemble(commit([with_script(world, right)]))
    duel.offer(good(alone) if len(right) >= 2 else bad(alone, LENGTH))
    if world.height == height:
        subsidy = block_subsidy(height, REGTEST)
        duel.offer(bad(world.block(value=subsidy + 1), "bad-cb-amount"))
        with_zero = world.assemble(commit([with_script(world, right + b"\x00")]))
        duel.offer(good(with_zero))


@pytest.mark.parametrize("height", [149, 150, 299, 300, 449, 450])
def test_subsidy_of_regtest_halves_every_150_blocks(height):
    assert block_subsidy(height, REGTEST) == 5_000_000_000 >> height // 150


@pytest.mark.parametrize(("first", "last"), [(1, 151), (152, LAST)])
def test_coinbase_scripts_at_each_width_of_a_small_height(arena, first, last):
    duel = arena.new(f"heights/{first}", with_base=False)
    while duel.world.height <= last:
        height = duel.world.height
        if height >= first and height in SMALL:
            try_height(duel)
            continue
        subsidy = block_subsidy(height, REGTEST)
        if height >= first:
            duel.offer(bad(duel.world.block(value=subsidy + 1), "bad-cb-amount"))
        duel.offer(good(duel.world.block(value=subsidy)))
    assert duel.world.tip.height == last


@pytest.mark.slow
def test_coinbase_scripts_where_a_height_gets_a_third_byte(arena):
    """Heights 32,767 and 32,768; on the way the subsidy halves to nothing."""
    duel = arena.new("far", with_base=False)
    while duel.world.height <= 32_769:
        if duel.world.height >= 32_767 or duel.world.height in {5_099, 5_100, 9_600}:
            try_height(duel)
        else:
            duel.offer(good(duel.world.block()))
    assert duel.world.tip.height == 32_769
