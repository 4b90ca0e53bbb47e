"""JSON-RPC `logging`, and the lines of the categories that the API writes."""

import pytest

from chain.debug_categories import CATEGORIES
from chain.primitives.numbers import id_text
from chain.service.debug_lines import log_update
from chain.service.debug_log import active, set_active
from tests.api.harness import payment
from tests.debug_lines import lines

pytestmark = pytest.mark.usefixtures("debug_log_off")


def test_logging_turns_categories_on_and_off_and_tells_of_all(on_node):
    off = dict.fromkeys(CATEGORIES, False)

    async def scenario(node):
        assert await node.rpc("logging") == off
        assert await node.rpc("logging", ["net", "rpc"]) == {**off, "net": True, "rpc": True}
        assert await node.rpc("logging", ["all"], ["net"]) == {
            name: name != "net" for name in CATEGORIES
        }
        assert await node.rpc("logging", [], ["1"]) == off

    on_node(scenario)


def test_an_unknown_category_is_refused_and_changes_nothing(on_node):
    async def scenario(node):
        for arguments in (["nett"],), (["net"], ["nett"]):
            error = {"code": -8, "message": "unknown logging category nett"}
            assert await node.rpc_error("logging", *arguments) == error
        assert active() == frozenset()

    on_node(scenario)


def test_calls_are_logged_without_their_arguments_only_while_rpc_is_on(on_node, caplog):
    async def scenario(node):
        await node.rpc("echo", "secret")
        assert lines(caplog, "rpc") == []
        set_active({"rpc"})
        await node.rpc("echo", "secret")
        await node.rpc_error("getblockhash", 77)
        await node.rpc_error("no\nmethod")
        first, second, third = lines(caplog, "rpc")
        assert first.startswith("echo: ok, ")
        assert second.startswith("getblockhash: error -8, ")
        assert third.startswith("no method: error -32601, ")
        assert "secret" not in caplog.text

    on_node(scenario)


def test_what_enters_and_leaves_the_mempool_is_logged_only_while_it_is_on(on_node, caplog):
    async def scenario(node):
        node.context.node.listeners.append(log_update)
        await node.grow(101)
        first, second = payment(node), payment(node, height=2)
        await node.pool(first)
        assert lines(caplog, "mempool") == []
        set_active({"mempool"})
        await node.mine([first])
        await node.rpc("sendrawtransaction", second.raw.hex())
        assert lines(caplog, "mempool") == [
            f"removed {id_text(first.txid)}: confirmed",
            f"accepted {id_text(second.txid)}: fee 1000, {second.vsize} vbytes",
        ]

    on_node(scenario)


def test_a_refused_transaction_is_logged_only_while_mempool_is_on(on_node, caplog):
    async def scenario(node):
        await node.grow(1)  # its coin is not mature
        tx = payment(node)
        await node.rpc_error("sendrawtransaction", tx.raw.hex())
        assert lines(caplog, "mempool") == []
        set_active({"mempool"})
        await node.rpc_error("sendrawtransaction", tx.raw.hex())
        [line] = lines(caplog, "mempool")
        assert line.startswith("refused ")
        assert "premature-spend-of-coinbase" in line

    on_node(scenario)
