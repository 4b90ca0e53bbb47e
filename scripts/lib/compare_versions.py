"""Show that this working tree reads the files of an earlier commit, and answers alike.

    scripts/compare_versions [OLD] [--seed 7]

OLD's code (default 9697a37) makes a data directory (regtest: payments, a reorganisation,
unconfirmed transactions, a peer) and two wallets. Then OLD and the working tree each get a copy,
and their answers are compared: commands' `--json`, Esplora, /api/v1, JSON-RPC, metrics, the block
file that an export writes, verdicts of blocks, and all events of a simulated network. Each tree's
node is also linked with one of OLD's. A difference that EXPECTED does not explain ends in exit
status 1.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import httpx

ROOT: Final = Path(__file__).resolve().parents[2]
READY: Final = re.compile(r"groat: ready network=\S+ p2p=(\S+) api=(\S+)")
WAIT_S_MAX: Final = 30.0
PASSWORD: Final = "a password\n"  # noqa: S105 - of a temporary wallet
PAY: Final = ("--fee-rate", "3", "--yes")
FOREIGN: Final = "bcrt1q6rz28mcfaxtmd6v789l9rrlrusdprr9pz3cppk"
CLEAN: Final = {k: v for k, v in os.environ.items() if not k.startswith(("GROAT_", "PYTHON"))}
# The installed package is the working tree, so each run sets where its code is from.
RUN: Final = """
import runpy, sys
folder, module, *arguments = sys.argv[1:]
sys.path.insert(0, folder)
import chain, wallet
for package in (chain, wallet):
    assert package.__file__.startswith(folder + "/"), package.__file__
sys.argv = [module, *arguments]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
SIMULATE: Final = """
import sys
folder, nodes, blocks, seed = sys.argv[1:]
sys.path.insert(0, folder)
from chain.simulator import simulate, world
note = world.World.note
def print_too(self, node, what):
    print(self.time_us, node, what)
    note(self, node, what)
world.World.note = print_too
simulate.simulate(int(nodes), int(blocks), int(seed), 20)
"""

# Expected differences: patterns of a difference's line without its values, with the reason.
# Kinds: + only the working tree has it, - only OLD has it, ~ both have it and the values differ.
EXPECTED: Final[Mapping[str, str]] = {
    "? /rpc/getpeerinfo/0/bytes*_per_msg/*": "which messages came in the moment of the link",
    "~ /wallet/send --dry-run/*": "the place of the change among the outputs is drawn",
    "~ /rpc/getblocktemplate*/curtime": "the time of asking",
    "~ /rpc/getblocktemplate*/longpollid": "it ends in a counter of the node's views",
    "- /files/*/mempool.dat": "the mempool is in the database",
    "~ /rpc/*/*size*": "of files, which grow with new tables and differ with their pages",
    "~ /api/v1/peers/body/0/height": "a peer's height is known from its hello",
    "? /files/*/state.json/version": "state.json 3",
    "+ /files/*/state.json/held*": "state.json 3: change addresses that open drafts hold",
    "+ /files/*/state.json/remembered/*/4": "state.json 3: the place in history",
    "~ /files/*/state.json/remembered/*/[123]": "state.json 3: kept in the order of the history",
    "- /rpc/getblock * 2/tx/*/prevout/*": "as Core's: prevout comes with verbosity 3",
    "+ /rpc/getindexinfo/txospenderindex/*": "an index that Core names",
    "? /rpc/getnetworkinfo/networks*": "as Core's: all five networks",
    "~ /rpc/getnetworkinfo/version": "310000: clients ask for what Core of that version has",
    "+ /rpc/getblock * [123]/coinbase_tx/*": "a field of Core 31",
    "+ /metrics/groat_gossip_events_total": "a new counter",
    "+ /rpc/getpeerinfo/0/*": "fields that Core has",
    "+ /rpc/help/*": "new methods, and new arguments of old ones, as Core's",
    "- /rpc/help/*": "the usage lines without the arguments that came",
    "? /wallet/rescan/*": "a new command",
    "+ /metrics/groat_ledger_log_bytes": "a new gauge",
    "+ /metrics/groat_node_age_seconds": "a new gauge",
    "+ /metrics/groat_sequence": "a new gauge",
    "+ /wallet/send*/label": "the label of --label",
    "+ /wallet/*/as_of": "when the node last answered, where it is away",
    "~ /wallet/*history*/[01]/txid": "unconfirmed payments are in order of arrival, not of ids",
    "~ /wallet/*history*/[01]/amount": "that of the other one",
    "+ /wallet/*history*/kind": "received, sent, mined or immature",
    "- /wallet/list/*/path": "folder, as info says it",
    "+ /wallet/list/*/folder": "path until then",
    "~ /wallet/list/*/state": "no password, instead of clear text",
}

# Values that differ in every run; their type must be the same.
VOLATILE: Final = (
    *("*/uptime*", "*seconds", "*_per_second", "*/timemillis", "*/state.json/*/[01]"),
    *("/api/v1/peers/body/0/*", "/rpc/getpeerinfo/0/*", "/rpc/getnettotals/totalbytes*"),
    *("/wallet/list/*/folder", "/files/*/peers.json/saved/*"),
)

ESPLORA: Final = """
blocks blocks/tip/height blocks/tip/hash blocks/100 block-height/100 block/{block}
block/{block}/status block/{stale}/status block/{block}/header block/{block}/raw
block/{block}/txids block/{block}/txid/1 block/{block}/txs block/{block}/txs/25
tx/{tx} tx/{tx}/status tx/{tx}/hex tx/{tx}/raw tx/{tx}/merkle-proof tx/{tx}/merkleblock-proof
tx/{tx}/outspend/0 tx/{tx}/outspends tx/{waiting} tx/{block} tx/nonsense
address/{address} address/{address}/txs address/{address}/txs/chain
address/{address}/txs/mempool address/{address}/utxo
mempool mempool/txids mempool/recent fee-estimates
v1/status v1/peers v1/branches v1/mempool v1/fees/recommended
"""
# Calls, separated by semicolons: a method, and arguments as JSON without spaces.
RPC: Final = """
getbestblockhash; getblock "{block}" 0; getblock "{block}" 1; getblock "{block}" 2;
getblockchaininfo; getblockcount; getblockhash 50; getblockhash 5000; getblockheader "{block}";
getchaintips; getdifficulty; gettxout "{tx}" 0; gettxout "{tx}" 1; getmempoolinfo;
getmempoolancestors "{waiting}" true; getmempooldescendants "{waiting}";
getmempoolentry "{waiting}"; getrawmempool true; gettxoutproof ["{tx}"]; getblockstats 100;
getblockstats "{block}"; getchaintxstats; gettxoutsetinfo; gettxoutsetinfo "muhash";
scantxoutset "start" ["addr({address})"]; getrpcinfo; uptime; getmininginfo; getnetworkhashps;
getblocktemplate {"rules":["segwit"]}; getprioritisedtransactions; getaddednodeinfo;
getconnectioncount; getnettotals; getnetworkinfo; getpeerinfo; listbanned;
getrawtransaction "{tx}" true; getrawtransaction "{waiting}"; testmempoolaccept ["{raw}"];
decoderawtransaction "{raw}"; estimatesmartfee 6; getindexinfo; validateaddress "{address}";
no_such_method
"""


@dataclass(frozen=True, slots=True)
class Code:
    """A source tree whose commands are run."""

    folder: Path

    def command(self, module: str, *arguments: object) -> list[str]:
        """Return the words that run `python -m module` from this tree."""
        words = [sys.executable, "-P", "-W", "ignore", "-c", RUN, str(self.folder), module]
        return [*words, *map(str, arguments)]

    def run(self, module: str, *arguments: object, given: str = "") -> Any:  # noqa: ANN401 - JSON
        """Return what a command prints as JSON, one value or a list of lines; fail if it does."""
        words = self.command(module, *arguments)
        pipes = {"input": given, "capture_output": True, "text": True}
        done = subprocess.run(words, **pipes, env=CLEAN, check=False)
        assert "Traceback" not in done.stderr, done.stderr
        values = [json.loads(line) for line in done.stdout.splitlines() if line[:1] in "{["]
        if done.returncode:
            return {"exit": done.returncode, "printed": values}
        return values[0] if len(values) == 1 else values


@dataclass(frozen=True, slots=True)
class Node:
    """A running node."""

    folder: Path
    p2p: str
    api: str

    def get(self, path: str) -> httpx.Response:
        """Ask the HTTP API."""
        return httpx.get(self.api + path, trust_env=False, timeout=30)

    def rpc(self, method: str, *params: object) -> Any:  # noqa: ANN401 - JSON
        """Call a method; return its result, or its error."""
        user, _, password = (self.folder / "regtest/.cookie").read_text().partition(":")
        body = {"id": 1, "method": method, "params": params}
        login = (user, password)
        answer = httpx.post(self.api, json=body, auth=login, trust_env=False, timeout=60).json()
        return answer["result"] if answer.get("error") is None else {"error": answer["error"]}


@dataclass(frozen=True, slots=True)
class Made:
    """The files that OLD made, and ids in them."""

    folder: Path
    blocks: Path  # a block file, with refused blocks at its end
    ids: Mapping[str, str]  # values of {names} in ESPLORA and RPC
    words: str  # of the wallet


STARTED: Final = time.monotonic()


def _print_progress(what: str) -> None:
    sys.stderr.write(f"{time.monotonic() - STARTED:5.1f} s  {what}\n")


def _wait(holds: Callable[[], object], what: str) -> None:
    end = time.monotonic() + WAIT_S_MAX
    while not holds():
        assert time.monotonic() < end, f"not within {WAIT_S_MAX:.0f} s: {what}"
        time.sleep(0.05)


@contextmanager
def _node(code: Code, folder: Path, *arguments: object) -> Iterator[Node]:
    """Run a node until the block ends; it must exit with 0 and log no traceback."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder.with_suffix(".log")
    flags = ("--network", "regtest", "--datadir", folder, "--p2p", "127.0.0.1:0")
    words = code.command("chain", "node", *flags, "--api", "127.0.0.1:0", *arguments)
    with log.open("w") as out:
        process = subprocess.Popen(words, stdout=out, stderr=out, env=CLEAN)
    try:
        _wait(lambda: READY.search(log.read_text()) or process.poll() is not None, "a node")
        found = READY.search(log.read_text())
        assert found is not None, f"the node did not start: {log.read_text()}"
        yield Node(folder, *found.groups())
    finally:
        process.terminate()
        status = process.wait(WAIT_S_MAX)
    assert status == 0, (status, log.read_text())
    assert "Traceback" not in log.read_text(), log.read_text()


@contextmanager
def _linked(code: Code, folder: Path, node: Node) -> Iterator[Node]:
    """Run another node, and wait until it has all of the node's blocks."""
    with _node(code, folder, "--peer", node.p2p) as other:
        tip = node.rpc("getbestblockhash")
        _wait(lambda: other.rpc("getbestblockhash") == tip, "a node has the other's chain")
        assert node.rpc("getconnectioncount") > 0
        yield other


def _wallet(code: Code, folder: Path, node: Node, *words: object, given: str = "") -> Any:  # noqa: ANN401
    flags = ("--network", "regtest", "--datadir", folder, "--node", f"{node.api}/api", "--json")
    return code.run("wallet", *flags, *words, given=given)


def make(old: Code, folder: Path) -> Made:
    """Let OLD make a chain of 121 blocks with a stale branch, a mempool, peers and wallets."""
    data = folder / "data"
    with _node(old, data) as node:

        def wallet(*words: object, given: str = "") -> Any:  # noqa: ANN401
            answer = _wallet(old, data, node, *words, given=given)
            assert "exit" not in answer, (words, answer)
            return answer

        created = wallet("create", "--no-password")
        wallet("create", "--wallet", "locked", given=PASSWORD)
        address = created["address"]
        node.rpc("generatetoaddress", 108, address)
        paid = wallet("send", FOREIGN, 1.5, address, 2, *PAY)
        block = node.rpc("generatetoaddress", 2, FOREIGN)[0]
        stale = node.rpc("generatetoaddress", 3, address)[0]
        node.rpc("invalidateblock", stale)
        node.rpc("generatetoaddress", 11, FOREIGN)
        node.rpc("reconsiderblock", stale)
        unconfirmed = wallet("send", FOREIGN, 0.25, *PAY)
        wallet("send", FOREIGN, 0.5, *PAY)
        wallet("label", address, "mined here")
        wallet("label", paid["txid"], "a first payment")
        coin = wallet("utxos")[0]
        wallet("freeze", f"{coin['txid']}:{coin['vout']}")
        wallet("address", "--new", "--label", "handed out")
        with _linked(old, folder / "second", node):
            raw = node.rpc("getrawtransaction", unconfirmed["txid"])
    ids = {"block": block, "stale": stale, "tx": paid["txid"], "waiting": unconfirmed["txid"]}
    ids |= {"address": address, "raw": raw}
    return Made(data, _block_file(old, data, folder / "blocks.dat"), ids, created["words"])


def _block_file(old: Code, data: Path, file: Path) -> Path:
    """Export OLD's chain; append a repeated block, a changed body and a changed header."""
    old.run("chain", "export", file, "--network", "regtest", "--datadir", data)
    raw = file.read_bytes()
    last = raw[raw.rindex(raw[:4]) :]
    bad_body, bad_time = bytearray(last), bytearray(last)
    bad_body[-10] ^= 1  # in the coinbase: another merkle root
    bad_time[8 + 71] ^= 0x80  # the time's highest bit
    file.write_bytes(raw + last + bytes(bad_body) + bytes(bad_time) + last)
    return file


def record(code: Code, made: Made, folder: Path) -> dict[str, Any]:
    """Return all answers of a tree about a copy of OLD's files."""
    _print_progress(f"{folder.name}: commands")
    data = folder / "data"
    shutil.copytree(made.folder, data)
    with _node(code, data):
        pass  # it migrates the ledger, which commands that only read require
    found: dict[str, Any] = {"command": _record_offline(code, data, made, folder)}
    with _node(code, data) as node:
        _wait(lambda: len(node.rpc("getrawmempool")) == 2, "the mempool is loaded")
        with _linked(code, folder / "second", node) as other:
            _print_progress(f"{folder.name}: API and JSON-RPC")
            found["api"] = {path: _get(node, path.format(**made.ids)) for path in ESPLORA.split()}
            found["rpc"] = {
                call: node.rpc(*_filled(call, made.ids))
                for call in " ".join(RPC.split()).split("; ")
            }
            found["rpc"]["help"] = dict.fromkeys(node.rpc("help").splitlines(), True)
            found["metrics"] = _families(node)
            schema = node.get("/openapi.json").json()["paths"]
            found["openapi"] = {path: dict.fromkeys(schema[path], True) for path in schema}
            api = node.api.removeprefix("http://")
            words = ("--network", "regtest", "--datadir", data, "--api", api, "--json")
            found["command"]["status"] = code.run("chain", "status", *words)
            _print_progress(f"{folder.name}: wallet")
            found["wallet"] = _record_wallet(code, data, made, node)
            tip = other.rpc("generatetoaddress", 1, FOREIGN)[0]  # OLD's block, with both payments
            _wait(lambda: node.rpc("getbestblockhash") == tip, "a block of OLD's node arrives")
    names = sorted(str(each.relative_to(data)) for each in data.rglob("*") if each.is_file())
    found["files"] = dict.fromkeys(names, True)
    for path in data.rglob("*.json"):
        found["files"][str(path.relative_to(data))] = json.loads(path.read_text())
    return found


def _record_offline(code: Code, data: Path, made: Made, folder: Path) -> dict[str, Any]:
    file = folder / "exported.dat"
    at = ("--network", "regtest", "--datadir", data, "--json")
    found = {"check": code.run("chain", "check", *at)}
    found["export"] = code.run("chain", "export", file, *at)
    found["exported bytes"] = hashlib.sha256(file.read_bytes()).hexdigest()
    fresh = ("--network", "regtest", "--datadir", folder / "imported")
    found["verdicts"] = code.run("chain", "import", "--verdicts", made.blocks, *fresh)
    found["import"] = code.run("chain", "import", file, *fresh, "--json")
    found["bench import"] = code.run("chain", "bench", "import", file, "--json")
    found["version"] = code.run("chain", "version", "--json")
    found["status without a node"] = code.run("chain", "status", *at)
    found["import of no file"] = code.run("chain", "import", folder / "none", *fresh)
    return found


def _record_wallet(code: Code, data: Path, made: Made, node: Node) -> dict[str, Any]:
    def ask(*words: object, given: str = "") -> Any:  # noqa: ANN401
        return _wallet(code, data, node, *words, given=given)

    commands = ("balance", "history", "utxos", "address", "export", "show-seed", "rescan")
    found = {command: ask(command, "--wallet", "default") for command in commands}
    found["list"] = ask("list")
    found["decode"] = ask("decode", made.ids["raw"])
    found["locked"] = ask("show-seed", "--wallet", "locked", given=PASSWORD)
    coin = next(each for each in found["utxos"] if not each["frozen"])
    coins = ("--from", f"{coin['txid']}:{coin['vout']}")
    found["send --dry-run"] = ask("send", FOREIGN, 1, *coins, *PAY, "--dry-run")
    restored = ("--wallet", "restored")
    found["restore"] = ask("restore", *restored, "--no-password", given=made.words + "\n")
    found["restored history"] = ask("history", *restored)
    found["history after a rescan"] = ask("history", "--wallet", "default")
    return found


def _get(node: Node, path: str) -> dict[str, Any]:
    answer = node.get(f"/api/{path}")
    kind = answer.headers.get("content-type", "")
    body = answer.json() if "json" in kind else hashlib.sha256(answer.content).hexdigest()
    return {"status": answer.status_code, "type": kind, "body": body}


def _filled(call: str, ids: Mapping[str, str]) -> list[Any]:
    for name, value in ids.items():
        call = call.replace(f"{{{name}}}", value)
    method, *arguments = call.split()
    return [method, *map(json.loads, arguments)]


def _families(node: Node) -> dict[str, str]:
    types = re.findall(r"^# TYPE (\S+) (\S+)$", node.get("/metrics").text, re.MULTILINE)
    return dict(types)


def _trace(code: Code, seed: int) -> list[str]:
    words = [sys.executable, "-P", "-c", SIMULATE, str(code.folder), "8", "5", str(seed)]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()


def compare_traces(old: list[str], new: list[str]) -> str | None:
    """Return the first difference of two traces, modulo the names in docs/renames.md."""
    pairs = set()
    for line in (ROOT / "docs/renames.md").read_text().splitlines():
        names = re.findall(r"`(\w+)`", line) if line.startswith("| `") else []
        pairs |= {(names[0], later) for later in names[1:]}
    for index, (before, after) in enumerate(zip([*old, "end"], [*new, "end"], strict=False)):
        words, others = re.findall(r"\w+|\W", before), re.findall(r"\w+|\W", after)
        alike = (a == b or (a, b) in pairs for a, b in zip(words, others, strict=False))
        if len(words) != len(others) or not all(alike):
            return f"event {index}: {before} | {after}"
    return None


def flatten(value: Any, path: str) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - JSON
    """Yield each nested value with its path."""
    if isinstance(value, dict | list) and value:
        for key, inside in value.items() if isinstance(value, dict) else enumerate(value):
            yield from flatten(inside, f"{path}/{key}")
    else:
        yield path, value


def differences(old: dict[str, Any], new: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the kind and path of each difference, and the values."""
    before, after = dict(flatten(old, "")), dict(flatten(new, ""))
    for path in sorted(before.keys() | after.keys()):
        if path not in before:
            yield f"+ {path}", _short(after[path])
        elif path not in after:
            yield f"- {path}", _short(before[path])
        elif before[path] != after[path]:
            alike = type(before[path]) is type(after[path])
            if not (alike and any(fnmatchcase(path, each) for each in VOLATILE)):
                yield f"~ {path}", f"{_short(before[path])} -> {_short(after[path])}"


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 90 else text[:87] + "..."


def report(found: Iterator[tuple[str, str]]) -> int:
    """Print what differs: how often each expected difference occurs, and all others."""
    occurred: Counter[str] = Counter()
    unexpected = 0
    for name, values in found:
        pattern = next((each for each in EXPECTED if fnmatchcase(name, each)), None)
        if pattern is None:
            unexpected += 1
            print(f"UNEXPECTED {name}: {values}")
        else:
            occurred[pattern] += 1
    for pattern, count in occurred.items():
        print(f"expected   {pattern} ({count}): {EXPECTED[pattern]}")
    print(f"{unexpected} unexpected, {occurred.total()} expected differences")
    return unexpected


@contextmanager
def _checked_out(commit: str, folder: Path) -> Iterator[Code]:
    git = ("git", "-C", str(ROOT), "worktree")
    add = [*git, "add", "--quiet", "--detach", str(folder), commit]
    subprocess.run(add, check=True)
    try:
        yield Code(folder)
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def main() -> int:
    """Compare the working tree with a commit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", nargs="?", default="9697a37", help="a commit; default 9697a37")
    parser.add_argument("--seed", type=int, default=7, help="of the simulated network")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="groat-compare-") as name:
        folder = Path(name).resolve()
        with _checked_out(flags.old, folder / "code") as old:
            new = Code(ROOT)
            _print_progress(f"{flags.old} makes a data directory and wallets")
            made = make(old, folder / "made")
            before = record(old, made, folder / "old")
            after = record(new, made, folder / "new")
            _print_progress("simulated network")
            traces = [_trace(code, flags.seed) for code in (old, new)]
    print(f"simulated network: {len(traces[0])} events in {flags.old}, {len(traces[1])} here")
    parted = compare_traces(*traces)
    before["trace"], after["trace"] = ("the same", "the same" if parted is None else parted)
    return min(report(differences(before, after)), 1)


if __name__ == "__main__":
    sys.exit(main())
