"""Real node and wallet processes on 127.0.0.1, driven as a user would."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.patience import PATIENCE_S

READY = re.compile(r"groat: ready network=(\S+) p2p=(\S+) api=(\S+)")
START_S_MAX = PATIENCE_S
CALL_BLOCKS_MAX = 200
PLAIN = {"trust_env": False, "verify": False}  # http: no certificates are read, which takes 20 ms
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith("GROAT_")}


def wait_until(holds: Callable[[], object], what: str, timeout_s: float = PATIENCE_S) -> float:
    """Poll until `holds()` is true; return the seconds it took, fail with `what` if too many."""
    started = time.monotonic()
    while not holds():
        if time.monotonic() - started > timeout_s:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        time.sleep(0.01)
    return time.monotonic() - started


@dataclass
class NodeProcess:
    """One `groat node`; starting it again resumes from its folder."""

    folder: Path
    arguments: Sequence[str] = ()
    network: str = "regtest"
    process: subprocess.Popen[str] | None = None
    p2p: str = "127.0.0.1:0"
    api: str = ""
    output: list[str] = field(default_factory=list)
    descriptors: str = ""  # arguments of `ulimit` before the start
    checkout: Path | None = None  # another one, with an environment of its own in .venv
    version: str = ""  # Groat-Version of the last RPC call: no API process may show an earlier one

    def start(self, *more: str) -> "NodeProcess":
        listen_api = self.api.removeprefix("http://") or "127.0.0.1:0"
        python = sys.executable if self.checkout is None else self.checkout / ".venv/bin/python"
        command = [str(python), "-m", "chain", "node", "--network", self.network]
        command += ["--datadir", str(self.folder), "--p2p", self.p2p, "--api", listen_api]
        command += [*self.arguments, *more]
        if self.descriptors:
            command = ["sh", "-c", f'ulimit {self.descriptors}; exec "$@"', "sh", *command]
        self.folder.mkdir(parents=True, exist_ok=True)
        errors = (self.folder / "stderr.txt").open("a")
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=CLEAN,
            cwd=self.checkout,
        )
        errors.close()
        deadline = time.monotonic() + START_S_MAX
        for line in self.process.stdout:
            self.output.append(line)
            if found := READY.search(line):
                _, self.p2p, self.api = found.groups()
                return self
            if time.monotonic() > deadline:
                break
        self.process.wait(PATIENCE_S)
        raise AssertionError(f"node did not start: {self.output} {self.errors()}")

    def errors(self) -> str:
        return (self.folder / "stderr.txt").read_text()

    def kill(self) -> None:
        """As a power switch would: SIGKILL."""
        self.process.kill()
        self._wait_for_exit(PATIENCE_S)

    def stop(self) -> int:
        """Ask politely and return the exit status."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        return self._wait_for_exit(PATIENCE_S)

    def _wait_for_exit(self, timeout_s: float) -> int:
        code = self.process.wait(timeout_s)
        self.process.stdout.close()
        self.process = None
        return code

    def get(self, path: str) -> httpx.Response:
        version = {"Groat-Version": self.version} if self.version else {}
        return httpx.get(self.api + path, headers=version, **PLAIN, timeout=PATIENCE_S)

    def rpc(self, method: str, *params: object) -> object:
        answer = self.post_rpc({"id": 1, "method": method, "params": params}).json()
        assert answer["error"] is None, answer["error"]
        return answer["result"]

    def post_rpc(self, body: object) -> httpx.Response:
        user, _, password = (self.folder / self.network / ".cookie").read_text().partition(":")
        login = (user, password)
        reply = httpx.post(self.api + "/", json=body, auth=login, **PLAIN, timeout=PATIENCE_S)
        self.version = reply.headers.get("Groat-Version", "")
        return reply

    @property
    def tip(self) -> str:
        return self.get("/api/blocks/tip/hash").text

    @property
    def height(self) -> int:
        return int(self.get("/api/blocks/tip/height").text)

    def mempool(self) -> list[str]:
        return self.get("/api/mempool/txids").json()

    def mine(self, count: int, address: str) -> list[str]:
        """Mine blocks, not so many at a time that a busy machine takes longer than a call may."""
        parts = [min(CALL_BLOCKS_MAX, count - at) for at in range(0, count, CALL_BLOCKS_MAX)]
        return [one for part in parts for one in self.rpc("generatetoaddress", part, address)]


@dataclass
class WalletCommand:
    """`groat-wallet` for one wallet at one node."""

    folder: Path
    node: NodeProcess
    network: str = "regtest"

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "wallet"]
        command += ["--network", self.network, "--datadir", str(self.folder)]
        command += ["--node", self.node.api + "/api", "--json", *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, env=CLEAN, timeout=120, check=False
        )
        assert not check or done.returncode == 0, (arguments, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def json(self, *arguments: str) -> dict:
        return json.loads(self.run(*arguments).stdout)
