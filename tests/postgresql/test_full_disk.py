"""The server's disk is full: the node ends in one line, and no acknowledged block is lost."""

import errno
import os
import pwd
import shutil
import signal
import subprocess
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.end_to_end.processes import NodeProcess, wait_until
from tests.end_to_end.test_serve import ADDRESS, ServeProcess
from tests.postgresql.test_processes import ended, groat, last_line
from tests.postgresql_server import Server, new_database, new_server, server_folder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.net,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system"),
]
LEFT_BYTES = 200_000  # when the disk is nearly full: enough for some blocks
MEGABYTES = {"tables": 40, "server": 120}
BLOCKS_MAX = 3_000
SEGMENTS_MAX = 50


@dataclass
class Disk:
    """A small file system, and a server with a database on it."""

    server: Server
    database: str
    folder: Path
    what: str

    @property
    def _ballast(self) -> Path:
        return self.folder / "ballast"

    def fill(self) -> None:
        """Leave hardly any room."""
        with self._ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(65536))
            except OSError as error:
                assert error.errno == errno.ENOSPC  # noqa: PT017 - the loop ends by it
            file.truncate(file.tell() - LEFT_BYTES)
        if self.what == "server":  # the next write-ahead log file does not fit
            with suppress(psycopg.OperationalError):
                for _ in range(SEGMENTS_MAX):
                    self.server.execute("SELECT pg_logical_emit_message(false, '', '')")
                    self.server.execute("SELECT pg_switch_wal()")

    def make_room(self) -> None:
        """Delete something, and start the server if it has ended."""
        self._ballast.unlink()
        wait_until(lambda: self._has_ended() or self._answers(), "the server answers or ends")
        if self._has_ended():
            self.server.start()

    def _has_ended(self) -> bool:
        return self.server.process.poll() is not None

    def _answers(self) -> bool:
        try:
            return bool(self.server.execute("SELECT 1"))
        except psycopg.OperationalError:
            return False


@contextmanager
def mounted(folder, megabytes, user):
    folder.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}M", "tmpfs", folder], check=True
    )
    try:
        if user is not None:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        folder.chmod(0o700)
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(params=["tables", "server"])
def disk(request, programs):
    if shutil.which("mount") is None:
        pytest.skip("no mount")
    what = request.param
    with server_folder() as folder, mounted(folder / "disk", MEGABYTES[what], programs.user):
        home = folder / "disk" if what == "server" else programs.own(folder / "s")
        server = new_server(programs, home, 1, min_wal_size="32MB", max_wal_size="48MB")
        try:
            database = new_database(server)
            if what == "tables":
                server.execute(f"CREATE TABLESPACE small LOCATION '{folder / 'disk'}'")
                server.execute(f"ALTER DATABASE {database} SET TABLESPACE small")
            yield Disk(server, database, folder / "disk", what)
        finally:
            server.stop(signal.SIGQUIT)


@pytest.fixture
def node(disk, tmp_path):
    url = disk.server.url(disk.database)
    node = NodeProcess(tmp_path / "node", ["--no-discovery", "--database", url])
    yield node
    if node.process is not None:
        node.kill()


@pytest.fixture
def reader(disk, node, tmp_path):
    node.start()
    url = disk.server.url(disk.database)
    reader = ServeProcess(tmp_path / "reader", ("--database", url)).start().ready()
    yield reader
    if reader.process.poll() is None:
        reader.end()


def mine_until_it_fails(node):
    """Return the ids of the blocks that the node said it has."""
    acknowledged = []
    for _ in range(BLOCKS_MAX):
        body = {"id": 1, "method": "generatetoaddress", "params": [1, ADDRESS]}
        try:
            reply = node.post_rpc(body)
        except (httpx.TransportError, FileNotFoundError):  # the node has ended, and its cookie
            return acknowledged
        answer = reply.json() if reply.is_success or reply.status_code == 500 else {}
        if answer.get("result") is None:
            return acknowledged
        acknowledged += answer["result"]
    raise AssertionError("the disk is not full")


def test_a_full_disk_ends_the_node_in_one_line_and_loses_no_acknowledged_block(disk, node, reader):
    ids = node.mine(5, ADDRESS)
    disk.fill()
    ids += mine_until_it_fails(node)
    assert ended(node) == 1
    assert last_line(node).startswith("groat: stopped: the ledger failed: ")
    for path in ("/api/blocks/tip/height", f"/api/block/{ids[0]}/txids", "/health", "/metrics"):
        assert reader.get(path).status_code in {200, 503}, path
    disk.make_room()
    node.start()
    status = node.get(f"/api/block/{ids[-1]}/status").json()
    assert status["in_best_chain"], "what was acknowledged is there"
    assert node.height - status["height"] in {0, 1}, "and perhaps a block that was on its way"
    node.mine(3, ADDRESS)
    wait_until(lambda: reader.get("/api/blocks/tip/height").is_success, "the reader is back")
    wait_until(lambda: reader.height == node.height, "the reader follows")
    assert reader.end() == 0
    assert not [line for line in reader.errors if "Traceback" in line], reader.errors
    assert node.stop() == 0
    url = disk.server.url(disk.database)
    place = ("--network", "regtest", "--datadir", str(node.folder), "--database", url)
    assert groat("check", *place).returncode == 0
