"""groat-backup copies a running node's data, and a node goes on from the copy."""

import datetime
import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from chain.consensus.params import REGTEST
from chain.primitives.address import script_address
from tests.builders import KEY
from tests.end_to_end.processes import CLEAN, NodeProcess
from tests.packaging.places import PACKAGING, needs

SCRIPT = PACKAGING / "backup" / "groat-backup"
ADDRESS = script_address(KEY.script, REGTEST.address_prefixes)

pytestmark = [
    needs("sqlite3", "sh"),
    pytest.mark.skipif(sys.platform != "linux", reason="as in docs/operations"),
]


def backup(*words):
    command = [str(SCRIPT), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def data(tmp_path):
    """A data directory whose database has everything in its log, as while a node runs."""
    folder = tmp_path / "it's data" / "main"
    folder.mkdir(parents=True)
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("CREATE TABLE facts (value)")
        connection.execute("INSERT INTO facts VALUES (7)")
        connection.commit()
        (folder / "peers.json").write_text("{}")
        for name, files in (
            ("default", ("keys.json", "state.json", "cache.sqlite")),
            ("empty", ()),
        ):
            (folder / "wallets" / name).mkdir(parents=True)
            for file in files:
                (folder / "wallets" / name / file).write_text(name)
        yield folder.parent


def files_of(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_backup_has_what_is_in_the_log_and_the_wallets_keys_for_the_user_only(data, tmp_path):
    done = backup(data, "main", tmp_path / "to")
    assert (done.returncode, done.stderr) == (0, "")
    [made] = (tmp_path / "to").iterdir()
    assert done.stdout == f"{made}\n"
    wallet = ["wallets/default/keys.json", "wallets/default/state.json"]
    assert files_of(made) == ["ledger.sqlite", "peers.json", *wallet]
    with closing(sqlite3.connect(made / "ledger.sqlite")) as copy:
        assert copy.execute("SELECT value FROM facts").fetchall() == [(7,)]
    assert made.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        ((), 2, "usage: groat-backup DATADIR NETWORK TARGET [KEEP]"),
        (("DATA", "test", "TO"), 2, "there is no ledger.sqlite in DATA/test"),
        (("DATA", "main", "TO", "0"), 2, "KEEP must be a whole number from 1 to 9999"),
        (("DATA", "main", "TO", "x"), 2, "KEEP must be a whole number from 1 to 9999"),
        (("DATA", "main", "TO", ""), 2, "KEEP must be a whole number from 1 to 9999"),
        (("-x", "main", "TO"), 2, "DATADIR begins with a dash: write ./-x"),
        (("DATA", "main", "-x"), 2, "TARGET begins with a dash: write ./-x"),
        (("DATA", "--help", "TO"), 2, "there is no ledger.sqlite in DATA/--help"),
        (("DATA", "", "TO"), 2, "there is no ledger.sqlite in DATA/"),
        (("DATA", "main", "TO", "10000"), 2, "KEEP must be a whole number from 1 to 9999"),
    ],
)
def test_a_wrong_argument_is_one_line(data, tmp_path, words, code, error):
    places = {"DATA": str(data), "TO": str(tmp_path / "to")}
    done = backup(*(places.get(word, word) for word in words))
    wanted = f"groat-backup: {error.replace('DATA/', f'{data}/')}\n"
    assert (done.returncode, done.stderr) == (code, wanted)
    assert not (tmp_path / "to").exists()


def test_a_damaged_ledger_leaves_no_backup_and_the_earlier_ones(data, tmp_path):
    old = tmp_path / "to" / "main-20260101T000000Z"
    old.mkdir(parents=True)
    (data / "main" / "ledger.sqlite").write_bytes(b"not a database" * 1000)
    for suffix in ("-wal", "-shm"):
        (data / "main" / f"ledger.sqlite{suffix}").unlink(missing_ok=True)
    done = backup(data, "main", tmp_path / "to", "1")
    assert done.returncode == 1
    assert "the ledger could not be copied" in done.stderr
    assert list((tmp_path / "to").iterdir()) == [old]


def test_two_backups_in_one_second_do_not_mix(data, tmp_path):
    """The second one ends, and the first one's folder stays."""
    to = tmp_path / "to"
    now = datetime.datetime.now(datetime.UTC)
    for second in range(5):
        name = f"main-{now + datetime.timedelta(seconds=second):%Y%m%dT%H%M%SZ}.partial"
        (to / name).mkdir(parents=True)
    done = backup(data, "main", to)
    assert done.returncode == 1
    assert "another backup is being made" in done.stderr
    assert len(list(to.iterdir())) == 5


def test_only_the_newest_backups_of_the_same_network_are_kept(data, tmp_path):
    to = tmp_path / "to"
    days = [to / f"main-2026010{day}T000000Z" for day in (1, 2, 3)]
    others = [to / "test-20260101T000000Z", to / "main-notes", to / "main-20260101T000000Z.partial"]
    for folder in (*days, *others):
        folder.mkdir(parents=True)
    done = backup(data, "main", to, "2")
    assert done.returncode == 0, done.stderr
    made = to / done.stdout.strip().rpartition("/")[2]
    assert set(to.iterdir()) == {days[2], made, *others}


@pytest.mark.net
@pytest.mark.slow
def test_a_node_goes_on_from_a_backup_made_while_it_ran(tmp_path):
    node = NodeProcess(tmp_path / "data").start()
    try:
        node.mine(5, ADDRESS)
        done = backup(tmp_path / "data", "regtest", tmp_path / "to")
        assert done.returncode == 0, done.stderr
        node.mine(2, ADDRESS)
        tip = node.rpc("getblockhash", 5)
    finally:
        assert node.stop() == 0
    [made] = (tmp_path / "to").iterdir()
    restored = tmp_path / "restored" / "regtest"
    shutil.copytree(made, restored)
    command = [sys.executable, "-m", "chain", "check", "--network", "regtest", "--json"]
    command += ["--datadir", str(restored.parent)]
    checked = subprocess.run(command, capture_output=True, text=True, env=CLEAN, check=False)
    assert checked.returncode == 0, checked.stderr
    assert json.loads(checked.stdout)["problem_count"] == 0
    again = NodeProcess(restored.parent).start()
    try:
        assert (again.height, again.tip) == (5, tip)
        again.mine(1, ADDRESS)
    finally:
        assert again.stop() == 0
