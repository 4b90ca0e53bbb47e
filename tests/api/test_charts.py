"""The explorer's charts and its page of branches."""

import re

import pytest

from chain.consensus.params import REGTEST
from chain.primitives.address import script_address
from chain.primitives.numbers import id_text
from chain.service.api.pages.charts import (
    BAND_STARTS,
    CHART_BLOCKS,
    HEIGHT,
    NEXT_BLOCKS_MAX,
    QR_BORDER,
    WIDTH,
    bars,
    charts,
    fee_bands,
    line,
    next_blocks,
    qr,
)
from tests.api.harness import OTHER, payment
from tests.builders import ChainBuilder, assemble, coinbase, commit


class PoolOf:
    """A mempool of entries, for the chart of the next blocks."""

    def __init__(self, *entries):
        self._entries = [BlockTreeEntry(*entry) for entry in entries]

    def entries(self):
        return self._entries


class BlockTreeEntry:
    def __init__(self, rate, vsize):
        self.mining_feerate, self.vsize, self.fee = rate, vsize, rate * vsize // 1000


def test_line_ends_at_both_sides_and_its_highest_is_near_the_top():
    assert line([0, 5, 10]) == f"M0.0 {HEIGHT}.0L{WIDTH / 2} 37.0L{WIDTH}.0 4.0"


def test_values_that_are_all_zero_make_a_line_at_the_bottom():
    assert line([0.0, 0.0]) == f"M0.0 {HEIGHT}.0L{WIDTH}.0 {HEIGHT}.0"


def test_each_value_has_a_bar():
    assert bars([1, 2]) == f"M75.0 {HEIGHT}V37.0M225.0 {HEIGHT}V4.0"


def test_the_time_between_blocks_begins_with_that_of_blocks_1_and_2():
    chain = ChainBuilder()
    start = chain.tip.header.time + 1_000_000  # the genesis block is far back on regtest
    for height in range(3):
        chain.add(time=start + 5 * height)
    [spans] = [one for one in charts(chain.tip) if one.title == "Time between blocks"]
    assert (spans.blocks, spans.highest) == (2, "5 s")


@pytest.mark.parametrize(("blocks", "shown"), [(0, 0), (1, 0), (2, 3), (3, 3)])
def test_charts_wait_for_two_points(blocks, shown):
    chain = ChainBuilder()
    chain.grow(blocks)
    assert len(charts(chain.tip)) == shown


def test_charts_hold_the_last_blocks_only():
    chain = ChainBuilder()
    chain.grow(CHART_BLOCKS + 10)
    for chart in charts(chain.tip):
        assert chart.blocks == CHART_BLOCKS
        assert len(re.findall("[LMV]", chart.path)) in {CHART_BLOCKS, 2 * CHART_BLOCKS}


def test_next_blocks_are_filled_best_paying_first_and_the_last_holds_the_rest():
    pool = PoolOf(*((1000 * n, 600_000) for n in range(1, NEXT_BLOCKS_MAX + 4)))
    blocks = next_blocks(pool)
    assert len(blocks) == NEXT_BLOCKS_MAX
    assert [block.count for block in blocks] == [1] * (NEXT_BLOCKS_MAX - 1) + [4]
    assert [block.highest for block in blocks] == [9.0, 8.0, 7.0, 6.0, 5.0, 4.0]
    assert (blocks[-1].lowest, blocks[-1].fullness) == (1.0, 2.4)
    assert next_blocks(PoolOf()) == []


def test_block_is_full_at_a_million_vbytes():
    one = next_blocks(PoolOf((5, 500_000), (5, 500_000)))
    two = next_blocks(PoolOf((5, 500_000), (5, 500_001)))
    assert ([b.count for b in one], [b.count for b in two]) == ([2], [1, 1])


def test_fee_bands_start_where_they_say_and_leave_no_gap():
    bands = fee_bands(PoolOf((999, 10), (1000, 20), (4999, 40), (5000, 30), (5001, 10)))
    assert [(b.start, b.count, b.vsize) for b in bands] == [
        (5, 2, 40), (3, 1, 40), (2, 0, 0), (1, 1, 20), (0, 1, 10),
    ]  # fmt: skip
    assert [b.share for b in bands] == [1.0, 1.0, 0.0, 0.5, 0.25]
    assert fee_bands(PoolOf((10**9, 5)))[0].start == BAND_STARTS[-1]
    assert fee_bands(PoolOf()) == []


def test_qr_code_has_its_three_corners():
    path, side = qr(script_address(OTHER.script, REGTEST.address_prefixes).upper())
    dots = {(int(x), int(y)) for x, y in re.findall(r"M(\d+) (\d+)h1v1h-1z", path)}
    first, last = QR_BORDER, side - QR_BORDER - 1
    assert {(first, first), (first, last), (last, first)} <= dots
    assert min(x for x, _ in dots) == min(y for _, y in dots) == first
    assert max(x for x, _ in dots) == last


def test_pages_hold_their_pictures(on_node):
    async def scenario(node):
        await node.grow(101)
        await node.pool(payment(node))
        home, pool = await node.text("/"), await node.text("/mempool")
        assert home.count('class="chart"') == 3
        assert pool.count('class="next"') == 1
        assert "1 transaction<" in pool
        assert 'class="qr"' in await node.text(
            f"/address/{script_address(OTHER.script, REGTEST.address_prefixes)}"
        )

    on_node(scenario)


def test_branches_that_lost_are_listed_with_their_length(on_node):
    async def scenario(node):
        await node.grow(5)
        assert "None among the" in await node.text("/branches")
        lost = node.chain.fork(3)
        await node.connect(*lost.grow(2, extra=b"lost"))
        only_header = node.chain.fork(1).add(extra=b"header")
        await node.context.call(
            lambda: node.context.node.submit_headers([only_header.header], 1_800_000_000)
        )
        bad = assemble(node.chain.tip, commit([coinbase(6, 51 * 10**8)]))
        assert await node.rpc("submitblock", bad.raw.hex()) == "bad-cb-amount"
        page = await node.text("/branches")
        rows = re.findall(
            r"<tr><td>(\d+)</td>.*?title=\"([0-9a-f]{64}).*?<td class=\"n\">(\d+)", page
        )
        assert rows == [
            ("6", id_text(bad.id), "1"),
            ("5", id_text(only_header.id), "1"),
            ("4", id_text(lost.tip.id), "2"),
        ]
        for words in ("stored, less work", "only its header is here", "breaks a rule"):
            assert page.count(words) == 1

    on_node(scenario)
