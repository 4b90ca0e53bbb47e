"""Each mutation by itself, so that a failure names it."""

import pytest

from tests.differential.mutations.catalogue import MUTATIONS


@pytest.mark.parametrize("name", sorted(MUTATIONS))
def test_both_say_the_same_to(name, arena):
    arena.shared(name).run(MUTATIONS[name])
