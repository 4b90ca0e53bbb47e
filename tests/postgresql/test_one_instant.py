"""Each reply is of one instant, on the primary and on two standbys, while the node reorganises."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.postgresql.test_standby import caught_up
from tests.postgresql_server import new_database, new_server, server_folder
from tests.service.instant import Wanted, moving

pytestmark = [pytest.mark.slow, pytest.mark.net]
ROOT = Path(__file__).resolve().parents[2]
OBSERVERS = 2  # at each server
LOOKS = int(os.environ.get("GROAT_OBSERVATIONS", "100000")) // 500


@pytest.fixture(scope="module")
def servers(programs):
    with server_folder() as folder:
        primary = new_server(programs, programs.own(folder / "s"), 1)
        standbys = [primary.standby(port, f"standby{port}") for port in (2, 3)]
        yield [primary, *standbys]
        for server in (*standbys, primary):
            server.stop(signal.SIGQUIT)


@pytest.mark.parametrize("plan", ["sound", "torn"])
def test_readers_on_the_primary_and_two_standbys_see_one_instant(servers, plan):
    """A fifth of the looks finds the planted fault, mempool rows of another SQL transaction."""
    looks = LOOKS if plan == "sound" else LOOKS // 5
    database = new_database(servers[0])
    with moving(servers[0].url(database), 7) as mover:
        for standby in servers[1:]:
            caught_up(servers[0], standby)
        wanted = Wanted(tuple(tx.txid for tx in mover.tracked)).dump()
        command = [sys.executable, "-m", "tests.service.instant"]
        processes = [
            subprocess.Popen(
                [*command, server.url(database), wanted, str(looks), plan],
                stdout=subprocess.PIPE,
                cwd=ROOT,
            )
            for server in servers
            for _ in range(OBSERVERS)
        ]
        try:
            while any(process.poll() is None for process in processes):
                mover.step()
        finally:
            for process in processes:
                process.kill()
            said = [process.communicate()[0] for process in processes]
    wrong, seen = Counter(), Counter()
    for found in map(json.loads, said):
        assert found["seen"]["tips"] > 5, "each server's readers see the chain move"
        wrong.update(found["wrong"])
        seen.update(found["seen"])
    sys.stdout.write(f"{dict(seen)} {dict(wrong)}\n")
    assert seen["looks"] >= len(processes) * looks
    assert bool(wrong) == (plan == "torn"), wrong
