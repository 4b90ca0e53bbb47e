"""A bounded memory of ids."""

import pytest

from chain.primitives.hashes import sha256
from chain.primitives.recent import Recent

IDS = [sha256(b"%d" % number) for number in range(1000)]


@pytest.mark.parametrize("count", [5, 9, 10, 11, 19, 20, 21, 1000])
def test_recent_ids_are_certain_and_the_memory_is_bounded(count):
    recent = Recent(20)
    for one in IDS[:count]:
        recent.add(one)
    assert all(one in recent for one in IDS[:count][-10:])
    assert len(recent) == sum(one in recent for one in IDS) <= 20
    recent.clear()
    assert len(recent) == 0
    assert IDS[count - 1] not in recent


def test_the_oldest_are_forgotten():
    recent = Recent(20)
    for one in IDS[:20]:
        recent.add(one)
    assert IDS[0] not in recent
    assert IDS[10] in recent


def test_an_id_that_is_added_again_is_as_new_as_the_others():
    recent = Recent(20)
    for number in range(100):
        recent.add(IDS[0])
        recent.add(IDS[number])
        assert IDS[0] in recent
