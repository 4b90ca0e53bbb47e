"""A reply that the client has is not sent again."""

import asyncio

import pytest

from chain.primitives.numbers import id_text
from chain.service.api.access import budget

REPLIES = ("/api/blocks/tip/height", "/api/tx/{txid}", "/api/block/{block}/raw", "/api/mempool")


def named(node, path):
    block = node.chain.blocks[1]
    return path.format(txid=id_text(block.transactions[0].txid), block=id_text(block.id))


def test_a_reply_with_the_named_tag_is_a_304_until_it_changes(on_node):
    async def scenario(node):
        await node.grow(3)
        first = await node.get("/api/blocks/tip/height")
        tag = first.headers["etag"]
        again = await node.get("/api/blocks/tip/height", headers={"If-None-Match": tag})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
        assert again.headers["cache-control"] == first.headers["cache-control"]
        assert not {"content-length", "content-type"} & set(again.headers)
        await node.grow(1)
        later = await node.get("/api/blocks/tip/height", headers={"If-None-Match": tag})
        assert (later.status_code, later.text) == (200, "4")
        assert later.headers["etag"] != tag

    on_node(scenario)


@pytest.mark.parametrize(
    ("form", "status"),
    [("{}", 304), ("W/{}", 304), ('"x", {} , "y"', 304), ("*", 304), ('"x"', 200), ("", 200)],
)
def test_every_form_of_if_none_match_is_understood(on_node, form, status):
    async def scenario(node):
        await node.grow(3)
        for path in REPLIES:
            tag = (await node.get(named(node, path))).headers["etag"]
            headers = {"If-None-Match": form.format(tag)}
            assert (await node.get(named(node, path), headers=headers)).status_code == status, path

    on_node(scenario)


def test_an_error_has_no_tag_and_is_sent_again(on_node):
    async def scenario(node):
        reply = await node.get("/api/tx/x", headers={"If-None-Match": "*"})
        assert reply.status_code == 400
        assert "etag" not in reply.headers

    on_node(scenario)


def test_a_large_reply_that_is_not_sent_gives_its_bytes_back(on_node, monkeypatch):
    monkeypatch.setattr(budget, "LARGE_BYTES_MIN", 1)

    async def scenario(node):
        await node.grow(3)
        path = named(node, "/api/block/{block}/raw")
        tag = (await node.get(path)).headers["etag"]
        assert (await node.get(path, headers={"If-None-Match": tag})).status_code == 304
        await asyncio.sleep(0)
        assert node.context.limits.budget.taken == 0

    on_node(scenario)
