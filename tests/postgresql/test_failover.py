"""A primary is killed under load again and again: the standby has all that was acknowledged.

The steps are those of docs/operations.md.
"""

import os
import random
import signal
import threading

import pytest

from chain.ledger.errors import LedgerError
from chain.ledger.ledger import Ledger
from tests.end_to_end.processes import wait_until
from tests.ledger.chains import NOW, QUICK, quick_chain
from tests.postgresql_server import new_database, new_server, rewind, server_folder

pytestmark = pytest.mark.slow
ROUNDS = int(os.environ.get("GROAT_FAILOVER_ROUNDS", "20"))
BLOCKS_A_ROUND = 60
NAMES = {1: "one", 2: "two"}  # by port


class Load(threading.Thread):
    """Adds blocks until the ledger fails; counts those that were acknowledged."""

    def __init__(self, ledger, blocks):
        super().__init__()
        self.ledger = ledger
        self.blocks = blocks
        self.acknowledged = []
        self.error = None

    def run(self):
        try:
            for block in self.blocks:
                self.ledger.add_block(block, NOW)
                self.acknowledged.append(block)
        except LedgerError as error:
            self.error = error


def synchronous(primary):
    primary.execute("ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (one, two)'")
    primary.execute("SELECT pg_reload_conf()")
    query = "SELECT sync_state FROM pg_stat_replication"
    wait_until(lambda: primary.execute(query) == [("quorum",)], "a synchronous standby", 30)


def test_no_acknowledged_block_is_missing_on_the_standby_that_is_promoted(programs):
    source = random.Random(17)
    chain = quick_chain(ROUNDS * BLOCKS_A_ROUND)
    with server_folder() as folder:
        primary = new_server(programs, programs.own(folder / "s"), 1, full_page_writes="on")
        database = new_database(primary)
        standby = primary.standby(2, NAMES[2])
        try:
            height = 0
            for _ in range(ROUNDS):
                synchronous(primary)
                height = fail_over(primary, standby, database, chain, height=height, source=source)
                rewind(primary, standby, NAMES[primary.port])
                primary, standby = standby, primary
        finally:
            standby.stop(signal.SIGQUIT)
            primary.stop(signal.SIGQUIT)


def fail_over(primary, standby, database, chain, *, height, source):
    """Kill the primary at some instant, and go on with the standby; return the height there."""
    ports = f"{primary.port},{standby.port}"
    hosts = {"host": f"{primary.folder},{primary.folder}", "port": ports}
    url = primary.url(database, **hosts, target_session_attrs="read-write")
    ledger = Ledger(url, QUICK, verify_threads=1)
    assert ledger.tip.height == height
    load = Load(ledger, chain.blocks[height:])
    load.start()
    wanted = source.randrange(3, 15)
    wait_until(lambda: len(load.acknowledged) >= wanted or load.error, "some blocks")
    load.join(source.random() / 50)
    primary.kill()
    load.join(30)
    assert load.error is not None
    standby.promote()
    ledger = Ledger(url, QUICK, verify_threads=1)
    tip = ledger.tip
    ledger.close()
    assert tip.height >= height + len(load.acknowledged), "and perhaps one that was on its way"
    assert tip.id == chain.blocks[tip.height - 1].id
    return tip.height
