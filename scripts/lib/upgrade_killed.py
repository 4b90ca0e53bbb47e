"""Upgrade an earlier commit's data directory, killed at random points, and compare the outcome.

    scripts/upgrade_killed --old TREE [--blocks 200000] [--transactions 2] [--kills 50] [--seed 1]

TREE is a work tree of the earlier commit (9697a37). Its code makes a regtest chain of so many full
blocks, a wallet with coins in it, and a mempool.dat with three payments, in --folder (a temporary
one if it is not given; what is there is used again). The working tree's node opens a copy of that,
undisturbed: this is the reference, with its time and its use of the disk. Then it opens other
copies, each of which is killed one to three times, at random times of an opening, before it may
finish. Each must end with the reference's chain, coins and mempool; every tenth is verified by
`groat check`. A difference ends in exit status 1.
"""

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from compare_versions import CLEAN, PAY, READY, ROOT, Code, Node

from chain.consensus.params import REGTEST
from chain.primitives.address import address_script

AT: Final = ("--network", "regtest", "--datadir")
START_S_MAX: Final = 900.0
KILLS_EACH_MAX: Final = 3
CHECK_EVERY: Final = 10
SAMPLE_S: Final = 0.05
FOREIGN: Final = "bcrt1q6rz28mcfaxtmd6v789l9rrlrusdprr9pz3cppk"
MAKE_CHAIN: Final = """
import runpy, sys
from itertools import islice
tree, out, blocks, transactions, paid, script = sys.argv[1:]
sys.path[:0] = [tree, tree + "/scripts/lib"]
made = runpy.run_path(tree + "/scripts/lib/make_chain.py")
Chain, REGTEST = made["Chain"], made["REGTEST"]
chain, fans = Chain(1), -(-int(transactions) // made["FAN_OUT"])
some = [chain.empty() for _ in range(REGTEST.coinbase_maturity_blocks + fans)]
scripts, fresh = [bytes.fromhex(script)] * int(paid), Chain._fresh_script
def to_wallet(self):
    first = fresh(self)
    return scripts.pop() if scripts else first
Chain._fresh_script = to_wallet
some.append(chain.spread(fans))
del chain.coins[:int(paid)]
with open(out, "wb") as file:
    for block in some:
        made["write_frame"](file, block.raw, REGTEST)
    for _ in range(int(blocks)):
        made["write_frame"](file, chain.full(int(transactions)).raw, REGTEST)
"""
WALLET_COINS: Final = 40  # of a quarter each, of the first 200


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a node says of a data directory."""

    tip: str
    height: int
    coins: Any  # gettxoutsetinfo
    mempool: tuple[str, ...]


class Opening:
    """A node of the working tree that opens a data directory."""

    def __init__(self, code: Code, folder: Path) -> None:
        self.folder = folder
        self.log = folder.with_suffix(".log")
        ports = ("--p2p", "127.0.0.1:0", "--api", "127.0.0.1:0", "--no-discovery")
        with self.log.open("w") as out:
            self.process = subprocess.Popen(
                code.command("chain", "node", *AT, folder, *ports),
                stdout=out,
                stderr=out,
                env=CLEAN,
            )
        self.started_s = time.monotonic()

    def kill_after(self, seconds: float) -> bool:
        """Kill it after so long; return whether it was not ready yet."""
        time.sleep(max(self.started_s + seconds - time.monotonic(), 0))
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        said = self.log.read_text()
        assert "Traceback" not in said, said
        return READY.search(said) is None

    def ready(self) -> Node:
        """Wait until it answers."""
        while (found := READY.search(self.log.read_text())) is None:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < self.started_s + START_S_MAX, "it does not start"
            time.sleep(0.005)
        return Node(self.folder, *found.groups())

    def stop(self) -> None:
        """End it; it must end with 0."""
        self.process.terminate()
        status, said = self.process.wait(60), self.log.read_text()
        assert (status, "Traceback" in said) == (0, False), (status, said)


@contextmanager
def running(code: Code, folder: Path) -> Iterator[Node]:
    """Run a node until the block ends."""
    opening = Opening(code, folder)
    try:
        yield opening.ready()
    except BaseException:
        opening.process.kill()
        raise
    opening.stop()


def make(old: Code, data: Path, blocks: int, transactions: int) -> None:
    """Let OLD make the data directory, unless it is there."""
    done = data.with_suffix(".made")
    if done.exists():
        return
    shutil.rmtree(data, ignore_errors=True)
    file = data.with_suffix(".blocks")
    created = old.run("wallet", *AT, data, "--json", "create", "--no-password")
    script = address_script(created["address"], REGTEST.address_prefixes)
    words = [sys.executable, "-P", "-W", "ignore", "-c", MAKE_CHAIN, str(old.folder), str(file)]
    words += [str(blocks), str(transactions), str(WALLET_COINS), script.hex()]
    subprocess.run(words, env=CLEAN, check=True)
    _say(f"importing {file.stat().st_size} bytes with {old.folder}")
    old.run("chain", "import", file, *AT, data, "--json")
    file.unlink()
    with running(old, data) as node:
        node.rpc("generatetoaddress", 1, FOREIGN)  # a recent tip: the node is not behind
        for amount in (0.25, 0.5, 0.75):
            at = (*AT, data, "--node", f"{node.api}/api", "--json")
            answer = old.run("wallet", *at, "send", FOREIGN, amount, *PAY)
            assert "exit" not in answer, (amount, answer)
    assert list(data.rglob("mempool.dat")), "the mempool is in a file"
    done.touch()


def outcome(node: Node) -> Outcome:
    """Return what a node has."""
    return Outcome(
        node.rpc("getbestblockhash"),
        node.rpc("getblockcount"),
        {k: v for k, v in node.rpc("gettxoutsetinfo").items() if k != "disk_size"},
        tuple(sorted(node.rpc("getrawmempool"))),
    )


class Disk:
    """The most bytes that a folder had on the disk, looked at now and then."""

    def __init__(self, folder: Path) -> None:
        self.most = 0
        self._folder = folder
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Disk":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(SAMPLE_S):
            self.most = max(self.most, size_of(self._folder))


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder; some may disappear meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def reference(new: Code, data: Path, copy: Path) -> tuple[Outcome, float]:
    """Open a copy undisturbed; return the outcome, and how long that took."""
    shutil.copytree(data, copy)
    with Disk(copy) as disk:
        opening = Opening(new, copy)
        node = opening.ready()
        took_s = time.monotonic() - opening.started_s
    found = outcome(node)
    opening.stop()
    again = Opening(new, copy)
    again.ready()
    next_s = time.monotonic() - again.started_s
    again.stop()
    check(new, copy)
    size = size_of(data)
    _say(
        f"height {found.height}: first start {took_s:.2f} s, the next {next_s:.2f} s; "
        f"{size} bytes before, {disk.most / size:.2f} times as many at most during it"
    )
    assert len(found.mempool) == 3, found.mempool
    shutil.rmtree(copy)
    return found, took_s


def check(new: Code, folder: Path) -> None:
    """Verify a whole ledger."""
    answer = new.run("chain", "check", *AT, folder, "--json")
    assert isinstance(answer, dict), answer
    assert "exit" not in answer, answer


def attempt(new: Code, data: Path, copy: Path, seconds: list[float]) -> tuple[Outcome, int]:
    """Open a copy, killed after these times, and then undisturbed; return how many were early."""
    shutil.copytree(data, copy)
    early = sum(Opening(new, copy).kill_after(after_s) for after_s in seconds)
    with running(new, copy) as node:
        return outcome(node), early


def main() -> None:
    """Read the flags; make, open, kill and compare."""
    flags = _flags()
    source = random.Random(flags.seed)  # noqa: S311 - reproducible
    with tempfile.TemporaryDirectory() as temporary:
        folder = (flags.folder or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        data, copies = folder / "data", Path(temporary).absolute()
        old, new = Code(flags.old.absolute()), Code(ROOT)
        make(old, data, flags.blocks, flags.transactions)
        right, took_s = reference(new, data, copies / "reference")
        wrong = early = 0
        for number in range(flags.kills):
            copy = copies / f"copy{number}"
            count = source.randint(1, KILLS_EACH_MAX)
            seconds = [source.uniform(0, took_s * 1.1) for _ in range(count)]
            found, before = attempt(new, data, copy, seconds)
            early += before
            if found != right:
                wrong += 1
                _say(f"copy {number}, killed after {seconds}: {found} is not {right}")
            if number % CHECK_EVERY == 0:
                check(new, copy)
            shutil.rmtree(copy)
        _say(f"{flags.kills} copies, {early} kills before the node was ready, {wrong} wrong")
    sys.exit(1 if wrong or not early else 0)


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--old", type=Path, required=True, help="work tree of the earlier commit")
    parser.add_argument("--blocks", type=int, default=200_000, help="full blocks")
    parser.add_argument("--transactions", type=int, default=2, help="payments in each")
    parser.add_argument("--kills", type=int, default=50, help="copies that are killed")
    parser.add_argument("--seed", type=int, default=1, help="chooses when")
    parser.add_argument("--folder", type=Path, help="where files are kept, for the next run too")
    return parser.parse_args()


def _say(what: str) -> None:
    sys.stdout.write(what + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
