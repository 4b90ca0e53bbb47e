"""Each reply of a reader is of one instant, in several processes, whatever the node does meanwhile.

A tracked transaction is in the chain or in the mempool, never in both or neither; no coin is there
twice; no address has sums that differ from its history.
"""

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from chain.ledger.reader import open_reader
from tests.ledger.chains import url_of
from tests.service.instant import (
    TRUNK,
    Wanted,
    moving,
    observe,
    observer,
    own_observer,
    tracked_ids,
)

ROOT = Path(__file__).resolve().parents[2]
OBSERVERS = 6
LOOKS = -(-int(os.environ.get("GROAT_OBSERVATIONS", "100000")) // OBSERVERS)
STEPS = 25  # of the small test


@pytest.mark.parametrize("is_torn", [False, True])
@pytest.mark.parametrize("is_own", [False, True])
def test_a_reader_beside_a_node_that_reorganises_sees_one_instant(tmp_path, is_own, is_torn):
    """The node moves on while each snapshot is open, its own API or another process's.

    The planted faults, mempool rows of another SQL transaction and a mempool that changes in
    memory, are found.
    """
    with moving(tmp_path, 3) as mover, ExitStack() as stack:
        wanted = Wanted(tuple(tx.txid for tx in mover.tracked))
        if is_own:
            reader = own_observer(mover, tmp_path, wanted, stack, is_torn=is_torn)
        else:
            reader = observer(tmp_path, wanted, stack, is_torn=is_torn)
            reader.state.between = mover.step
        reader.meanwhile = mover.step
        for _ in range(STEPS):
            reader.look()
    assert reader.seen["tips"] > 5
    assert reader.seen["moves"] > 5
    assert bool(reader.wrong) == is_torn, reader.wrong


@pytest.mark.slow
@pytest.mark.net
@pytest.mark.parametrize("plan", ["sound", "torn"])
def test_many_observations_of_six_reading_processes_are_each_of_one_instant(tmp_path, plan):
    """The planted fault is found by the same run, a tenth as long."""
    looks = LOOKS if plan == "sound" else LOOKS // 10
    with moving(tmp_path, 7) as mover:
        wanted = Wanted(tuple(tx.txid for tx in mover.tracked)).dump()
        command = [sys.executable, "-m", "tests.service.instant", str(tmp_path), wanted]
        processes = [
            subprocess.Popen([*command, str(looks), plan], stdout=subprocess.PIPE, cwd=ROOT)
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
        wrong.update(found["wrong"])
        seen.update(found["seen"])
    sys.stdout.write(f"{dict(seen)} {dict(wrong)}\n")
    assert seen["looks"] >= OBSERVERS * looks
    assert seen["near"] >= OBSERVERS * looks // 100, "a thousand of a hundred thousand"
    assert seen["moves"] > OBSERVERS * looks // 1000
    if plan == "torn":
        assert wrong["a transaction is in chain and mempool"], wrong
        assert wrong["a transaction is in neither chain nor mempool"], wrong
    else:
        assert not wrong


@pytest.mark.slow
def test_many_observations_of_a_nodes_own_api_are_each_of_one_instant(tmp_path):
    """Snapshots and replies on a thread beside the one that changes the ledger and the mempool."""
    with moving(tmp_path, 9) as mover, ExitStack() as stack:
        wanted = Wanted(tuple(tx.txid for tx in mover.tracked))
        reader = own_observer(mover, tmp_path, wanted, stack, is_torn=False)
        observing = threading.Thread(
            target=lambda: asyncio.run(observe(reader, lambda: reader.seen["looks"] >= LOOKS))
        )
        observing.start()
        while observing.is_alive():
            mover.step()
        observing.join()
    sys.stdout.write(f"{dict(reader.seen)} {dict(reader.wrong)}\n")
    assert reader.seen["looks"] >= LOOKS
    assert reader.seen["near"] >= LOOKS // 100
    assert reader.seen["moves"] > LOOKS // 1000
    assert not reader.wrong


@pytest.mark.slow
@pytest.mark.net
def test_observers_see_one_instant_while_nodes_and_observers_are_killed(tmp_path):
    """SIGKILL for two nodes and an observer; another observer starts while there is no node."""
    command = [sys.executable, "-m", "tests.service.instant", str(tmp_path)]
    observers, nodes = [], []

    def start(where, *arguments):
        process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, cwd=ROOT)
        where.append(process)
        return process

    def moves(node, lines=3):
        for _ in range(lines):
            assert node.stdout.readline() == b"moving\n"

    try:
        moves(start(nodes, "1"), 1)
        with closing(open_reader(url_of(tmp_path))) as reader, reader.snapshot() as snapshot:
            assert snapshot.tip_height >= TRUNK
        wanted = Wanted(tracked_ids()).dump()
        looks = str(LOOKS // 10)
        for _ in range(3):
            start(observers, wanted, looks, "sound")
        moves(nodes[0])
        nodes[0].kill()
        killed = observers.pop(0)
        nodes.append(killed)  # to be waited for, too
        killed.kill()
        start(observers, wanted, looks, "sound")  # beside no node
        moves(start(nodes, "2"))
        nodes[-1].kill()
        node = start(nodes, "3")
        while any(process.poll() is None for process in observers):
            moves(node, 1)
        said = [json.loads(process.communicate()[0]) for process in observers]
    finally:
        for process in (*observers, *nodes):
            process.kill()
            process.wait()
            process.stdout.close()
    assert [found["wrong"] for found in said] == [{}, {}, {}]
    assert sum(found["seen"]["moves"] for found in said) > 2
