"""A power cut may lose batches of the mempool, the last first: no block, nothing before a block."""

import random
import shutil
from contextlib import closing

import pytest
from sqlalchemy import event

from chain.ledger.db.engine import read_rows
from chain.ledger.ledger import Ledger
from chain.ledger.offline.checking import check_ledger
from chain.node.node import Node
from tests.ledger.chains import QUICK, url_of
from tests.node.pool_killing import state_of
from tests.node.pool_walk import POLICY, PoolWalk

FRAME_BYTES = 24 + 4096  # of SQLite's write-ahead log
BATCHES = 6
CUTS = 25
FULL, NORMAL = 2, 1


@pytest.fixture
def walk(tmp_path):
    (tmp_path / "whole").mkdir()
    with closing(Ledger(url_of(tmp_path / "whole"), QUICK, verify_threads=1)) as ledger:
        yield PoolWalk(ledger, 5)


def test_only_batches_between_blocks_are_committed_without_waiting_for_the_disk(walk):
    settings = []

    def note(connection):
        driver = connection.connection.driver_connection
        settings.append(driver.execute("PRAGMA synchronous").fetchone()[0])

    event.listen(walk.ledger._connection.engine, "commit", note)
    walk.pay()
    walk.save()
    assert settings == [NORMAL]
    walk.mine()
    walk.node.save_pool(walk.now, is_durable=True)
    assert set(settings[1:]) == {FULL}
    walk.save()
    walk.mine_many()
    assert (settings[-2], settings[-1]) == (NORMAL, FULL)


def test_what_the_disk_has_after_a_power_cut_is_an_earlier_state_on_the_last_block(walk, tmp_path):
    """The log's frames since the last sync may be on the disk or not, each for itself."""
    whole = tmp_path / "whole"
    walk.pay()
    walk.mine()
    states = [state_of(walk.node)]
    log = whole / "ledger.sqlite-wal"
    synced = log.stat().st_size
    for _ in range(BATCHES):
        walk.pay()
        walk.pay_on()
        walk.save()
        states.append(state_of(walk.node))
    written = log.read_bytes()
    assert len(written) > synced + BATCHES * FRAME_BYTES
    assert len({str(state) for state in states}) == BATCHES + 1
    source, found = random.Random(1), []
    for number in range(CUTS):
        folder = tmp_path / f"cut-{number}"
        folder.mkdir()
        shutil.copy(whole / "ledger.sqlite", folder)
        (folder / "ledger.sqlite-wal").write_bytes(cut(written, synced, source))
        found.append(states.index(state_after(folder)))
    assert len(set(found)) > BATCHES // 2, "some of the batches were there"


def cut(log: bytes, synced: int, source: random.Random) -> bytes:
    """What is on the disk: some of the last frames are missing, and from some point on all."""
    disk = bytearray(log[: source.randrange(synced, len(log) + 1)])
    for start in range(synced, len(disk), FRAME_BYTES):
        if source.random() < 0.05:
            disk[start : start + FRAME_BYTES] = bytes(len(disk[start : start + FRAME_BYTES]))
    return bytes(disk)


def state_after(folder):
    """The state with which a node starts."""
    with closing(Ledger(url_of(folder), QUICK, verify_threads=1)) as ledger:
        node = Node(ledger, POLICY)
        [(latest,)] = ledger.read(lambda c: read_rows(c, "SELECT max(time) FROM pool"))
        loaded = node.restore_pool(latest or 0)
        assert (loaded.refused, loaded.expired) == (0, 0)
        return state_of(node)


def test_a_block_makes_the_batches_before_it_durable(walk, tmp_path):
    whole = tmp_path / "whole"
    walk.pay()
    walk.save()
    walk.submit([walk.chain.add()])
    state = state_of(walk.node)
    synced = (whole / "ledger.sqlite-wal").stat().st_size
    walk.pay_on()
    walk.save()
    folder = tmp_path / "cut"
    folder.mkdir()
    shutil.copy(whole / "ledger.sqlite", folder)
    (folder / "ledger.sqlite-wal").write_bytes((whole / "ledger.sqlite-wal").read_bytes()[:synced])
    assert state_after(folder) == state
    assert len(state[1]) == 1
    assert check_ledger(url_of(folder), QUICK, verify_threads=1).problems == []
