"""Ten real nodes, dialled as a star and as a ring; and one that nobody can dial."""

from pathlib import Path

import pytest

from tests.end_to_end.networks import network, watching
from tests.end_to_end.processes import NodeProcess, WalletCommand, wait_until
from tests.patience import PATIENCE_S

pytestmark = [pytest.mark.net, pytest.mark.slow]
COUNT = 10
SOMEBODY = "bcrt1q6rz28mcfaxtmd6v789l9rrlrusdprr9pz3cppk"
SHAPES = {
    "star": lambda number: [0] if number else [],
    "ring": lambda number: sorted({number - 1, 0} if number == COUNT - 1 else {number - 1} - {-1}),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_blocks_and_payments_of_every_node_reach_all_ten(tmp_path: Path, shape: str) -> None:
    with network(tmp_path, COUNT, SHAPES[shape]) as nodes:
        wallet = WalletCommand(tmp_path / "wallet", nodes[-1])
        address = wallet.json("create", "--no-password")["address"]
        nodes[-1].mine(101, address)
        wait_until(lambda: one_tip(nodes), "ten nodes have one chain", PATIENCE_S)
        sent = wallet.json("send", SOMEBODY, "1", "--fee-rate", "5", "--yes")["txid"]
        wait_until(lambda: all(sent in n.mempool() for n in nodes), "the payment", PATIENCE_S)
        with watching(nodes) as watch:
            for node in nodes:
                assert len(watch.arrivals(node.mine(1, SOMEBODY)[-1], PATIENCE_S)) == COUNT
        assert all(node.get(f"/api/tx/{sent}/status").json()["confirmed"] for node in nodes)
        for node in nodes:
            peers = [(peer["address"], peer["inbound"]) for peer in peers_of(node)]
            assert len(peers) <= COUNT - 1, f"linked twice: {peers}"


def test_a_node_that_nobody_can_dial_takes_part(tmp_path: Path) -> None:
    """It listens where it does not dial from, so that its claim leads nowhere, as behind NAT."""
    with network(tmp_path, 2, lambda number: [0] * number) as nodes:
        hidden = NodeProcess(
            tmp_path / "hidden", ["--peer", nodes[0].p2p, "--peer", nodes[1].p2p], p2p="127.9.9.9:0"
        )
        hidden.start()
        try:
            everyone = [*nodes, hidden]
            wait_until(lambda: len(peers_of(hidden)) == 2, "it is linked to both", PATIENCE_S)
            for miner in (hidden, nodes[0]):
                mined = miner.mine(3, SOMEBODY)[-1]
                wait_until(lambda: one_tip(everyone), f"{mined} everywhere", PATIENCE_S)
            assert not any(peer["inbound"] for peer in peers_of(hidden))
        finally:
            assert hidden.stop() == 0, hidden.errors()


def one_tip(nodes: list[NodeProcess]) -> bool:
    return len({node.tip for node in nodes}) == 1


def peers_of(node: NodeProcess) -> list[dict]:
    return node.get("/api/v1/peers").json()
