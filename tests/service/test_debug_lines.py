"""The debug lines about blocks, transactions and requests, on and off; and that of a slow block."""

import asyncio
import logging
from collections import deque
from collections.abc import Iterator

import pytest

from chain.consensus.params import REGTEST
from chain.gossip.actions import ValidateBlocks, ValidateTx
from chain.gossip.events import Token
from chain.gossip.wire.messages import BlockMessage
from chain.ledger.timing import BlockTiming
from chain.node.ledger_requests import LedgerRequestHandler
from chain.node.node import Node
from chain.node.policy import Policy
from chain.primitives.numbers import id_text
from chain.service import debug_lines
from chain.service.debug_lines import log_if_slow, log_template, log_update, with_lines
from chain.service.debug_log import set_active
from chain.service.http.access_log import AccessLog
from tests.builders import KEY, ChainBuilder, pay, spend
from tests.debug_lines import lines
from tests.ledger.chains import NOW, memory_ledger

pytestmark = [
    pytest.mark.parametrize("is_active", [False, True]),
    pytest.mark.usefixtures("debug_log_off"),
]


@pytest.fixture
def node() -> Iterator[Node]:
    ledger = memory_ledger()
    made = Node(ledger, Policy())
    made.listeners.append(log_update)
    yield made
    ledger.close()


def test_a_peer_s_block_has_a_verdict_and_a_move_while_validation_is_on(node, caplog, is_active):
    set_active({"validation"} if is_active else ())
    [block] = ChainBuilder().grow(1)
    answer = with_lines(LedgerRequestHandler(node).handle_next)
    answer(deque([ValidateBlocks(Token(1), (BlockMessage(block.raw),))]), NOW)
    logged = lines(caplog, "validation")
    assert len(logged) == (2 if is_active else 0)
    if is_active:
        assert logged[0] == f"connected 1 {id_text(block.id)}: 1 transaction"
        assert logged[1].startswith(f"block {id_text(block.id)} from a peer: ")
        assert logged[1].endswith(" ms, accepted")


def test_a_peer_s_refused_transaction_has_a_line_while_mempool_is_on(node, caplog, is_active):
    set_active({"mempool"} if is_active else ())
    [block] = ChainBuilder().grow(1)
    coinbase = block.transactions[0]
    with_lines(LedgerRequestHandler(node).handle_next)(deque([ValidateTx(Token(1), coinbase)]), NOW)
    expected = [f"refused {id_text(coinbase.txid)} from a peer: coinbase"]
    assert lines(caplog, "mempool") == (expected if is_active else [])


def test_a_confirmed_transaction_that_is_not_final_after_a_reorganisation_has_a_line(
    node, caplog, is_active
):
    set_active({"mempool"} if is_active else ())
    chain = ChainBuilder()
    chain.grow(102)
    point, coin = chain.coinbase_coin(1)
    outputs = [pay(coin.value - 1000, KEY)]
    tx = spend([(point, coin)], outputs, lock_time=102, sequence=0)
    chain.add([tx], fees=1000)
    for block in chain.blocks:
        node.submit_block(block, NOW)
    node.invalidate_block(node.view.tip.ancestor(102), NOW)
    expected = [f"removed {id_text(tx.txid)}: reorganised"]
    assert lines(caplog, "mempool") == (expected if is_active else [])


def test_a_template_has_a_line_while_mining_is_on(node, caplog, is_active):
    set_active({"mining"} if is_active else ())
    log_template(node.template(KEY.script, NOW))
    expected = ["template for block 1: 1 transaction, fees 0"]
    assert lines(caplog, "mining") == (expected if is_active else [])


def test_a_request_has_a_line_without_its_query_while_http_is_on(caplog, is_active):
    set_active({"http"} if is_active else ())

    async def app(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 204, "headers": []})

    async def ignore(_message):
        pass

    scope = {"type": "http", "method": "GET", "path": "/a\nb", "query_string": b"secret"}
    asyncio.run(AccessLog(app)(scope, None, ignore))
    logged = lines(caplog, "http")
    assert len(logged) == is_active
    if is_active:
        assert logged[0].startswith("GET /a b: 204, ")


def test_a_block_over_the_limit_has_a_line_with_its_parts(caplog, is_active):
    caplog.set_level(logging.INFO, debug_lines.__name__)
    ledger = memory_ledger()
    timings: list[BlockTiming] = []
    ledger.timing_listeners.append(timings.append)
    blocks = ChainBuilder(REGTEST).grow(3)
    ledger.add_block(blocks[0], NOW)
    list(ledger.add_blocks(blocks[1:], NOW))
    ledger.add_block(blocks[0], NOW)  # known: connects nothing
    ledger.close()
    assert [timing.block_id for timing in timings] == [block.id for block in blocks]
    for timing in timings:
        assert timing.check_s > 0
        assert timing.connect_s > 0
        assert timing.verify_s > 0
        assert timing.write_s > 0
    [timing, *_] = timings
    timing.check_s, timing.connect_s, timing.verify_s = 0.01, 0.02, 0.03
    timing.write_s = debug_lines.SLOW_BLOCK_S - 0.06 + (0.001 if is_active else -0.001)
    log_if_slow(timing)
    expected = (
        f"block 1 {id_text(blocks[0].id)} took 101 ms: check 10, connect 20, verify 30, write 41"
    )
    logged = [r.getMessage() for r in caplog.records if r.name == debug_lines.__name__]
    assert logged == ([expected] if is_active else [])
