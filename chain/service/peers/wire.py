"""The HTTP conventions of both sides of a link: paths, header names, sizes."""

from typing import Final

from chain.gossip.blocks.serve import REPLY_BLOCKS_MAX
from chain.gossip.wire.frames import FRAME_HEADER_BYTES
from chain.gossip.wire.hello import HELLO_BYTES_MAX
from chain.gossip.wire.messages import BLOCK_BYTES_MAX, WITNESS_BLOCK, GetData, GetHeaders, Message

PREFIX: Final = "/groat/1"
NETWORK_HEADER: Final = "groat-network"  # 8 hex digits of magic, in every request
LINK_HEADER: Final = "groat-link"  # the link's secret, a bearer token; never logged
SEQ_HEADER: Final = "groat-seq"  # counts the requests of one lane from 1
VERSIONS_HEADER: Final = "groat-versions"

CONTROL: Final = 0
BULK: Final = 1
LANE_BYTES_MAX: Final = (256 * 1024, BLOCK_BYTES_MAX + 64 * 1024)
HEADERS_REQUEST_BYTES_MAX: Final = FRAME_HEADER_BYTES + GetHeaders.bytes_max
BLOCKS_REQUEST_BYTES_MAX: Final = FRAME_HEADER_BYTES + 3 + 36 * REPLY_BLOCKS_MAX
REPLY_BYTES_MAX: Final = HELLO_BYTES_MAX
REQUESTS_MAX: Final = 2  # of one kind or lane, of one link, at a time


def request_kind(message: Message) -> str | None:
    """Return the path under PREFIX that answers this message, if there is one."""
    if isinstance(message, GetHeaders):
        return "headers"
    if isinstance(message, GetData) and 0 < len(message.items) <= REPLY_BLOCKS_MAX:
        blocks = all(item.kind == WITNESS_BLOCK for item in message.items)
        return "blocks" if blocks else None
    return None
