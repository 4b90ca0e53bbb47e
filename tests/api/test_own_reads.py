"""A node's own API: committed versions only, and a change is in the next read."""

import pytest

from chain.ledger.db.node_state import Version, parse_version
from chain.primitives.numbers import id_text
from chain.service.readers import following as following_module
from tests.api.harness import NOW, payment


def version_of(reply) -> Version:
    version = parse_version(reply.headers["groat-version"])
    assert version is not None
    return version


async def txids(node) -> list[str]:
    return await node.json("/api/mempool/txids")


def test_what_is_not_committed_is_not_shown(on_node):
    async def scenario(node):
        await node.grow(101)
        tx = payment(node)
        await node.context.call(lambda: node.context.node.submit_transaction(tx, NOW))
        path = f"/api/tx/{id_text(tx.txid)}"
        assert (await node.get(path)).status_code == 404
        assert await txids(node) == await node.rpc("getrawmempool") == []
        assert [entry.txid for entry in node.context.node.view.pool.entries()] == [tx.txid]
        assert await node.rpc("testmempoolaccept", [tx.raw.hex()])  # looks at the node as it is
        await node.context.wait_for_commit()
        assert (await node.get(path)).status_code == 200
        assert await txids(node) == [id_text(tx.txid)]

    on_node(scenario)


@pytest.mark.parametrize("how", ["esplora", "package", "rpc", "batch"])
def test_a_change_is_committed_and_in_the_next_read(on_node, monkeypatch, how):
    """Also while clients hold all places for those who wait for a version."""

    async def scenario(node):
        await node.grow(101)
        monkeypatch.setattr(following_module, "WAITERS_MAX", 0)
        raw = payment(node).raw.hex()
        call = {"id": 1, "method": "sendrawtransaction", "params": [raw]}
        before = version_of(await node.get("/api/blocks/tip/height"))
        reply = {
            "esplora": lambda: node.client.post("/api/tx", content=raw),
            "package": lambda: node.client.post("/api/txs/package", content=f'["{raw}"]'),
            "rpc": lambda: node.post_rpc(call),
            "batch": lambda: node.post_rpc([call]),
        }[how]
        said = await reply()
        assert said.status_code == 200, said.text
        assert before.is_before(version_of(said))
        assert not node.context.node.unsaved
        shown = await node.get("/api/mempool/txids")
        assert len(shown.json()) == 1
        assert version_of(shown).includes(version_of(said))

    on_node(scenario)


def test_a_request_waits_for_the_version_that_it_names(on_node, monkeypatch):
    monkeypatch.setattr("chain.service.api.state.version_header.WAIT_S_MAX", 0.1)

    async def scenario(node):
        await node.grow(1)
        version = version_of(await node.get("/api/blocks/tip/height"))
        for name, status in ((str(version), 200), (str(version.next()), 503), ("1.1", 400)):
            reply = await node.get("/api/blocks/tip/height", headers={"Groat-Version": name})
            assert reply.status_code == status, name
            assert "reader" not in reply.text, "a node answers too"
        [block] = await node.grow(1)
        headers = {"Groat-Version": str(version.next())}
        reply = await node.get("/api/blocks/tip/hash", headers=headers)
        assert reply.text == id_text(block.id)

    on_node(scenario)
