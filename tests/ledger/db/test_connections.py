"""The bounded number of connections that read a ledger at a time."""

import threading
from contextlib import ExitStack

import pytest

from chain.ledger.db import connections
from chain.ledger.db.connections import CONNECTIONS_MAX
from chain.ledger.errors import UnavailableError
from chain.ledger.ledger import Ledger
from chain.ledger.reader import open_reader
from tests.ledger.chains import QUICK, url_of


@pytest.fixture
def reader(tmp_path):
    Ledger(url_of(tmp_path), QUICK, verify_threads=1).close()
    reader = open_reader(url_of(tmp_path))
    yield reader
    reader.close()


def test_a_read_beyond_the_last_connection_ends_in_time(reader, monkeypatch):
    monkeypatch.setattr(connections, "WAIT_S_MAX", 0.05)
    with ExitStack() as stack:
        for _ in range(CONNECTIONS_MAX):
            stack.enter_context(reader.snapshot())
        for waits in (True, False):  # without, on the event loop
            with pytest.raises(UnavailableError, match="are used"), reader.snapshot(waits=waits):
                pass
    with reader.snapshot() as snapshot:
        assert snapshot.tip_height == 0


def test_a_read_waits_for_a_connection_that_comes_free(reader):
    heights = []

    def read():
        with reader.snapshot() as snapshot:
            heights.append(snapshot.tip_height)

    waiting = threading.Thread(target=read)
    with ExitStack() as stack:
        for _ in range(CONNECTIONS_MAX - 1):
            stack.enter_context(reader.snapshot())
        with reader.snapshot():
            waiting.start()
            waiting.join(0.05)
            assert heights == []
        waiting.join()
        assert heights == [0]


def test_a_read_that_fails_gives_its_connection_back(reader):
    for _ in range(2 * CONNECTIONS_MAX):
        with pytest.raises(KeyError), reader.snapshot():
            raise KeyError
    with reader.snapshot() as snapshot:
        assert snapshot.tip_height == 0
