"""What the peer port answers to whom (H4, H5, H6, H8, H9, H34 and the protocol's statuses)."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from chain.consensus.params import DEVNET, network_identity
from chain.gossip.blocks.serve import REPLY_BLOCKS_MAX
from chain.gossip.wire.frames import decode_frames, encode_frame
from chain.gossip.wire.hello import decode_hello
from chain.gossip.wire.messages import (
    WITNESS_BLOCK,
    WTX,
    BlockMessage,
    Bye,
    GetData,
    GetHeaders,
    Headers,
    Inventory,
    Message,
    NotFound,
    Ping,
    Pong,
)
from chain.primitives.numbers import NULL_HASH, Hash32
from chain.service.peers.acceptor import ServerLimits
from chain.service.peers.wire import LANE_BYTES_MAX
from tests.peers.nodes import Running, chain_of, running, until
from tests.peers.stranger import HELLO, PREFIX, Stranger, calling, linked_stranger

pytestmark = pytest.mark.net

LINK = "0" * 32


def serve(
    folder: Path, body: Callable[[Running], Awaitable[None]], blocks: int = 0, **settings: object
) -> None:
    async def main() -> None:
        async with running(folder, **settings) as node:
            await node.take(*chain_of(blocks).blocks)
            await body(node)
            assert node.failures == []

    asyncio.run(main())


def with_link(
    folder: Path, body: Callable[[Running, Stranger], Awaitable[None]], blocks: int = 0
) -> None:
    async def main(node: Running) -> None:
        async with linked_stranger(node.address) as stranger:
            await body(node, stranger)

    serve(folder, main, blocks)


def test_hello_says_who_we_are_and_nothing_else_does(tmp_path: Path) -> None:
    async def body(node: Running) -> None:
        async with calling(node.address) as client:
            answer = await client.get(f"{PREFIX}/hello")
            assert answer.status_code == 200
            assert decode_hello(answer.content).identity == HELLO.identity
            assert "server" not in answer.headers
            for path in ("/", "/docs", "/redoc", "/openapi.json", "/groat/1", "/groat/1/"):
                assert (await client.get(path)).status_code == 404
            for answer in (await client.options(f"{PREFIX}/hello"), await client.get("/docs")):
                assert not [name for name in answer.headers if name.startswith("access-control")]

    serve(tmp_path, body)


BY_HEADERS: list[tuple[str, str, int]] = [
    ("origin", "http://evil.example", 403),
    ("origin", "null", 403),
    ("sec-fetch-site", "cross-site", 403),
    ("sec-fetch-mode", "no-cors", 403),
    ("cookie", "a=b", 403),
    ("host", "evil.example", 403),
    ("host", "evil.example:9444", 403),
    ("host", "localhost", 403),
    ("host", "2130706433", 403),
    ("host", "127.1", 403),
    ("host", "0x7f.0.0.1", 403),
    ("host", "user@127.0.0.1", 403),
    ("host", "", 403),
    ("content-encoding", "gzip", 415),
    ("groat-network", "00000000", 421),
    ("groat-network", DEVNET.magic.hex(), 421),
    ("groat-network", "", 421),
    ("host", "[::1]:9444", 200),
    ("host", "192.0.2.7", 200),
]


def test_a_request_is_judged_by_its_headers_on_every_route(tmp_path: Path) -> None:
    posts = ("links", "headers", "blocks", f"links/{LINK}/up/0", "nothing")

    async def body(node: Running) -> None:
        answers = []
        for name, value, status in BY_HEADERS:
            async with calling(node.address, **{name: value}) as client:
                answers.append((name, value, (await client.get(f"{PREFIX}/hello")).status_code))
                for path in posts if status != 200 else ():
                    assert (await client.post(f"{PREFIX}/{path}")).status_code == status
        assert answers == BY_HEADERS

    serve(tmp_path, body)


def test_a_request_without_a_network_is_malformed(tmp_path: Path) -> None:
    async def body(node: Running) -> None:
        async with calling(node.address) as client:
            del client.headers["groat-network"]
            assert (await client.get(f"{PREFIX}/hello")).status_code == 400

    serve(tmp_path, body)


def test_a_configured_name_is_a_host(tmp_path: Path) -> None:
    async def body(node: Running) -> None:
        async with calling(node.address, host="node.example:1") as client:
            assert (await client.get(f"{PREFIX}/hello")).status_code == 200

    serve(tmp_path, body, names=frozenset({"node.example"}))


HANDSHAKES = {
    "ours": (HELLO.encode(), 201),
    "identity": (replace(HELLO, identity=network_identity(DEVNET)).encode(), 421),
    "magic": (replace(HELLO, magic=DEVNET.magic).encode(), 421),
    "too old": (replace(HELLO, version=0, version_min=0).encode(), 426),
    "too new": (replace(HELLO, version=9, version_min=2).encode(), 426),
    "long": (HELLO.encode() + b"x", 400),
    "cut": (HELLO.encode()[:-1], 400),
    "empty": (b"", 400),
    "oversize": (bytes(513), 413),
}


def test_a_handshake_is_answered_by_the_status_that_fits(tmp_path: Path) -> None:
    async def body(node: Running) -> None:
        statuses = {}
        async with calling(node.address) as client:
            for name, (hello, _) in HANDSHAKES.items():
                answer = await client.post(f"{PREFIX}/links", content=hello)
                statuses[name] = answer.status_code
                assert ("groat-link" in answer.headers) == (answer.status_code == 201)
                versions = "1-1" if answer.status_code == 426 else None
                assert answer.headers.get("groat-versions") == versions
        assert statuses == {name: status for name, (_, status) in HANDSHAKES.items()}

    serve(tmp_path, body)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("lane", [0, 1])
def test_a_body_over_its_lanes_limit_is_413(tmp_path: Path, lane: int, chunked: bool) -> None:
    size = LANE_BYTES_MAX[lane] + 1

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(size // 65536 + 1):
            yield bytes(65536)

    async def body(node: Running) -> None:
        async with linked_stranger(node.address) as stranger:
            path = f"{PREFIX}/links/{stranger.secret}/up/{lane}"
            content = pieces() if chunked else bytes(size)
            answer = await stranger.client.post(path, content=content, headers={"groat-seq": "1"})
            assert answer.status_code == 413
            assert await stranger.up(Ping(1), lane=lane, seq=1) == 204, "nothing was taken"

    serve(tmp_path, body)


def test_a_batch_is_taken_once_and_in_order(tmp_path: Path) -> None:
    async def body(_node: Running, stranger: Stranger) -> None:
        assert await stranger.up(Ping(1), seq=2) == 409
        assert await stranger.up(Ping(1), seq=1) == 204
        assert await stranger.up(Ping(1), seq=1) == 204, "a repeat, as its answer may be lost"
        assert await stranger.up(Ping(3), seq=3) == 409
        assert await stranger.up(Ping(2), seq=2) == 204
        assert await stranger.up(Ping(1), seq=1) == 409
        assert await stranger.up(Ping(7), lane=1, seq=1) == 204, "each lane counts for itself"
        heard = [await stranger.heard(Pong) for _ in range(3)]
        assert heard == [Pong(1), Pong(2), Pong(7)]

    with_link(tmp_path, body)


def test_batches_that_wait_for_the_one_before_are_few(tmp_path: Path) -> None:
    """H6: each holds a connection that is never shed, and only the limit of its IP was one."""

    async def body(node: Running, stranger: Stranger) -> None:
        frame = encode_frame(Ping(1))
        head = (
            f"POST {PREFIX}/links/{stranger.secret}/up/0 HTTP/1.1\r\nhost: {node.address}\r\n"
            f"groat-network: {HELLO.magic.hex()}\r\ngroat-seq: 1\r\n"
            f"expect: 100-continue\r\ncontent-length: {len(frame)}\r\n\r\n"
        )
        reader, writer = await asyncio.open_connection(node.address.host, node.address.port)
        writer.write(head.encode())
        assert b" 100 " in await reader.readuntil(b"\r\n\r\n")  # it has its turn
        waiting = {asyncio.ensure_future(stranger.up(Ping(1), seq=1)) for _ in range(4)}
        refused: set[asyncio.Future[int]] = set()
        while len(refused) < 3:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            refused |= done
        assert [task.result() for task in refused] == [429] * 3
        writer.write(frame)
        assert (await reader.readline())[9:12] == b"204"
        assert [await task for task in waiting] == [204]
        writer.close()

    with_link(tmp_path, body)


def test_a_number_that_is_none_is_400(tmp_path: Path) -> None:
    async def body(_node: Running, stranger: Stranger) -> None:
        path = f"{PREFIX}/links/{stranger.secret}/up/0"
        for seq in ("", "x", "-1", "1.0", "٣", "9" * 30):
            headers = {"groat-seq": seq.encode()}
            assert (await stranger.client.post(path, headers=headers)).status_code == 400, seq
        assert (await stranger.client.post(path)).status_code == 400

    with_link(tmp_path, body)


MALFORMED = [
    b"\x01\x00\x00\x00\x7fx",  # no such type
    b"\xff\xff\xff\xff\x12",  # a ping of 4 GB
    b"\x09\x00\x00\x00\x12" + bytes(9),  # a ping of 9 bytes
    b"\x08\x00\x00\x00\x12" + bytes(7),  # cut short
    encode_frame(Ping(1)) + b"\x00",
]


def test_a_malformed_frame_closes_that_link_alone(tmp_path: Path) -> None:
    async def body(node: Running, other: Stranger) -> None:
        for nonce, bad in enumerate(MALFORMED):
            async with linked_stranger(node.address, nonce) as stranger:
                assert await stranger.up_bytes(bad) == 400
                said = await stranger.rest()
                assert isinstance(said[-1], Bye)
                assert said[-1].code == 403
                assert await stranger.up(Ping(1), seq=1) == 410
        assert await other.up(Ping(2)) == 204
        assert await other.heard(Pong) == Pong(2)
        assert len(node.service.connected()) == 1

    with_link(tmp_path, body)


def test_an_unknown_link_is_gone(tmp_path: Path) -> None:
    async def body(node: Running, stranger: Stranger) -> None:
        client = stranger.client
        for secret in (LINK, stranger.secret[:-1], stranger.secret + "00", "zz"):
            assert (await client.get(f"{PREFIX}/links/{secret}/down")).status_code == 410
            assert (await client.delete(f"{PREFIX}/links/{secret}")).status_code == 410
            answer = await client.post(f"{PREFIX}/headers", headers={"groat-link": secret})
            assert answer.status_code == 410
        assert (await client.post(f"{PREFIX}/blocks")).status_code == 410
        assert (await client.post(f"{PREFIX}/links/{stranger.secret}/up/2")).status_code == 404
        assert len(node.service.connected()) == 1

    with_link(tmp_path, body)


def test_a_link_has_one_down_stream(tmp_path: Path) -> None:
    async def body(_node: Running, stranger: Stranger) -> None:
        path = f"{PREFIX}/links/{stranger.secret}/down"
        assert (await stranger.client.get(path)).status_code == 409
        assert stranger.down.headers["x-accel-buffering"] == "no"
        assert stranger.down.headers["cache-control"] == "no-store"

    with_link(tmp_path, body)


def test_a_goodbye_ends_a_link(tmp_path: Path) -> None:
    async def body(node: Running, stranger: Stranger) -> None:
        path = f"{PREFIX}/links/{stranger.secret}"
        assert (await stranger.client.delete(path)).status_code == 204
        await stranger.rest()
        await until(lambda: node.service.connected() == [], "no link")

    with_link(tmp_path, body)


def test_a_link_dies_with_its_down_stream(tmp_path: Path) -> None:
    async def body(node: Running) -> None:
        async with linked_stranger(node.address):
            assert len(node.service.connected()) == 1
        await until(lambda: node.service.connected() == [], "no link")

    serve(tmp_path, body)


def test_a_link_without_a_down_stream_ends(tmp_path: Path) -> None:
    async def body(node: Running) -> None:
        async with calling(node.address) as client:
            answer = await client.post(f"{PREFIX}/links", content=HELLO.encode())
            assert answer.status_code == 201
            assert len(node.service.connected()) == 1
            await until(lambda: node.service.connected() == [], "no link")
            path = f"{PREFIX}/links/{answer.headers['groat-link']}/down"
            assert (await client.get(path)).status_code == 410

    serve(tmp_path, body, server=ServerLimits(stream_start_s=0.1))


def test_handshakes_of_one_address_are_limited(tmp_path: Path) -> None:
    async def body(node: Running) -> None:
        async with calling(node.address) as client:
            statuses = []
            for _ in range(4):
                answer = await client.post(f"{PREFIX}/links", content=HELLO.encode())
                statuses.append((answer.status_code, "retry-after" in answer.headers))
            assert statuses == [(201, False), (201, False), (503, True), (429, True)]
            hellos = [(await client.get(f"{PREFIX}/hello")).status_code for _ in range(3)]
            assert hellos == [200, 200, 429]

    limits = ServerLimits(hello_per_minute=2, links_per_minute=3, unfinished_per_address_max=2)
    serve(tmp_path, body, server=limits)


def test_handshakes_whose_bodies_come_late_are_limited_too(tmp_path: Path) -> None:
    """H6: all were admitted before the first was counted."""
    hello = HELLO.encode()

    async def body(node: Running) -> None:
        head = (
            f"POST {PREFIX}/links HTTP/1.1\r\nhost: {node.address}\r\n"
            f"groat-network: {HELLO.magic.hex()}\r\naccept-encoding: identity\r\n"
            f"expect: 100-continue\r\ncontent-length: {len(hello)}\r\n\r\n"
        )
        dialled: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        for _ in range(3):
            reader, writer = await asyncio.open_connection(node.address.host, node.address.port)
            writer.write(head.encode())
            assert b" 100 " in await reader.readuntil(b"\r\n\r\n")  # it waits for the body
            dialled.append((reader, writer))
        statuses = []
        for reader, writer in dialled:
            writer.write(hello)
            statuses.append((await reader.readline())[9:12])
            writer.close()
            await writer.wait_closed()
        assert statuses == [b"201", b"201", b"503"]

    serve(tmp_path, body, server=ServerLimits(unfinished_per_address_max=2))


def test_held_handshakes_shut_nobody_out_and_cost_their_own_network(tmp_path: Path) -> None:
    """H6: a few addresses that never open their streams held every place of a handshake."""

    async def body(node: Running) -> None:
        async with AsyncExitStack() as stack:
            held = []
            for number in range(8):  # of one /16, and of another that opens fewer
                source = f"127.{1 if number < 5 else 2}.0.{number + 1}"
                client = await stack.enter_async_context(calling(node.address, source))
                answer = await client.post(f"{PREFIX}/links", content=HELLO.encode())
                assert answer.status_code == 201
                held.append((client, answer.headers["groat-link"]))
            await stack.enter_async_context(linked_stranger(node.address, 1, "127.3.0.1"))
            alive = [await opens(client, secret) for client, secret in held]
            assert alive == [False] * 2 + [True] * 6

    serve(tmp_path, body, server=ServerLimits(unfinished_max=7))


def test_local_handshakes_without_limits_of_their_own_cost_each_other(tmp_path: Path) -> None:
    """H6: each was the first of its /16, so that the oldest of all had to go."""

    async def body(node: Running) -> None:
        async with AsyncExitStack() as stack:
            held = []
            for source in ("127.1.0.1", "127.9.0.1", "127.8.0.1", "127.7.0.1", "127.6.0.1"):
                client = await stack.enter_async_context(calling(node.address, source))
                answer = await client.post(f"{PREFIX}/links", content=HELLO.encode())
                assert answer.status_code == 201
                held.append((client, answer.headers["groat-link"]))
            assert [await opens(client, secret) for client, secret in held[:2]] == [True, False]

    limits = ServerLimits(unfinished_max=4, exempt=lambda ip: str(ip) != "127.1.0.1")
    serve(tmp_path, body, server=limits)


async def opens(client: httpx.AsyncClient, secret: str) -> bool:
    """Tell whether a handshake still leads to a down stream."""
    async with client.stream("GET", f"{PREFIX}/links/{secret}/down") as down:
        return down.status_code == 200


def test_headers_and_blocks_come_in_the_answer(tmp_path: Path) -> None:
    chain = chain_of(20)

    async def body(_node: Running, stranger: Stranger) -> None:
        answer = await stranger.ask("headers", GetHeaders((chain.tip.ancestor(0).id,), NULL_HASH))
        assert answer.status_code == 200
        (headers,) = decode_frames(answer.content)
        assert isinstance(headers, Headers)
        assert [header.id for header in headers.headers] == [block.id for block in chain.blocks]
        wanted = [Inventory(WITNESS_BLOCK, block.id) for block in chain.blocks[:2]]
        missing = Inventory(WITNESS_BLOCK, Hash32(bytes(31) + b"x"))
        answer = await stranger.ask("blocks", GetData((*wanted, missing)))
        assert answer.status_code == 200
        messages = decode_frames(answer.content)
        blocks = [message for message in messages if isinstance(message, BlockMessage)]
        assert [block.raw for block in blocks] == [block.raw for block in chain.blocks[:2]]
        assert NotFound((missing,)) in messages

    with_link(tmp_path, body, blocks=20)


def test_a_request_for_something_else_closes_the_link(tmp_path: Path) -> None:
    headers = GetHeaders((NULL_HASH,), NULL_HASH)
    block = GetData((Inventory(WITNESS_BLOCK, NULL_HASH),))
    transaction = GetData((Inventory(WTX, NULL_HASH),))
    wrong: list[tuple[str, tuple[Message, ...]]] = [
        ("headers", ()),
        ("headers", (Ping(1),)),
        ("headers", (headers, headers)),
        ("headers", (block,)),
        ("blocks", (headers,)),
        ("blocks", (GetData(()),)),
        ("blocks", (transaction,)),
    ]

    async def body(node: Running) -> None:
        for nonce, (kind, messages) in enumerate(wrong):
            async with linked_stranger(node.address, nonce) as stranger:
                assert (await stranger.ask(kind, *messages)).status_code == 400, (kind, messages)
                assert isinstance((await stranger.rest())[-1], Bye)

    serve(tmp_path, body)


def test_a_request_for_more_blocks_than_a_reply_may_have_is_413(tmp_path: Path) -> None:
    async def body(_node: Running, stranger: Stranger) -> None:
        ids = [Hash32(number.to_bytes(32)) for number in range(REPLY_BLOCKS_MAX + 1)]
        items = tuple(Inventory(WITNESS_BLOCK, block_id) for block_id in ids)
        assert (await stranger.ask("blocks", GetData(items[:-1]))).status_code == 200
        assert (await stranger.ask("blocks", GetData(items))).status_code == 413

    with_link(tmp_path, body)


def test_a_node_that_stops_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as node:
            address = node.address
            async with linked_stranger(address) as stranger:
                stopping = asyncio.create_task(node.service.stop())
                assert (await stranger.rest())[-1] == Bye(503, 10)
            await stopping
            with pytest.raises(httpx.ConnectError):
                async with calling(address) as client:
                    await client.get(f"{PREFIX}/hello")

    asyncio.run(main())


def test_while_the_ledger_is_busy_peers_are_answered(tmp_path: Path) -> None:
    """H34: a block that takes long to validate holds up no hello, handshake or ping."""

    async def body(node: Running) -> None:
        gate = threading.Event()
        validating = asyncio.ensure_future(node.thread.call(gate.wait))
        try:
            async with linked_stranger(node.address) as stranger:
                assert await stranger.up(Ping(7)) == 204
                assert await stranger.heard(Pong) == Pong(7)
                assert (await stranger.client.get(f"{PREFIX}/hello")).status_code == 200
                assert not validating.done()
        finally:
            gate.set()
            await validating

    serve(tmp_path, body)
