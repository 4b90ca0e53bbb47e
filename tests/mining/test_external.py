"""`groat mine`: jobs from templates, and a real miner process at a real node."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from rich.live import Live
from typer.testing import CliRunner, Result

from chain.cli.commands import app
from chain.consensus.block_validation import check_block, check_block_context
from chain.consensus.entry import BlockTreeEntry
from chain.consensus.genesis import genesis_block
from chain.consensus.params import MAIN, REGTEST
from chain.primitives.address import script_address
from chain.primitives.block import Block, decode_block
from chain.primitives.numbers import id_text
from chain.primitives.script import p2pkh_script, p2sh_script
from chain.primitives.transaction import decode_transaction
from chain.service.miner.external_job import TemplateError, read_template
from chain.service.miner.external_miner import MiningProgress, payout_script
from chain.service.miner.json_rpc import RpcClient, cookie_login
from chain.service.miner.miner_command import progress_display, status_line
from tests.builders import KEY, Key, block_on, output_of, pay, solve, spend
from tests.end_to_end.processes import CLEAN, NodeProcess

GENESIS = BlockTreeEntry(genesis_block(REGTEST).header, None)
ADDRESS = script_address(KEY.script, REGTEST.address_prefixes)
NOW = GENESIS.header.time + 1000
TEMPLATE = {
    "version": 0x20000000,
    "rules": ["csv", "!segwit"],
    "previousblockhash": id_text(GENESIS.id),
    "transactions": [],
    "coinbaseaux": {},
    "coinbasevalue": 50 * 10**8,
    "target": "7fffff" + "0" * 58,
    "mintime": GENESIS.header.time + 1,
    "curtime": NOW,
    "bits": "207fffff",
    "height": 1,
}


def solved(template: dict, extranonce: int = 7) -> Block:
    job = read_template(template, KEY.script, NOW)
    return job.block(solve(job.header(extranonce, NOW)), extranonce)


def test_job_of_a_template_makes_a_valid_block():
    tx = block_on(GENESIS).transactions[0]
    payment = spend([(output_of(tx), _coin(tx))], [pay(1000, Key(2))])
    template = {**TEMPLATE, "transactions": [{"data": payment.raw.hex()}]}
    block = solved(template)
    check_block(block, REGTEST)
    check_block_context(block, GENESIS)
    assert block.transactions[1].raw == payment.raw
    assert block.transactions[0].outputs[0].script == KEY.script
    assert decode_block(block.raw).transactions[0].has_witness


def _coin(tx):
    return type("Coin", (), {"value": tx.outputs[0].value})()


def test_each_extranonce_makes_another_coinbase():
    job = read_template(TEMPLATE, KEY.script, NOW)
    assert len({job.header(n, NOW).merkle_root for n in range(20)}) == 20


def test_block_without_segwit_carries_no_commitment():
    block = solved({**TEMPLATE, "rules": []})
    assert len(block.transactions[0].outputs) == 1
    assert not block.transactions[0].has_witness


def test_what_the_node_wants_in_the_coinbase_is_there():
    block = solved({**TEMPLATE, "coinbaseaux": {"flags": "062f503253482f"}})
    assert bytes.fromhex("062f503253482f") in block.transactions[0].inputs[0].script_sig


@pytest.mark.parametrize(
    ("ours", "header_time"), [(NOW, NOW + 50), (NOW + 3, NOW + 53), (0, TEMPLATE["mintime"])]
)
def test_header_time_follows_the_node_s_clock(ours, header_time):
    job = read_template({**TEMPLATE, "curtime": NOW + 50}, KEY.script, NOW)
    assert job.header(0, ours).time == header_time


@pytest.mark.parametrize(
    "change",
    [
        {"previousblockhash": "00"},
        {"previousblockhash": 5},
        {"previousblockhash": "0" * 63 + " "},
        {"previousblockhash": " " + "00" * 32},
        {"bits": "x"},
        {"bits": "1207fffff"},
        {"target": None},
        {"height": -(2**70)},
        {"version": 2**40},
        {"transactions": None},
        {"transactions": [{}]},
        {"transactions": [{"data": "00"}]},
        {"transactions": ["00"]},
        {"coinbaseaux": {"flags": "00" * 92}},
        {"coinbaseaux": []},
        {"coinbasevalue": -1},
        {"coinbasevalue": 2**64},
        {"curtime": 2**33},
    ],
)
def test_template_that_makes_no_block_is_told_in_one_line(change):
    with pytest.raises(TemplateError) as error:
        read_template({**TEMPLATE, **change}, KEY.script, NOW)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "missing", [n for n in TEMPLATE if n not in {"rules", "coinbaseaux", "mintime"}]
)
def test_template_that_lacks_a_field_is_refused(missing):
    template = {name: value for name, value in TEMPLATE.items() if name != missing}
    with pytest.raises(TemplateError, match=missing):
        read_template(template, KEY.script, NOW)


def test_status_line_tells_how_it_goes():
    figures = MiningProgress(height=9, accepted=2, rejected=1, hashes_per_second=2_500_000.0)
    assert status_line(figures) == "block 9 · 2.5 MH/s · 2 accepted · 1 rejected"
    figures = replace(figures, network_hashes_per_second=1e7, stale=3, problem="no answer")
    shown = "block 9 · 2.5 MH/s · 25 % of the network · 2 accepted · 1 rejected"
    assert status_line(figures) == f"{shown} · 3 too late · no answer"


@pytest.mark.parametrize("is_terminal", [False, True])
def test_each_problem_is_told_whole_and_once(is_terminal):
    console = Console(file=io.StringIO(), force_terminal=is_terminal, width=60, highlight=False)
    live = Live(console=console, auto_refresh=False) if is_terminal else None
    problem = f"cookie /{'long/' * 30}.cookie: [Errno 2] No such file"
    figures = MiningProgress(height=7)
    show = progress_display(console, live, figures)
    for figures.problem in ("", problem, problem, "", problem):
        show()
    assert console.file.getvalue().count(problem) == 2


@pytest.fixture
def node(tmp_path):
    running = NodeProcess(tmp_path / "node").start()
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def idle_node(tmp_path_factory):
    """A node for tests that get no template from it."""
    running = NodeProcess(tmp_path_factory.mktemp("idle")).start()
    yield running
    assert running.stop() == 0


def command(url: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "chain", "mine", "--node", url, *arguments]


def run(url: str, *arguments: str, **how) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(url, *arguments),
        capture_output=True, text=True, timeout=60, check=False, env=CLEAN, **how,
    )  # fmt: skip


def cookie_of(node: NodeProcess) -> str:
    return str(node.folder / node.network / ".cookie")


@pytest.mark.net
def test_miner_mines_the_node_s_segwit_transactions(node):
    node.mine(101, ADDRESS)
    first = decode_transaction(bytes.fromhex(node.get(f"/api/tx/{_coinbase(node, 1)}/hex").text))
    payment = spend([(output_of(first), first.outputs[0])], [pay(first.outputs[0].value - 1000)])
    assert payment.has_witness
    assert node.rpc("sendrawtransaction", payment.raw.hex()) == id_text(payment.txid)
    reward = script_address(Key(9).script, REGTEST.address_prefixes)
    done = run(
        node.api, "--address", reward, "--cookie", cookie_of(node), "--blocks", "3", "--json"
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["height"], line["accepted"]) for line in lines] == [
        (102, True), (103, True), (104, True),
    ]  # fmt: skip
    assert [line["transactions"] for line in lines] == [2, 1, 1]
    assert node.tip == lines[-1]["hash"]
    assert node.mempool() == []
    assert node.get(f"/api/tx/{id_text(payment.txid)}/status").json()["block_height"] == 102
    coins = node.get(f"/api/address/{reward}/utxo").json()
    assert sorted(coin["value"] for coin in coins) == [50 * 10**8, 50 * 10**8, 50 * 10**8 + 1000]


def _coinbase(node: NodeProcess, height: int) -> str:
    block_id = node.get(f"/api/block-height/{height}").text
    return node.get(f"/api/block/{block_id}/txid/0").text


@pytest.mark.net
def test_miner_stops_when_asked_and_takes_the_password_from_a_pipe(node):
    user, _, password = (node.folder / node.network / ".cookie").read_text().partition(":")
    reading, writing = os.pipe()
    os.write(writing, password.encode() + b"\n")
    os.close(writing)
    arguments = command(
        node.api, "--address", ADDRESS, "--user", user, "--password-fd", str(reading)
    )
    assert not any(password in argument for argument in arguments)
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=CLEAN,
        pass_fds=[reading],
    )  # fmt: skip
    os.close(reading)
    first = process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert first.endswith(" accepted\n")
    assert (process.returncode, errors) == (0, "")


@pytest.mark.net
@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("nonsense", "groat: address nonsense: "),
        (
            script_address(KEY.script, MAIN.address_prefixes),
            "does not belong to the node's network",
        ),
    ],
)
def test_wrong_address_is_told_in_one_line(idle_node, address, problem):
    done = invoke(idle_node.api, "--address", address, "--cookie", cookie_of(idle_node))
    assert done.exit_code == (2 if address == "nonsense" else 1)
    assert problem in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.net
@pytest.mark.parametrize(
    "script", [p2pkh_script(bytes(20)), p2sh_script(bytes(20)), b"\x51\x20" + bytes(32)]
)
def test_rewards_go_to_an_address_of_any_kind(idle_node, script):
    address = script_address(script, REGTEST.address_prefixes)
    with closing(RpcClient(idle_node.api, cookie_login(Path(cookie_of(idle_node))))) as rpc:
        assert payout_script(rpc, address) == script


@pytest.mark.net
def test_wrong_password_is_told_in_one_line(idle_node, tmp_path):
    wrong = tmp_path / "cookie"
    wrong.write_text("__cookie__:wrong")
    done = invoke(idle_node.api, "--address", ADDRESS, "--cookie", str(wrong))
    assert done.exit_code == 1
    assert done.stderr == f"groat: {idle_node.api} refuses the user or password\n"


def invoke(url: str, *arguments: str) -> Result:
    """Run the command in this process, for what fails before anything is mined."""
    return CliRunner().invoke(app, ["mine", "--node", url, *arguments])


def test_absent_node_is_told_in_one_line(tmp_path):
    cookie = tmp_path / "cookie"
    cookie.write_text("a:b")
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, not listening: nothing else can answer there
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        done = invoke(url, "--address", ADDRESS, "--cookie", str(cookie))
    assert done.exit_code == 1
    assert done.stderr.startswith(f"groat: no answer from {url}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "groat: a login is needed: --cookie FILE, or --user and --password-fd\n"),
        (("--user", "a"), "groat: a login is needed: --cookie FILE, or --user and --password-fd\n"),
        (("--cookie", "/nowhere"), "groat: cookie /nowhere: No such file or directory\n"),
        (
            ("--user", "a", "--cookie", "b"),
            "groat: --cookie excludes --user and --password-fd: give one login\n",
        ),
        (
            ("--user", "a", "--password-fd", "99"),
            "groat: --password-fd 99: no such file descriptor is open",
        ),
    ],
)
def test_login_that_cannot_be_is_told_in_one_line(arguments, problem):
    done = invoke("http://127.0.0.1:1", "--address", ADDRESS, *arguments)
    assert done.exit_code == (1 if "/nowhere" in arguments else 2)  # a file may come later
    assert done.stderr.startswith(problem)


@pytest.mark.parametrize("url", ["127.0.0.1:9445", "ftp://127.0.0.1", "http://", "http://a:b@c/"])
def test_url_that_cannot_be_is_told_in_one_line(url, tmp_path):
    cookie = tmp_path / "cookie"
    cookie.write_text("a:b")
    done = invoke(url, "--address", ADDRESS, "--cookie", str(cookie))
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.net
@pytest.mark.slow
@pytest.mark.parametrize("end", [NodeProcess.stop, NodeProcess.kill])
def test_miner_goes_on_when_its_node_comes_back_with_another_cookie(node, end):
    arguments = command(node.api, "--address", ADDRESS, "--cookie", cookie_of(node), "--json")
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=CLEAN
    )
    first = json.loads(process.stdout.readline())
    end(node)  # one that is stopped takes its cookie away, one that is killed leaves it
    node.start()
    heights = [json.loads(process.stdout.readline()) for _ in range(4)]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert first["accepted"]
    assert heights[-1]["accepted"]
    assert heights[-1]["height"] > first["height"]
    assert "groat: " in errors, "it told that the node was away"
    assert "Traceback" not in errors
