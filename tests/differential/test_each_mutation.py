"""Each mutation by itself, so that a failure names it."""

import pytest

from tests.differential.mutations.catalogue import MUTATIONS
from tests.differential.pending import PENDING


def _cases():
    cases = []
    for name in MUTATIONS:
        reason = PENDING.get(name)
        marks = [pytest.mark.xfail(reason=reason, strict=False)] if reason else []
        cases.append(pytest.param(name, marks=marks))
    return cases


@pytest.mark.parametrize("name", _cases())
def test_both_say_the_same_to(name, arena):
    arena.shared(name).run(MUTATIONS[name])
