"""Three real nodes in a line A-B-C on 127.0.0.1; C only dials out, nobody dials it."""

import re

import pytest

from tests.end_to_end.processes import NodeProcess, WalletCommand, wait_until

pytestmark = pytest.mark.net
RELAY_S_MAX = 20.0  # generous on a busy machine; scripts/bench_relay measures it


@pytest.fixture
def line(tmp_path):
    """B dials A, C dials B."""
    a = NodeProcess(tmp_path / "a").start()
    b = NodeProcess(tmp_path / "b", ["--peer", a.p2p]).start()
    c = NodeProcess(tmp_path / "c", ["--peer", b.p2p]).start()
    nodes = (a, b, c)
    yield nodes
    codes = [node.stop() for node in nodes]
    assert codes == [0, 0, 0], [node.errors() for node in nodes]
    for node in nodes:
        assert "Traceback" not in node.errors()


@pytest.fixture
def wallets(line, tmp_path):
    made = [
        WalletCommand(tmp_path / f"wallet-{name}", node)
        for name, node in zip("abc", line, strict=True)
    ]
    for wallet in made:
        wallet.run("create", "--no-password")
    return made


def address(wallet: WalletCommand) -> str:
    return wallet.json("address")["address"]


def agree(nodes, tip=None) -> bool:
    return {node.tip for node in nodes} == {tip or nodes[0].tip}


def everywhere(nodes, txid: str) -> bool:
    """Whether each reader finds the transaction in chain or mempool."""
    return all(node.get(f"/api/tx/{txid}").status_code == 200 for node in nodes)


def test_blocks_and_payments_cross_the_line_both_ways(line, wallets):
    a, _, c = line
    mined = a.mine(1, address(wallets[0]))[-1]
    wait_until(lambda: agree(line, mined), "A's block is C's tip", RELAY_S_MAX)
    mined = c.mine(101, address(wallets[2]))[-1]
    wait_until(lambda: agree(line, mined), "C's blocks are A's chain", RELAY_S_MAX)

    sent = wallets[2].json("send", address(wallets[0]), "1.5", "--fee-rate", "2", "--yes")
    txid = sent["txid"]
    wait_until(lambda: txid in a.mempool(), "C's payment is in A's mempool", RELAY_S_MAX)
    mined = a.mine(1, address(wallets[0]))[-1]
    wait_until(lambda: agree(line, mined), "the block with the payment is C's tip", RELAY_S_MAX)
    for node in line:
        status = node.get(f"/api/tx/{txid}/status").json()
        assert (status["confirmed"], status["block_hash"]) == (True, mined)
    paid = next(row for row in wallets[0].json("history") if row["txid"] == txid)
    spent = next(row for row in wallets[2].json("history") if row["txid"] == txid)
    assert paid["net"] == 150_000_000
    assert spent["net"] < -150_000_000
    assert paid["confirmations"] == spent["confirmations"] == 1


def test_a_split_heals_to_the_branch_with_more_work(line, wallets):
    a, b, c = line
    c.mine(101, address(wallets[2]))
    wait_until(lambda: agree(line), "all start together")
    b.stop()

    a.mine(2, address(wallets[0]))
    txid = wallets[2].json("send", address(wallets[0]), "3", "--fee-rate", "5", "--yes")["txid"]
    c.mine(1, address(wallets[2]))
    assert c.get(f"/api/tx/{txid}/status").json()["confirmed"]
    assert a.tip != c.tip

    b.start()
    wait_until(lambda: agree(line, a.tip), "all follow A, who has more work", RELAY_S_MAX)
    assert c.height == a.height == 103
    wait_until(lambda: everywhere(line, txid), "the loser's payment is everywhere", RELAY_S_MAX)
    assert not c.get(f"/api/tx/{txid}/status").json()["confirmed"]
    mined = b.mine(1, address(wallets[1]))[-1]
    wait_until(lambda: agree(line, mined), "the next block is everywhere", RELAY_S_MAX)
    assert a.get(f"/api/tx/{txid}/status").json()["block_hash"] == mined


@pytest.mark.parametrize("victim", [0, 1, 2], ids=["A", "B", "C"])
def test_a_killed_node_loses_nothing(line, wallets, victim):
    a, _, c = line
    c.mine(101, address(wallets[2]))
    wait_until(lambda: agree(line), "all start together")
    txid = wallets[2].json("send", address(wallets[0]), "1", "--fee-rate", "5", "--yes")["txid"]
    wait_until(lambda: everywhere(line, txid), "the payment is everywhere")
    before = line[victim].mine(3, address(wallets[0]))[-1] if victim else a.tip
    line[victim].kill()
    line[victim].start()
    assert line[victim].tip == before or victim
    wait_until(lambda: agree(line), "the restarted node is back", RELAY_S_MAX)
    assert everywhere(line, txid)
    mined = line[victim].mine(1, address(wallets[0]))[-1]
    wait_until(lambda: agree(line, mined), "and takes part", RELAY_S_MAX)
    assert a.get(f"/api/tx/{txid}/status").json()["confirmed"]


def test_an_empty_fourth_node_syncs_everything(line, wallets, tmp_path):
    a, b, _ = line
    for _ in range(20):
        a.mine(100, address(wallets[0]))
    wait_until(lambda: agree(line), "three nodes have 2,000 blocks", 60)
    d = NodeProcess(tmp_path / "d", ["--peer", a.p2p, "--peer", b.p2p]).start()
    wait_until(lambda: d.tip == a.tip, "the fourth node has them too", 60)
    assert d.height == 2000
    assert d.stop() == 0
    shown = re.findall(r"syncing: block (\d+) of 2000", d.errors())
    assert shown or d.errors().count("Traceback") == 0
