"""A process that follows the database sees what the node sees, version by version."""

import weakref
from contextlib import closing, contextmanager

import pytest

from chain.consensus.params import REGTEST
from chain.ledger.db.engine import open_engine
from chain.ledger.db.node_state import Version, parse_version, write_state
from chain.ledger.errors import LedgerError, SchemaTooNewError, WrongNetworkError
from chain.ledger.ledger import Ledger
from chain.ledger.migrate import upgrade
from chain.ledger.reader import is_made, open_reader
from chain.node.entry import PoolEntry
from chain.node.node import Node
from chain.service.api.snapshot import ON_LOOP
from chain.service.api.state.port import ON_THREAD, NotReadYetError
from chain.service.readers.follower import Follower
from chain.settings import LEDGER_NAME
from tests.ledger.chains import QUICK, url_of
from tests.node.pool_walk import PoolWalk

STEPS = 80
STEPS_DEEP = 1_500
VALUES = (*PoolEntry.__slots__[:4], "fee", "height", "time", "txid", "script_hashes")


@contextmanager
def followed(folder, params=QUICK):
    with closing(open_reader(url_of(folder))) as reader:
        follower = Follower(reader, params)
        follower.open()
        yield follower


def shown(pool):
    """Everything that anyone can ask of a pool."""
    entries = pool.entries()
    return {
        "entries": [[getattr(entry, name) for name in VALUES] for entry in entries],
        "sums": (pool.vsize, pool.fees, pool.usage_bytes, pool.count),
        "wtxids": [pool.get_by_wtxid(entry.wtxid).txid for entry in entries],
        "spenders": [
            pool.spender(txin.outpoint).txid for e in entries for txin in e.transaction.inputs
        ],
        "scripts": [
            [one.txid for one in pool.by_script_hash(key)]
            for e in entries
            for key in e.script_hashes
        ],
    }


@pytest.fixture
def walk(tmp_path):
    with closing(Ledger(url_of(tmp_path), QUICK, verify_threads=1)) as ledger:
        walk = PoolWalk(ledger, 5)
        walk.save()
        yield walk


@pytest.mark.parametrize("every", [1, 5])
@pytest.mark.parametrize("steps", [STEPS, pytest.param(STEPS_DEEP, marks=pytest.mark.slow)])
def test_a_follower_has_the_nodes_tip_and_mempool_after_each_commit(walk, tmp_path, steps, every):
    """Also if it looks only at every fifth version, and after a restart of the node."""
    with followed(tmp_path) as follower:
        for number in range(steps):
            walk.step()
            walk.save()
            if number % every:
                continue
            if number == steps // 2:
                walk.restart()
                walk.save()
            node = walk.node
            with follower.snapshot() as at:
                assert at.view.tip == node.view.tip == walk.ledger.tip
                assert at.view.version == walk.ledger.version
                assert shown(at.view.pool) == shown(node.view.pool)
                assert at.view.block_feerates == node.view.block_feerates
                assert follower.deltas(at.view) == node.deltas()
                assert follower.policy(at.view) == node.policy
                assert follower.feerate_min(at.view, walk.now) == node.feerate_min(walk.now)


def test_a_view_that_was_given_out_never_changes(walk, tmp_path):
    with followed(tmp_path) as follower:
        held = []
        for _ in range(40):
            walk.step()
            walk.save()
            with follower.snapshot() as at:
                held.append((at.view, shown(at.view.pool)))
        for view, before in held:
            assert shown(view.pool) == before


@pytest.mark.parametrize("limits", [ON_THREAD, ON_LOOP])
def test_what_is_present_is_what_a_snapshot_has_before_and_after_each_commit(
    walk, tmp_path, limits
):
    with followed(tmp_path) as follower:
        for _ in range(40):
            walk.step()
            walk.save()
            if limits is ON_LOOP:
                with pytest.raises(NotReadYetError):
                    follower.current_view(limits)
                follower.listen()
            first, second = follower.current_view(limits), follower.current_view(limits)
            assert first is second
            assert (first.version, first.view.tip) == (walk.ledger.version, walk.ledger.tip)
            assert shown(first.view.pool) == shown(walk.node.view.pool)


def test_the_mempool_of_an_earlier_version_is_kept_for_nobody(walk, tmp_path):
    with followed(tmp_path) as follower:
        walk.step()
        walk.save()
        earlier = weakref.ref(follower.current_view(ON_THREAD).view.pool)
        while follower.view.pool is earlier():
            walk.step()
            walk.save()
            follower.listen()
        assert earlier() is None


def test_a_follower_that_starts_late_loads_what_is_there(walk, tmp_path):
    for _ in range(30):
        walk.step()
    walk.save()
    with followed(tmp_path) as follower:
        assert shown(follower.view.pool) == shown(walk.node.view.pool)


def test_headers_of_all_branches_are_found_and_forgotten_ones_are_not(walk, tmp_path):
    with followed(tmp_path) as follower:
        for _ in range(40):
            walk.step()
        walk.save()
        with follower.snapshot() as at:
            for entry in walk.ledger.tree:
                found = at.headers.get(entry.id)
                assert (found, found.chain_work) == (entry, entry.chain_work)
                assert found.median_time_past == entry.median_time_past
            assert at.headers.get(b"\x01" * 32) is None


def test_an_import_leaves_the_pools_rows_on_another_tip_and_none_is_shown(tmp_path):
    with closing(Ledger(url_of(tmp_path), QUICK, verify_threads=1)) as ledger:
        walk = PoolWalk(ledger, 5)
        while not walk.node.view.pool.count:
            walk.pay()
        walk.save()
    with followed(tmp_path) as follower:
        assert follower.view.pool.count
        with closing(Ledger(url_of(tmp_path), QUICK, verify_threads=1)) as ledger:
            ledger.add_block(walk.chain.add(extra=b"imported"), walk.now)
            with follower.snapshot() as at:
                assert at.view.tip == ledger.tip
                assert not at.view.pool.count
            node = Node(ledger, walk.node.policy)
            node.restore_pool(walk.now)
            node.save_pool(walk.now, is_durable=False)
            with follower.snapshot() as at:
                assert shown(at.view.pool) == shown(node.view.pool)
                assert at.view.pool.count


def test_a_ledger_is_made_once_it_has_tables_and_genesis(tmp_path):
    file = tmp_path / LEDGER_NAME
    assert not is_made(file)
    file.touch()
    assert not is_made(file)
    engine = open_engine(url_of(tmp_path))
    upgrade(engine)
    assert not is_made(file), "a node that is starting has not put genesis into it yet"
    engine.dispose()
    Ledger(url_of(tmp_path), QUICK, verify_threads=1).close()
    assert is_made(file)


def test_another_epoch_is_read_whole_even_if_it_seems_to_be_an_earlier_one(walk, tmp_path):
    """A restored copy of the database goes on from an earlier epoch."""
    with followed(tmp_path) as follower:
        walk.pay()
        walk.save()
        with follower.snapshot() as at:
            later = at.view.version
        earlier = Version(bytes(24), later.sequence - 1)
        with walk.ledger._connection.begin():
            values = {"epoch": earlier.epoch, "sequence": earlier.sequence.to_bytes(8, "big")}
            write_state(walk.ledger._connection, values)
        with follower.snapshot() as at:
            assert at.view.version == earlier
            assert shown(at.view.pool) == shown(walk.node.view.pool)


def test_a_file_that_is_gone_or_was_replaced_ends_a_reader(walk, tmp_path):
    with followed(tmp_path) as follower:
        follower.listen()
        file = tmp_path / LEDGER_NAME
        file.rename(tmp_path / "old.sqlite")
        with pytest.raises(LedgerError, match=r"is gone: it was moved or deleted$"):
            follower.listen()
        file.touch()
        with pytest.raises(LedgerError, match="was replaced"):
            follower.listen()


def test_another_schema_ends_a_reader_in_the_next_snapshot(walk, tmp_path):
    with followed(tmp_path) as follower:
        engine = open_engine(url_of(tmp_path))
        walk.ledger.close()
        with engine.begin() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        engine.dispose()
        with pytest.raises(SchemaTooNewError), follower.snapshot():
            pass


def test_a_ledger_of_another_network_is_refused(walk, tmp_path):
    with closing(open_reader(url_of(tmp_path))) as reader, pytest.raises(WrongNetworkError):
        Follower(reader, REGTEST).open()


def test_versions_are_compared_within_an_epoch_and_by_its_counter(walk):
    version = walk.ledger.version
    assert parse_version(str(version)) == version
    assert version.next().includes(version)
    assert not version.includes(version.next())
    later = parse_version(f"{version.counter + 1:016x}{'00' * 16}.0")
    assert later.includes(version)
    assert not version.includes(later)
    for text in ("", "1.2", str(version) + " ", str(version).upper() + "x", f"{'0' * 48}."):
        assert parse_version(text) is None
