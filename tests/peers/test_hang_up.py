"""A peer that hangs up anywhere leaves nothing in the log, whatever it had asked for (H2)."""

import asyncio

import pytest

from chain.consensus.params import REGTEST
from tests.peers.nodes import running, until
from tests.peers.stranger import HELLO, PREFIX, calling, linked_stranger
from tests.raw_http import chunked_get, half_post, hang_up

pytestmark = pytest.mark.net
NETWORK = f"groat-network: {REGTEST.magic.hex()}"


@pytest.mark.parametrize("with_reset", [False, True], ids=["end", "reset"])
def test_a_peer_that_hangs_up_within_a_body_is_no_fault_in_the_log(tmp_path, caplog, with_reset):
    async def main() -> None:
        async with running(tmp_path) as node, linked_stranger(node.address) as stranger:
            link = f"groat-link: {stranger.secret}"
            bodies = [
                half_post(f"{PREFIX}/links", NETWORK),
                half_post(f"{PREFIX}/links/{stranger.secret}/up/0", NETWORK, "groat-seq: 1"),
                half_post(f"{PREFIX}/links/{stranger.secret}/up/1", NETWORK, "groat-seq: 1"),
                half_post(f"{PREFIX}/headers", NETWORK, link),
                half_post(f"{PREFIX}/blocks", NETWORK, link),
                half_post(f"{PREFIX}/links/{stranger.secret}", NETWORK, method="DELETE"),
                half_post(f"{PREFIX}/hello", NETWORK, method="GET"),
            ]
            for parts in bodies:
                await hang_up(node.address.port, *parts, with_reset=with_reset)

    asyncio.run(main())
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_body_behind_a_down_stream_is_no_fault_in_the_log(tmp_path, caplog):
    async def main() -> None:
        async with running(tmp_path) as node, calling(node.address) as client:
            admitted = await client.post(f"{PREFIX}/links", content=HELLO.encode())
            down = f"{PREFIX}/links/{admitted.headers['groat-link']}/down"
            await hang_up(node.address.port, *chunked_get(down, NETWORK))
            await until(lambda: not node.service.connected(), "the link ends with its stream")

    asyncio.run(main())
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
