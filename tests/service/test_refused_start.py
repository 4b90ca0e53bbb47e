"""What refuses its input or its place leaves nothing new, and says so in one line."""

import socket
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from chain.cli.commands import app
from chain.consensus.params import REGTEST
from chain.ledger.db.lock import FileLock


def _groat(*words):
    return CliRunner().invoke(app, list(map(str, words)))


@pytest.mark.parametrize("content", [b"import os\n", REGTEST.magic + b"\xff\0\0\0cut off"])
@pytest.mark.parametrize("flags", [[], ["--verdicts"]])
def test_an_import_of_a_wrong_file_names_the_file_and_leaves_nothing(tmp_path, content, flags):
    file, folder = tmp_path / "wrong.py", tmp_path / "data"
    file.write_bytes(content)
    done = _groat("import", file, *flags, "--network", "regtest", "--datadir", folder)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"groat: {file}: byte 0: ")
    assert not folder.exists()


def test_an_import_of_a_wrong_pipe_leaves_nothing(tmp_path):
    command = [sys.executable, "-m", "chain", "import", "-", "--network", "regtest"]
    command += ["--datadir", str(tmp_path / "data")]
    done = subprocess.run(command, input=b"<html>", capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        b"groat: standard input: byte 0: 3c68746d is not the magic of network 'regtest'\n",
    )
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("flag", ["--p2p", "--api"])
def test_a_node_whose_port_is_taken_leaves_nothing(tmp_path, flag):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        places = {"--p2p": "127.0.0.1:0", "--api": "127.0.0.1:0"}
        places[flag] = f"127.0.0.1:{taken.getsockname()[1]}"
        where = [word for place in places.items() for word in place]
        folder = tmp_path / "data"
        done = _groat("node", "--network", "regtest", "--datadir", folder, *where)
    assert done.exit_code == 1
    assert done.stderr.startswith("groat: cannot listen for ")
    assert f"{flag} HOST:PORT chooses another place" in done.stderr
    assert not folder.exists()


@pytest.mark.parametrize(
    "flags", [["--database", "mysql://x"], ["--database", "sqlite://"], ["--take-over"]]
)
def test_a_node_refuses_its_database_before_the_first_log_line(tmp_path, flags):
    done = _groat("node", "--network", "regtest", "--datadir", tmp_path / "data", *flags)
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("command", ["node", "serve", "check", "import FILE", "export FILE"])
@pytest.mark.parametrize("source", ["flag", "environment"])
def test_a_database_in_a_folder_that_is_not_there_is_refused_and_makes_none(
    tmp_path, monkeypatch, command, source
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").touch()
    url = f"sqlite:///{tmp_path}/none/deeper/x.db"
    if source == "environment":
        monkeypatch.setenv("GROAT_DATABASE", url)
    flags = ["--database", url] if source == "flag" else []
    done = _groat(*command.split(), "--network", "regtest", "--datadir", tmp_path / "data", *flags)
    assert done.stderr == f"groat: there is no folder {tmp_path}/none/deeper for the database\n"
    assert done.exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["FILE"]


def test_a_check_of_no_ledger_leaves_nothing(tmp_path):
    folder = tmp_path / "data"
    for database in ([], ["--database", "sqlite://"], ["--database", "postgresql://@/x?host=/x"]):
        done = _groat("check", "--network", "regtest", "--datadir", folder, *database)
        assert done.exit_code in {1, 2}
        assert not folder.exists()


def test_a_second_node_on_a_folder_is_refused_before_the_first_log_line(tmp_path):
    folder = tmp_path / "regtest"
    folder.mkdir()
    (folder / "ledger.sqlite").touch()
    lock = FileLock(folder / "ledger.sqlite")
    done = _groat("node", "--network", "regtest", "--datadir", tmp_path)
    lock.release()
    assert done.stderr == (
        f"groat: another process is using {folder / 'ledger.sqlite'}, perhaps a node: "
        "stop it first\n"
    )
