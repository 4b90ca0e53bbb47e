"""Two and three whole nodes that find each other, sync and relay over real HTTP."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from chain.consensus.params import REGTEST
from chain.gossip.blocks.block_download import OLD_REQUEST_BLOCKS_MAX
from chain.gossip.wire.address import Address
from chain.gossip.wire.hello import SERVICE_FULL_NODE
from chain.node.ledger_requests import LedgerReply
from chain.service.clock import SET_MAX
from chain.service.ledger_thread import LedgerThread
from chain.service.peers.driver import LedgerCall
from chain.service.peers.peer_status import AddedPeer
from chain.settings import Endpoint
from tests.builders import ChainBuilder, pay, spend
from tests.peers.nodes import Running, chain_of, linked, running, until

pytestmark = pytest.mark.net

Scenario = Callable[[Running, Running], Awaitable[None]]


def pair(folder: Path, scenario: Scenario, blocks: int = 0) -> None:
    """Run a scenario on two nodes, the second of which dialled the first."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            one = await stack.enter_async_context(running(folder / "one"))
            await one.take(*chain_of(blocks).blocks)
            two = await stack.enter_async_context(running(folder / "two", peers=(one.address,)))
            await linked(one, two)
            await scenario(one, two)
            assert one.failures == two.failures == []

    asyncio.run(main())


def test_a_dialled_link_is_seen_from_both_sides(tmp_path: Path) -> None:
    async def scenario(one: Running, two: Running) -> None:
        (inbound,), (outbound,) = one.service.connected(), two.service.connected()
        assert inbound.is_inbound
        assert not outbound.is_inbound
        assert inbound.agent == outbound.agent == "groat:test"
        assert outbound.address == str(one.address)

    pair(tmp_path, scenario)


@pytest.mark.parametrize("from_acceptor", [True, False])
def test_a_new_block_crosses_a_link_in_both_directions(tmp_path: Path, from_acceptor: bool) -> None:
    async def scenario(one: Running, two: Running) -> None:
        miner, other = (one, two) if from_acceptor else (two, one)
        chain = chain_of(1)
        await miner.mine(*chain.blocks)
        await until(lambda: other.height == 1, "the block at the other side")
        await miner.mine(chain.add())
        await until(lambda: other.height == 2, "the next one")

    pair(tmp_path, scenario)


@pytest.mark.parametrize("blocks", [130, pytest.param(300, marks=pytest.mark.slow)])
def test_a_new_node_syncs_all_blocks(tmp_path: Path, blocks: int) -> None:
    async def scenario(one: Running, two: Running) -> None:
        await until(lambda: two.height == blocks, "all blocks")
        assert two.core.view.tip.id == one.core.view.tip.id
        progress = two.service.sync_progress()
        assert (progress.height, progress.headers, progress.peer_height) == (blocks,) * 3

    pair(tmp_path, scenario, blocks=blocks)


def test_a_node_syncs_from_one_that_serves_sixteen_blocks_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As all nodes did before SERVICE_BLOCK_RUNS, and closed links that asked for more."""
    monkeypatch.setattr("chain.gossip.peers.greeting.SERVICES", SERVICE_FULL_NODE)
    monkeypatch.setattr("chain.gossip.blocks.serve.REPLY_BLOCKS_MAX", OLD_REQUEST_BLOCKS_MAX)

    async def scenario(one: Running, two: Running) -> None:
        await until(lambda: two.height == 100, "all blocks")
        assert not any(node.service.counts["misbehaved"] for node in (one, two))

    pair(tmp_path, scenario, blocks=100)


def test_blocks_of_a_sync_are_passed_to_the_ledger_many_at_a_time(tmp_path: Path) -> None:
    calls = 0

    def counted(thread: LedgerThread) -> LedgerCall:
        def call(function: Callable[[], list[LedgerReply]]) -> Awaitable[list[LedgerReply]]:
            nonlocal calls
            calls += 1
            return thread.call(function)

        return call

    async def main() -> None:
        async with running(tmp_path / "one") as one:
            await one.take(*chain_of(100).blocks)
            async with running(tmp_path / "two", peers=(one.address,), call=counted) as two:
                await until(lambda: two.height == 100, "all blocks")
        assert calls < 30

    asyncio.run(main())


@pytest.mark.parametrize("from_acceptor", [True, False])
def test_a_transaction_crosses_a_link_in_both_directions(
    tmp_path: Path, from_acceptor: bool
) -> None:
    async def scenario(one: Running, two: Running) -> None:
        await until(lambda: two.height == 110, "110 blocks")
        payer, other = (one, two) if from_acceptor else (two, one)
        point, coin = chain_of(110).coinbase_coin(1)
        transaction = spend([(point, coin)], [pay(coin.value - 1000)])
        await payer.pay(transaction)
        await until(lambda: other.core.view.pool.get(transaction.txid) is not None, "the payment")

    pair(tmp_path, scenario, blocks=110)


@asynccontextmanager
async def ends_of_a_line(tmp_path: Path, chain: ChainBuilder) -> AsyncIterator[list[Running]]:
    """Yield two nodes that are linked by a third; each has the chain, which the first mined."""
    async with AsyncExitStack() as stack:
        middle = await stack.enter_async_context(running(tmp_path / "middle"))
        ends = [
            await stack.enter_async_context(running(tmp_path / name, peers=(middle.address,)))
            for name in ("left", "right")
        ]
        await linked(middle, count=2)
        await ends[0].take(*chain.blocks[:-1])
        await ends[0].mine(chain.blocks[-1])
        await until(lambda: ends[1].height == len(chain.blocks), "the chain at the other end")
        yield ends


def test_blocks_pass_through_a_node_in_the_middle(tmp_path: Path) -> None:
    async def main() -> None:
        async with ends_of_a_line(tmp_path, chain_of(20)) as ends:
            assert ends[0].core.view.tip.id == ends[1].core.view.tip.id

    asyncio.run(main())


@pytest.mark.slow
def test_blocks_and_payments_pass_through_a_node_in_the_middle(tmp_path: Path) -> None:
    chain = chain_of(105)

    async def main() -> None:
        async with ends_of_a_line(tmp_path, chain) as ends:
            point, coin = chain.coinbase_coin(1)
            transaction = spend([(point, coin)], [pay(coin.value - 1000)])
            await ends[1].pay(transaction)
            pool = ends[0].core.view
            await until(lambda: ends[0].core.view.pool.count == 1, "the payment at the first end")
            await ends[0].mine(chain.add([transaction], fees=1000))
            await until(lambda: ends[1].core.view.pool.count == 0, "the payment confirmed")
            assert pool.pool.count == 1, "a view does not change at a new tip"

    asyncio.run(main())


def test_the_branch_with_more_work_wins_on_both_sides(tmp_path: Path) -> None:
    short, long = chain_of(5, extra=b"short"), chain_of(7, extra=b"long")

    async def main() -> None:
        async with AsyncExitStack() as stack:
            one = await stack.enter_async_context(running(tmp_path / "one"))
            await one.take(*short.blocks)
            two = await stack.enter_async_context(running(tmp_path / "two", peers=(one.address,)))
            await linked(one, two)
            await two.mine(*long.blocks)
            await until(lambda: one.core.view.tip.id == long.tip.id, "the longer branch")

    asyncio.run(main())


@pytest.mark.slow  # a node that stops asks to be left alone for 10 s
def test_a_peer_that_restarts_is_dialled_again_and_catches_up(tmp_path: Path) -> None:
    chain = chain_of(3)

    async def main() -> None:
        async with AsyncExitStack() as stack:
            async with running(tmp_path / "one") as one:
                address = one.address
                two = await stack.enter_async_context(running(tmp_path / "two", peers=(address,)))
                await linked(one, two)
            await until(lambda: two.service.connected() == [], "no link")
            await two.mine(*chain.blocks)
            one = await stack.enter_async_context(running(tmp_path / "one", port=address.port))
            await linked(one, two)
            await until(lambda: one.height == 3, "what it missed")

    asyncio.run(main())


@pytest.mark.slow
def test_nodes_that_mine_all_at_once_agree_without_another_block(tmp_path: Path) -> None:
    """What tells of a block may come before, after or instead of what tells of its parents."""

    async def mine_some(node: Running, number: int, seed: int) -> None:
        rng = random.Random(f"{seed} {number}")
        for turn in range(rng.randint(2, 6)):
            builder = ChainBuilder(tip=node.core.view.tip)
            await node.mine(*builder.grow(rng.randint(1, 3), extra=bytes([number, turn])))
            await asyncio.sleep(0.1 * rng.random())

    async def main(seed: int) -> None:
        async with AsyncExitStack() as stack:
            nodes: list[Running] = []
            for number in range(4):
                known = tuple(node.address for node in nodes[-2:])
                folder = tmp_path / f"{seed}-{number}"
                nodes.append(await stack.enter_async_context(running(folder, peers=known)))
            await linked(*nodes)
            mining = (mine_some(node, number, seed) for number, node in enumerate(nodes))
            await asyncio.gather(*mining)
            best = max(nodes, key=lambda node: node.core.view.tip.chain_work)
            await best.mine(ChainBuilder(tip=best.core.view.tip).add(extra=b"last"))
            await until(lambda: len({node.core.view.tip.chain_work for node in nodes}) == 1, "end")

    for seed in range(10):
        asyncio.run(main(seed))


def test_nodes_of_two_networks_never_link(tmp_path: Path) -> None:
    other = replace(REGTEST, name="other", spacing_s=601)  # same magic, other rules
    foreign = replace(REGTEST, name="foreign", magic=b"none")

    async def main() -> None:
        async with AsyncExitStack() as stack:
            one = await stack.enter_async_context(running(tmp_path / "one"))
            for params in (other, foreign):
                two = await stack.enter_async_context(
                    running(tmp_path / params.name, params=params, peers=(one.address,))
                )
                await until(
                    lambda two=two: two.service.counts["dial failed: wrong network"], "a failure"
                )
                assert two.service.connected() == []
            assert one.service.connected() == []

    asyncio.run(main())


def test_a_node_that_dials_itself_notices(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path / "one") as one:
            one.service.add_peer(one.address)
            await until(lambda: one.service.counts["dial failed: self"], "it noticed")
            assert one.service.connected() == []

    asyncio.run(main())


def test_a_peer_that_is_no_longer_wanted_is_left_alone(tmp_path: Path) -> None:
    async def scenario(one: Running, two: Running) -> None:
        two.service.remove_peer(str(one.address))
        await until(lambda: one.service.connected() == [], "no link")
        assert two.service.connected() == []
        assert two.service.counts["link opened"] == 1

    pair(tmp_path, scenario)


def test_peers_that_the_user_wants_are_shown_from_both_sides(tmp_path: Path) -> None:
    async def scenario(one: Running, two: Running) -> None:
        name, other = str(one.address), str(two.address)
        linked_to = AddedPeer(name=name, linked_to=name)
        assert two.service.added_peers() == [linked_to]
        two.service.add_peer(Address(bytes(4), 1))
        assert two.service.added_peers() == [linked_to, AddedPeer(name="0.0.0.0:1")]
        one.service.add_peer(two.address)
        inbound = AddedPeer(name=other, linked_to=other, is_inbound=True)
        assert one.service.added_peers() == [inbound], "one link is enough"
        two.service.remove_peer(name)
        await until(lambda: one.service.added_peers() != [inbound], "the link ends")
        assert two.service.added_peers() == [AddedPeer(name="0.0.0.0:1")]

    pair(tmp_path, scenario)


def test_a_peer_by_two_names_is_wanted_until_both_are_removed(tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            one = await stack.enter_async_context(running(tmp_path / "one"))
            named = Endpoint("127.1", one.address.port)  # which resolves to 127.0.0.1
            two = await stack.enter_async_context(running(tmp_path / "two", peers=(named,)))
            await linked(one, two)
            two.service.add_peer(one.address)
            assert [peer.name for peer in two.service.added_peers()] == [
                str(named),
                str(one.address),
            ]
            two.service.remove_peer(str(named))
            await two.mine(*chain_of(1).blocks)
            await until(lambda: one.height == 1, "a block over the link that stays")
            two.service.remove_peer(str(one.address))
            await until(lambda: one.service.connected() == two.service.connected() == [], "no link")

    asyncio.run(main())


def test_a_peer_that_is_tried_once_is_not_dialled_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            one = await stack.enter_async_context(running(tmp_path / "one"))
            two = await stack.enter_async_context(running(tmp_path / "two"))
            for count in (1, 2):
                two.service.try_peer(one.address)
                two.service.try_peer(one.address)
                await linked(one, two)
                assert two.service.added_peers() == []
                (link,) = two.service.connected()
                assert two.service.disconnect(link.id)
                await until(
                    lambda: one.service.connected() == two.service.connected() == [], "no link"
                )
                assert two.service.counts["link opened"] == count

    asyncio.run(main())


@pytest.mark.parametrize("by_acceptor", [True, False])
def test_a_link_that_the_user_ends_is_gone_on_both_sides(tmp_path: Path, by_acceptor: bool) -> None:
    async def scenario(one: Running, two: Running) -> None:
        (here,), (there,) = one.service.connected(), two.service.connected()
        ending, link = (one.service, here.id) if by_acceptor else (two.service, there.id)
        assert ending.disconnect(link)
        await until(
            lambda: here.id not in {p.id for p in one.service.connected()}, "no inbound link"
        )
        await until(lambda: there.id not in {p.id for p in two.service.connected()}, "no link out")
        await until(lambda: not ending.disconnect(link), "no such link")

    pair(tmp_path, scenario)


def test_what_peers_sent_and_took_is_counted(tmp_path: Path) -> None:
    async def scenario(one: Running, two: Running) -> None:
        await until(lambda: two.height == 50, "50 blocks")
        await until(lambda: two.service.connected()[0].last_block_at > 0, "the verdicts on them")
        (inbound,), (outbound,) = one.service.connected(), two.service.connected()
        size = sum(len(block.raw) for block in chain_of(50).blocks)
        assert inbound.bytes_sent > size
        assert outbound.bytes_received > size
        assert inbound.height in (None, 50)
        assert outbound.height == 50
        here, there = one.service.totals(), two.service.totals()
        assert here.sent_bytes >= inbound.bytes_sent
        assert there.received_bytes >= outbound.bytes_received
        assert here.upload_day_bytes <= here.sent_bytes
        one.service.disconnect(inbound.id)
        await until(lambda: one.service.connected() == two.service.connected() == [], "no link")
        assert one.service.totals().sent_bytes >= here.sent_bytes, "also of links that ended"
        assert two.service.totals().received_bytes >= there.received_bytes

    pair(tmp_path, scenario, blocks=50)


def test_bytes_of_a_link_are_told_by_message_and_sum_up(tmp_path: Path) -> None:
    async def scenario(one: Running, two: Running) -> None:
        await until(lambda: two.height == 50, "50 blocks")
        await until(lambda: two.service.connected()[0].last_block_at > 0, "the verdicts on them")
        (inbound,), (outbound,) = one.service.connected(), two.service.connected()
        size = sum(len(block.raw) for block in chain_of(50).blocks)
        assert size < inbound.sent["block"] <= size + 50 * 5
        assert outbound.received["block"] == inbound.sent["block"]
        assert inbound.received["getdata"] == outbound.sent["getdata"] > 0
        assert inbound.received["getheaders"] == outbound.sent["getheaders"] > 0
        for peer in (inbound, outbound):
            assert peer.bytes_sent == sum(peer.sent.values())
            assert peer.bytes_received == sum(peer.received.values())
        totals = two.service.totals()
        assert totals.sent_bytes == outbound.bytes_sent, "its questions too"
        assert totals.received_bytes == outbound.bytes_received
        assert inbound.local_address == outbound.address == str(one.address)
        assert outbound.local_address == inbound.address == outbound.seen_as
        assert inbound.network == outbound.network == "not_publicly_routable"
        assert abs(outbound.last_block_at - one.clock.unix_s()) <= 20
        assert inbound.last_block_at == 0
        for peer in (inbound, outbound):
            for at in (peer.last_sent_at, peer.last_received_at):
                assert abs(at - one.clock.unix_s()) <= 20

    pair(tmp_path, scenario, blocks=50)


@pytest.mark.parametrize("blocks", [0, 50])
def test_height_of_an_inbound_peer_that_follows_us_is_known(tmp_path: Path, blocks: int) -> None:
    async def scenario(one: Running, two: Running) -> None:
        await until(lambda: two.height == blocks, "the blocks from before")
        chain = chain_of(blocks)
        await one.mine(*chain.grow(15))
        await until(lambda: two.height == blocks + 15, "the new ones")
        await until(lambda: one.service.connected()[0].height == blocks + 15, "its height")
        (peer,) = one.service.connected()
        assert (peer.start_height, peer.common_height) == (0, blocks + 15)
        assert two.service.connected()[0].start_height == blocks

    pair(tmp_path, scenario, blocks=blocks)


def test_pings_are_sent_when_the_user_wants_them(tmp_path: Path) -> None:
    async def scenario(one: Running, _two: Running) -> None:
        assert one.service.connected()[0].last_latency_s is None
        one.service.ping_peers()
        await until(lambda: one.service.connected()[0].last_latency_s is not None, "a pong")
        (peer,) = one.service.connected()
        assert peer.latency_s == peer.last_latency_s > 0
        assert peer.ping_waits_s is None

    pair(tmp_path, scenario)


@pytest.mark.parametrize("who", [0, 1])
def test_no_link_is_made_while_the_user_wants_none(tmp_path: Path, who: int) -> None:
    async def scenario(*nodes: Running) -> None:
        one, two = nodes
        nodes[who].service.set_network_active(False)
        await until(lambda: one.service.connected() == two.service.connected() == [], "no link")
        two.service.try_peer(one.address)
        one.service.try_peer(two.address)
        waited = [asyncio.sleep(0) for _ in range(100)]
        await asyncio.gather(*waited)
        assert one.service.connected() == two.service.connected() == []
        nodes[who].service.set_network_active(True)
        two.service.try_peer(one.address)
        await linked(one, two)

    pair(tmp_path, scenario)


@pytest.mark.parametrize("unix_s", [1, 1 << 32, SET_MAX])
def test_links_last_and_are_made_whatever_time_the_user_sets(tmp_path: Path, unix_s: int) -> None:
    async def scenario(one: Running, two: Running) -> None:
        chain = chain_of(1)
        one.clock.set(unix_s)
        async with running(tmp_path / "three", peers=(one.address,)) as three:
            await linked(one, count=2)
            await linked(three)
            await one.mine(*chain.blocks)
            await until(lambda: two.height == three.height == 1, "the block at both others")
            await two.mine(chain.add())
            await until(lambda: three.height == 2 or unix_s == 1, "the next one, but for the past")
        assert one.height == (1 if unix_s == 1 else 2)
        assert all(peer.connected_at >= 0 for peer in one.service.connected())

    pair(tmp_path, scenario)
