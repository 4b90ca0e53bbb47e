"""Debian's litecoind with the transactions of a groat block file, to be measured beside a node.

Litecoin keeps Bitcoin's formats except for its proof of work, scrypt. So each block gets a
header for Litecoin's regtest, and its transactions stay: both programs hold the same ones.
"""

import hashlib
import struct
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import httpx

from chain.primitives.block import HEADER_BYTES
from tests.end_to_end.processes import PLAIN

PROGRAM: Final = "litecoind"
# Litecoin Core, chainparams.cpp: the regtest genesis block's id, as it stands in headers.
_GENESIS: Final = bytes.fromhex("530827f38f93b43ed12af0b3ad25a288dc02ed74d6d7857862df51fc56c416f9")[
    ::-1
]
_TARGET: Final = 0x7FFFFF << 8 * 29  # of the easiest bits, which regtest keeps
_BITS: Final = 0x207FFFFF
_VERSION: Final = 0x20000000  # BIP9, no deployment signalled
_START_S_MAX: Final = 30
_REST: Final = ["-rest", "-rpcworkqueue=256", "-rpcthreads=4"]  # wrk may open 64 connections
_ALONE: Final = ["-listen=0", "-dnsseed=0", "-disablewallet", "-printtoconsole=0"]


class LitecoindPeer:
    """A litecoind on regtest with a transaction index and REST, started in a folder."""

    def __init__(self, folder: Path, port: int) -> None:
        """Start it. Raises RuntimeError: it does not answer."""
        folder.mkdir(parents=True)
        self.api = f"http://127.0.0.1:{port}"
        self.login = ("bench", "bench")
        command = [PROGRAM, "-regtest", f"-datadir={folder}", "-txindex", *_REST, *_ALONE]
        command += [f"-rpcport={port}", "-rpcuser=bench", "-rpcpassword=bench"]
        self.process = subprocess.Popen(command)
        self._client = httpx.Client(auth=self.login, timeout=120, **PLAIN)
        deadline = time.monotonic() + _START_S_MAX
        while not self._answers():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError("litecoind did not start")
            time.sleep(0.2)

    def _answers(self) -> bool:
        try:
            return self.rpc("getblockcount") == 0
        except (httpx.TransportError, RuntimeError):  # not listening yet, or warming up
            return False

    def rpc(self, method: str, *params: object) -> Any:  # noqa: ANN401 - JSON
        """Return a call's result. Raises RuntimeError: its error."""
        body = {"id": 1, "method": method, "params": params}
        answer = self._client.post(self.api, json=body).json()
        if answer["error"] is not None:
            raise RuntimeError(str(answer["error"]))
        return answer["result"]

    def add(self, frames: Sequence[bytes]) -> None:
        """Submit groat's raw blocks under Litecoin's headers, and wait for the index.

        Raises RuntimeError: litecoind refuses one.
        """
        previous = _GENESIS
        for raw in frames:
            header = _litecoin_header(raw[:HEADER_BYTES], previous)
            refused = self.rpc("submitblock", (header + raw[HEADER_BYTES:]).hex())
            if refused is not None:
                raise RuntimeError(f"litecoind refuses a block: {refused}")
            previous = hashlib.sha256(hashlib.sha256(header).digest()).digest()
        while not self.rpc("getindexinfo")["txindex"]["synced"]:
            time.sleep(0.2)

    def stop(self) -> None:
        """End it and wait."""
        self._client.close()
        self.process.terminate()
        self.process.wait(60)


def _litecoin_header(header: bytes, previous: bytes) -> bytes:
    """Return an 80-byte header on `previous` with the merkle root and time of another."""
    _, _, root, block_time, _, _ = struct.unpack("<i32s32s3I", header)
    for nonce in range(1 << 32):
        made = struct.pack("<i32s32s3I", _VERSION, previous, root, block_time, _BITS, nonce)
        work = hashlib.scrypt(made, salt=made, n=1024, r=1, p=1, dklen=32)
        if int.from_bytes(work, "little") <= _TARGET:
            return made
    raise AssertionError("no nonce reaches a target that every second one reaches")
