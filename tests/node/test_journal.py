"""The journal: its encoding, and how long a version stays in it."""

from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.ledger.db.pool_rows import read_journal
from chain.node import journal as journal_module
from chain.node.journal import (
    AGE_S_MAX,
    Added,
    Connected,
    Disconnected,
    Removed,
    Repriced,
    Retention,
    decode_changes,
)
from chain.node.mempool import RemovalReason
from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import Hash32
from tests.ledger.chains import quick_ledger
from tests.node.pool_walk import PoolWalk

IDS = st.binary(min_size=32, max_size=32).map(Hash32)
SIGNED = st.integers(-(1 << 63), (1 << 63) - 1)
CHANGES = st.one_of(
    st.builds(Connected, IDS),
    st.builds(Disconnected, IDS),
    st.builds(Added, SIGNED, IDS, IDS, st.integers(0, (1 << 32) - 1), SIGNED, SIGNED),
    st.builds(
        Removed,
        IDS,
        st.sampled_from(RemovalReason),
        st.none() | IDS.filter(lambda txid: txid != bytes(32)),
    ),
    st.builds(Repriced, IDS, SIGNED),
)


@given(st.lists(CHANGES, max_size=8))
def test_what_is_encoded_is_decoded(changes):
    assert decode_changes(b"".join(change.encode() for change in changes)) == changes


@given(st.binary(max_size=200))
def test_other_bytes_are_a_decode_error_or_have_one_meaning(data):
    try:
        changes = decode_changes(data)
    except DecodeError:
        return
    assert b"".join(change.encode() for change in changes) == data


def test_every_reason_of_a_removal_is_in_the_journal():
    txid = Hash32(bytes(range(32)))
    removals = [Removed(txid, reason) for reason in RemovalReason]
    assert decode_changes(b"".join(one.encode() for one in removals)) == removals


@pytest.mark.parametrize(("age_s", "trimmed"), [(AGE_S_MAX, None), (AGE_S_MAX + 1, 1)])
def test_a_version_is_kept_for_an_hour(age_s, trimmed):
    retention = Retention()
    assert retention.add(1, 1_000_000, 10) is None
    assert retention.add(2, 1_000_000 + age_s, 10) == trimmed


def test_so_many_versions_are_kept(monkeypatch):
    monkeypatch.setattr(journal_module, "VERSIONS_MAX", 3)
    retention = Retention()
    assert [retention.add(sequence, 0, 1) for sequence in range(1, 6)] == [None, None, None, 1, 2]


def test_so_many_bytes_are_kept_but_always_the_last_version(monkeypatch):
    monkeypatch.setattr(journal_module, "BYTES_MAX", 10)
    retention = Retention()
    sizes = [6, 4, 1, 50, 1]
    trimmed = [retention.add(sequence, 0, size) for sequence, size in enumerate(sizes, 1)]
    assert trimmed == [None, None, 1, 3, 4]


def test_what_is_no_longer_kept_is_deleted_from_the_table(monkeypatch):
    monkeypatch.setattr(journal_module, "VERSIONS_MAX", 3)
    with closing(quick_ledger()) as ledger:
        walk = PoolWalk(ledger, 1)
        walk.save()
        for _ in range(5):
            walk.save()
            last = ledger.version.sequence
            found = [sequence for sequence, _, _ in ledger.read(lambda c: read_journal(c, 0))]
            assert found == [last - 2, last - 1, last]
