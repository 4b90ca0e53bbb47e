"""A write-ahead log that readers keep from being emptied has an end."""

import subprocess
import sys
import time
from contextlib import ExitStack, closing
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.consensus.params import REGTEST
from chain.ledger import writer as writer_module
from chain.ledger.db import engine as engine_module
from chain.ledger.db import log_file as log_file_module
from chain.ledger.db.log_file import (
    GROWING_S,
    LOG_BYTES_HARD,
    PAUSE_S_MAX,
    PAUSE_S_MIN,
    STEP_BYTES,
    LogFile,
    Pause,
    pause_at,
)
from chain.ledger.errors import UnavailableError
from chain.ledger.ledger import Ledger
from chain.ledger.reader import SNAPSHOT_S_MAX, open_reader
from tests.ledger import overlapping_readers
from tests.ledger.chains import url_of

ROOT = Path(__file__).resolve().parents[2]
READ_S = 0.15
HARD = 500_000


def test_reads_pause_beyond_a_size_and_longer_for_a_longer_log():
    assert pause_at(LOG_BYTES_HARD, 0.0) == Pause(0.0, 0.0)
    assert pause_at(LOG_BYTES_HARD + 1, 0.0) == Pause(0.0, PAUSE_S_MIN)
    assert pause_at(LOG_BYTES_HARD + STEP_BYTES - 1, 0.0) == Pause(0.0, PAUSE_S_MIN)
    assert pause_at(LOG_BYTES_HARD + STEP_BYTES, 0.0) == Pause(0.0, 2 * PAUSE_S_MIN)
    assert pause_at(1 << 60, 0.0) == Pause(0.0, PAUSE_S_MAX)
    assert PAUSE_S_MAX == SNAPSHOT_S_MAX, "after it, no snapshot is left"


def test_a_pause_ends_and_the_next_one_begins_a_period_after_it():
    assert pause_at(LOG_BYTES_HARD + 1, 7.0625) == Pause(0.0, pytest.approx(0.0375))
    assert pause_at(LOG_BYTES_HARD + 1, 7.125) == Pause(pytest.approx(0.875), pytest.approx(0.975))


@given(st.integers(0, 1 << 62), st.floats(0, 1e9))
def test_all_processes_pause_at_once_and_never_for_longer_than_a_snapshot_lasts(size, now):
    begins, ends = pause_at(size, now)
    assert 0 <= begins <= ends
    assert ends - begins <= PAUSE_S_MAX + 1e-6
    assert (ends > 0) == (size > LOG_BYTES_HARD)


def test_a_ledger_without_a_file_has_no_log():
    assert LogFile("sqlite://").size == 0
    assert LogFile("sqlite://").pause() == Pause(0.0, 0.0)


def test_reads_pause_only_if_the_log_did_not_get_shorter_for_a_while(tmp_path, monkeypatch):
    """As after a long commit of a first sync, which the next one overwrites."""
    clock = [100.0]
    monkeypatch.setattr(log_file_module.time, "monotonic", lambda: clock[0])
    path, log = tmp_path / "ledger.sqlite-wal", LogFile(tmp_path / "ledger.sqlite")

    def pauses(size, after_s):
        clock[0] += after_s
        with path.open("ab") as file:
            file.truncate(size)
        return log.pause() != Pause(0.0, 0.0)

    long = LOG_BYTES_HARD + 1
    assert not pauses(LOG_BYTES_HARD, 50)
    assert not pauses(long, GROWING_S - 1)
    assert pauses(long, 1)
    assert pauses(long + 9, 1)
    assert not pauses(long + 8, 1), "it was begun again"
    assert not pauses(long + 8, GROWING_S - 1)
    assert pauses(long + 8, 1)
    assert not pauses(0, 1)


def test_a_snapshot_waits_for_the_end_of_a_pause_but_not_on_the_event_loop(tmp_path, monkeypatch):
    with (
        closing(Ledger(url_of(tmp_path), REGTEST, verify_threads=1)),
        closing(open_reader(url_of(tmp_path))) as reader,
    ):
        monkeypatch.setattr(log_file_module, "LOG_BYTES_HARD", 0)
        monkeypatch.setattr(log_file_module, "GROWING_S", 0)
        monkeypatch.setattr(log_file_module, "PAUSES_PER_PERIOD", 1)  # one after the other
        with pytest.raises(UnavailableError, match="reads pause"), reader.snapshot(waits=False):
            pass
        period_s = pause_at(LogFile(url_of(tmp_path)).size, 0.0).ends_in_s
        before = time.monotonic() // period_s
        with reader.snapshot() as snapshot:
            assert time.monotonic() // period_s > before
            assert snapshot.tip_height == 0


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.net
@pytest.mark.parametrize("pauses", [True, False])
def test_a_log_with_overlapping_readers_in_other_processes_begins_again(
    tmp_path, monkeypatch, pauses
):
    """Without pauses it only grows."""
    hard = HARD if pauses else 1 << 60
    for name, value in (
        ("LOG_BYTES_HARD", hard),
        ("STEP_BYTES", overlapping_readers.STEP_BYTES),
        ("GROWING_S", overlapping_readers.GROWING_S),
        ("PAUSES_PER_PERIOD", overlapping_readers.PAUSES_PER_PERIOD),
    ):
        monkeypatch.setattr(log_file_module, name, value)
    monkeypatch.setattr(writer_module, "LOG_BYTES_LONG", HARD // 2)
    monkeypatch.setattr(writer_module, "RESTART_EVERY_S", 0.2)
    pragmas = tuple(
        "journal_size_limit=100000" if pragma.startswith("journal_size") else pragma
        for pragma in engine_module._WRITER_PRAGMAS
    )
    monkeypatch.setattr(engine_module, "_WRITER_PRAGMAS", pragmas)
    command = [sys.executable, "-m", "tests.ledger.overlapping_readers", str(tmp_path)]
    with ExitStack() as stack:
        ledger = stack.enter_context(closing(Ledger(url_of(tmp_path), REGTEST, verify_threads=1)))
        for _ in range(2):
            process = stack.enter_context(
                subprocess.Popen(
                    [*command, str(READ_S), str(hard)],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT,
                )
            )  # fmt: skip
            stack.callback(process.kill)
            assert process.stdout.readline() == b"reading\n"
        sizes = grow(ledger, LogFile(url_of(tmp_path)), 12.0)
    begun = sum(later < earlier for earlier, later in pairwise(sizes))
    sys.stdout.write(f"{max(sizes)} bytes at most, begun again {begun} times\n")
    if pauses:
        assert begun >= 2
        assert max(sizes) < HARD + 4 * overlapping_readers.STEP_BYTES
    else:
        assert begun == 0
        assert max(sizes) > HARD + 4 * overlapping_readers.STEP_BYTES


def grow(ledger, log, seconds):
    """Write 250 kB a second; return the sizes of the log."""
    sizes, end_s, number = [], time.monotonic() + seconds, 0
    while time.monotonic() < end_s:
        number += 1
        ledger.note({"heartbeat": number.to_bytes(8, "big") * 1250})
        sizes.append(log.size)
        time.sleep(0.04)
    return sizes
