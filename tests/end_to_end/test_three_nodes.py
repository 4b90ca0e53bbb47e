"""Three real nodes in a line A-B-C on 127.0.0.1; C only dials out, nobody dials it."""

import re

import pytest

from tests.end_to_end.processes import NodeProcess, WalletCommand, wait_until
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.net
SOMEBODY = "bcrt1q6rz28mcfaxtmd6v789l9rrlrusdprr9pz3cppk"


@pytest.fixture
def line(tmp_path):
    yield from started_line(tmp_path)


@pytest.fixture
def line_of_1900_blocks(tmp_path):
    yield from started_line(tmp_path, blocks=1900)


@pytest.fixture(scope="module")
def lasting_line(tmp_path_factory):
    """For tests that add nothing to the nodes except blocks."""
    yield from started_line(tmp_path_factory.mktemp("line"))


@pytest.fixture(scope="module")
def lasting_payer(lasting_line, tmp_path_factory):
    """A wallet at C that can pay as often as its tests do: ten of its coinbases are mature."""
    payer = Purse(tmp_path_factory.mktemp("payer"), lasting_line[2])
    mined = lasting_line[2].mine(110, payer.address)[-1]
    wait_until(lambda: agree(lasting_line, mined), "C's blocks are A's chain", PATIENCE_S)
    return payer


def started_line(folder, blocks=0):
    """B dials A, which has mined so many blocks, and C dials B."""
    a = NodeProcess(folder / "a").start()
    a.mine(blocks, SOMEBODY)
    b = NodeProcess(folder / "b", ["--peer", a.p2p]).start()
    c = NodeProcess(folder / "c", ["--peer", b.p2p]).start()
    nodes = (a, b, c)
    yield nodes
    codes = [node.stop() for node in nodes]
    assert codes == [0, 0, 0], [node.errors() for node in nodes]
    for node in nodes:
        assert "Traceback" not in node.errors()


class Purse:
    """A wallet at one node, its first address known."""

    def __init__(self, folder, node):
        self.command = WalletCommand(folder, node)
        self.address = self.command.json("create", "--no-password")["address"]

    def send(self, to: str, amount: str) -> str:
        return self.command.json("send", to, amount, "--fee-rate", "5", "--yes")["txid"]

    def payment(self, txid: str) -> dict:
        return next(row for row in self.command.json("history") if row["txid"] == txid)


def agree(nodes, tip=None) -> bool:
    return {node.tip for node in nodes} == {tip or nodes[0].tip}


def everywhere(nodes, txid: str) -> bool:
    """Whether each reader finds the transaction in chain or mempool."""
    return all(node.get(f"/api/tx/{txid}").status_code == 200 for node in nodes)


def test_blocks_and_payments_cross_the_line_both_ways(lasting_line, lasting_payer, tmp_path):
    line, payer = lasting_line, lasting_payer  # whose making took C's blocks to A
    a = line[0]
    payee = Purse(tmp_path / "payee", a)
    mined = a.mine(1, payee.address)[-1]
    wait_until(lambda: agree(line, mined), "A's block is C's tip", PATIENCE_S)

    txid = payer.send(payee.address, "1.5")
    wait_until(lambda: txid in a.mempool(), "C's payment is in A's mempool", PATIENCE_S)
    mined = a.mine(1, payee.address)[-1]
    wait_until(lambda: agree(line, mined), "the block with the payment is C's tip", PATIENCE_S)
    for node in line:
        status = node.get(f"/api/tx/{txid}/status").json()
        assert (status["confirmed"], status["block_hash"]) == (True, mined)
    assert payee.payment(txid)["amount"] == 150_000_000
    assert payer.payment(txid)["amount"] < -150_000_000
    assert payee.payment(txid)["confirmations"] == payer.payment(txid)["confirmations"] == 1


@pytest.mark.slow  # a node that stops asks to be left alone for 10 s
def test_a_split_heals_to_the_branch_with_more_work(line, tmp_path):
    a, b, c = line
    payer = Purse(tmp_path / "payer", c)
    c.mine(101, payer.address)
    wait_until(lambda: agree(line), "all start together", PATIENCE_S)
    cut_apart(line)

    a.mine(2, SOMEBODY)
    txid = payer.send(SOMEBODY, "3")
    c.mine(1, payer.address)
    assert c.get(f"/api/tx/{txid}/status").json()["confirmed"]
    assert a.tip != c.tip

    b.start()
    c.stop()
    c.start("--peer", b.p2p)
    wait_until(lambda: agree(line, a.tip), "all follow A, who has more work", PATIENCE_S)
    assert c.height == a.height == 103
    wait_until(lambda: everywhere(line, txid), "the loser's payment is everywhere", PATIENCE_S)
    assert not c.get(f"/api/tx/{txid}/status").json()["confirmed"]
    mined = b.mine(1, SOMEBODY)[-1]
    wait_until(lambda: agree(line, mined), "the next block is everywhere", PATIENCE_S)
    assert a.get(f"/api/tx/{txid}/status").json()["block_hash"] == mined


def cut_apart(line) -> None:
    """Stop B, and let A and C forget that they ever heard of each other."""
    a, b, c = line
    for node in (b, a, c):
        assert node.stop() == 0
        (node.folder / "regtest" / "peers.json").unlink()
    c.arguments = ()
    a.start()
    c.start()


@pytest.mark.parametrize("victim", [0, 1, 2], ids=["A", "B", "C"])
def test_a_killed_node_loses_nothing(lasting_line, lasting_payer, victim):
    line = lasting_line
    killed = line[victim]
    wait_until(lambda: agree(line), "all start together", PATIENCE_S)
    txid = lasting_payer.send(SOMEBODY, "1")
    wait_until(lambda: everywhere(line, txid), "the payment is everywhere", PATIENCE_S)
    tip = killed.mine(3, SOMEBODY)[-1]
    killed.kill()
    killed.start()
    assert killed.tip == tip
    wait_until(lambda: agree(line, tip), "the restarted node's blocks are everywhere", PATIENCE_S)
    assert everywhere(line, txid)
    mined = line[0].mine(1, SOMEBODY)[-1]
    wait_until(lambda: agree(line, mined), "and it takes part again", PATIENCE_S)


@pytest.mark.slow
def test_an_empty_fourth_node_syncs_everything(line_of_1900_blocks, tmp_path):
    a, b, _ = line = line_of_1900_blocks
    a.mine(100, SOMEBODY)
    wait_until(lambda: agree(line), "three nodes have 2,000 blocks", PATIENCE_S)
    d = NodeProcess(tmp_path / "d", ["--peer", a.p2p, "--peer", b.p2p]).start()
    wait_until(lambda: d.tip == a.tip, "the fourth node has them too", PATIENCE_S)
    assert d.height == 2000
    assert d.stop() == 0
    heights = [
        int(height.replace(",", ""))
        for height in re.findall(r"syncing: block ([\d,]+) of 2,000", d.errors())
    ]
    assert heights == sorted(heights)
