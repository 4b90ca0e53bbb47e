"""Mutations one after another, in orders nobody thought of."""

import os
import sys
import time
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.differential.mutations.catalogue import MUTATIONS

NAMES = sorted(MUTATIONS)
PARTS = 8
ECHO = 0.2  # chance to offer a block a second time, whatever was said to it
BLOCKS = 20_000
SPENDS_MIN = 10_000  # P2WPKH in its right form, in those blocks
COLUMNS_MIN = 1_000  # of those blocks, connected in columns
RUNS_MIN = 1_000  # of those blocks and the base's, connected together
BLOCKS_A_WORLD = 200  # then from the base again: time is for many short chains


@pytest.mark.parametrize("part", range(PARTS))
@settings(max_examples=2)
@given(
    picked=st.lists(st.integers(0, len(NAMES) - 1), min_size=6, max_size=10, unique=True),
    seed=st.integers(0, 1 << 32),
)
def test_both_agree_after_every_block_of_any_chain(part, picked, seed, arena):
    duel = arena.new(f"{part}/{seed}")
    try:
        for index in picked:  # each part has other mutations: hypothesis draws the same for all
            name = NAMES[(index + part * len(NAMES) // PARTS) % len(NAMES)]
            duel.run(MUTATIONS[name], echo=ECHO)
    finally:
        arena.retire(duel)


@pytest.mark.slow
def test_both_agree_on_twenty_thousand_blocks(arena, fast_way, capsys):
    """Blocks of the base are not counted. GROAT_SEED repeats a run.

    It goes on until the fast way of P2WPKH was compared with the engine often enough, too.
    """
    before, blocks_before, runs_before = fast_way.seen, fast_way.blocks, fast_way.in_runs
    seed = int(os.environ.get("GROAT_SEED", time.time_ns() % (1 << 32)))
    rng, compared, worlds = Random(seed), 0, 0
    started = time.monotonic()
    while compared < BLOCKS or fast_way.seen - before < SPENDS_MIN:
        duel = arena.new(f"{seed}/{worlds}")
        worlds += 1
        while duel.compared < BLOCKS_A_WORLD:
            try:
                duel.run(MUTATIONS[rng.choice(NAMES)], echo=ECHO)
            except AssertionError as error:
                raise AssertionError(f"GROAT_SEED={seed}, world {worlds - 1}: {error}") from error
        compared += duel.compared
        arena.retire(duel)
    took = time.monotonic() - started
    spends, blocks = fast_way.seen - before, fast_way.blocks - blocks_before
    in_runs = fast_way.in_runs - runs_before
    assert blocks >= COLUMNS_MIN
    assert in_runs >= RUNS_MIN
    with capsys.disabled():
        sys.stdout.write(
            f"\nseed {seed}: {compared} blocks compared in {worlds} worlds, no disagreement, "
            f"{spends} spends by the fast way and by the engine, {blocks} blocks in columns and "
            f"one transaction at a time, {in_runs} in runs and one at a time, "
            f"{compared / took:.0f} blocks/s\n"
        )
