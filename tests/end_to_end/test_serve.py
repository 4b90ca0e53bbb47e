"""`groat serve` and the node's own API processes, as real processes that are started and killed."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from sqlalchemy import create_engine

from chain.consensus.params import REGTEST
from chain.ledger.ledger import Ledger
from chain.primitives.address import script_address
from chain.settings import LEDGER_NAME
from tests.builders import KEY
from tests.end_to_end.processes import CLEAN, PLAIN, START_S_MAX, NodeProcess, wait_until
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.net
ADDRESS = script_address(KEY.script, REGTEST.address_prefixes)
SERVING = "groat: serving network=regtest api="


@dataclass
class ServeProcess:
    """One `groat serve` beside a node."""

    folder: Path
    arguments: tuple[str, ...] = ()
    api: str = ""
    process: subprocess.Popen[str] | None = None
    errors: list[str] = field(default_factory=list)

    def start(self) -> "ServeProcess":
        listen = self.api.removeprefix("http://") or "127.0.0.1:0"
        command = [sys.executable, "-m", "chain", "serve", "--network", "regtest"]
        command += ["--datadir", str(self.folder), "--api", listen, *self.arguments]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=CLEAN
        )
        return self

    def ready(self) -> "ServeProcess":
        line = self.process.stdout.readline()
        assert line.startswith(SERVING), (line, self.process.stderr.read())
        self.api = line.removeprefix(SERVING).strip()
        return self

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        _, error = self.process.communicate(timeout=PATIENCE_S)
        self.errors += error.splitlines()
        self.process.stdout.close()
        self.process.stderr.close()
        return self.process.returncode

    def get(self, path: str, **how) -> httpx.Response:
        return httpx.get(self.api + path, **PLAIN, timeout=PATIENCE_S, **how)

    @property
    def height(self) -> int:
        return int(self.get("/api/blocks/tip/height").text)


@pytest.fixture
def node(tmp_path):
    node = NodeProcess(tmp_path)
    yield node
    node.stop()


@pytest.fixture
def reader(tmp_path):
    reader = ServeProcess(tmp_path)
    yield reader
    if reader.process is not None and reader.process.poll() is None:
        reader.end(signal.SIGKILL)


@pytest.mark.slow
def test_a_reader_may_start_before_beside_and_after_its_node_and_either_may_be_killed(node, reader):
    reader.start()
    time.sleep(1)  # it waits for a ledger: nothing can be awaited
    assert reader.process.poll() is None
    node.start()
    reader.ready()
    node.mine(3, ADDRESS)
    wait_until(lambda: reader.height == 3, "the reader follows")
    assert reader.end(signal.SIGKILL) == -signal.SIGKILL
    node.mine(1, ADDRESS)
    reader.start().ready()
    assert reader.height == 4
    node.kill()
    assert reader.height == 4
    reply = httpx.post(reader.api + "/api/tx", content="00", **PLAIN)
    assert (reply.status_code, "the node is not running" in reply.text) == (503, True)
    silent = "the node is silent"
    wait_until(lambda: reader.get("/health").json()["status"] == silent, "it notices")
    for flag, said in (("--json", "silent for 0:00:"), ("--peers", "the node is not running")):
        command = [sys.executable, "-m", "chain", "status", flag, "--network", "regtest"]
        command += ["--api", reader.api.removeprefix("http://")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, said in done.stderr) == (1, True), done
        assert (done.stdout == "") is (flag == "--peers")
    other = ServeProcess(node.folder).start().ready()
    assert other.height == 4, "there is a ledger, though no node"
    node.start()
    wait_until(lambda: reader.get("/health").json()["status"] == "ok", "the node is back")
    node.mine(1, ADDRESS)
    for each in (reader, other):
        wait_until(lambda each=each: each.height == 5, "both follow the new node")
        assert each.end() == 0
        assert not [line for line in each.errors if "waiting: there is no ledger" not in line]


@pytest.mark.slow
def test_another_schema_ends_a_reader_with_code_3_and_one_line(tmp_path):
    folder = tmp_path / "regtest"
    folder.mkdir()
    Ledger(folder / LEDGER_NAME, REGTEST, verify_threads=1).close()
    engine = create_engine(f"sqlite:///{folder / LEDGER_NAME}")
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    engine.dispose()
    reader = ServeProcess(tmp_path).start()
    assert reader.ended() == 3
    [line] = reader.errors
    assert line.startswith("groat: the ledger has an older groat's schema")


def children_of(node: NodeProcess) -> list[int]:
    found = subprocess.run(
        ["pgrep", "-P", str(node.process.pid)], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in found.stdout.split()]


def is_gone(pid: int) -> bool:
    """Whether a process has ended; it may wait for whoever inherited it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_api_processes_share_one_port_come_back_and_end_with_their_node(node, tmp_path):
    node.arguments = ["--api-processes", "2"]
    node.start()
    node.mine(2, ADDRESS)
    assert node.height == 2, "what was posted is there"
    children = children_of(node)
    assert len(children) == 2
    assert {os.getsid(pid) for pid in children} == {os.getsid(node.process.pid)}
    assert len({os.getpgid(pid) for pid in [node.process.pid, *children]}) == 3
    pids = lambda: set(children_of(node))  # noqa: E731
    os.kill(children[0], signal.SIGKILL)
    wait_until(lambda: len(pids() - {children[0]}) == 2, "another one is started", START_S_MAX)
    wait_until(lambda: node.get("/health").status_code == 200, "it answers")
    for more in (["--api-processes", "2"], ["--api-processes", "0"]):
        other = NodeProcess(tmp_path / "other", [*more, "--api", node.api.removeprefix("http://")])
        with pytest.raises(AssertionError, match="did not start"):
            other.start()
        other.process.stdout.close()
        last = other.errors().splitlines()[-1]
        assert last.startswith("groat: cannot listen for the API on ") or "shares port" in last
    left = pids()
    node.kill()
    wait_until(lambda: all(map(is_gone, left)), "nothing is left of a killed node")
    node.start()
    assert node.height == 2
    left = pids()
    assert node.stop() == 0
    assert all(map(is_gone, left))
    assert "Traceback" not in node.errors()
