"""JSON-RPC: what miners use, but for templates and what they hand in."""

import secrets
from typing import Final

from anyio import to_thread

from chain.consensus.entry import Entry
from chain.consensus.errors import InvalidError
from chain.consensus.work import next_bits
from chain.mining.hashlib_kernel import HashlibKernel
from chain.node.template import Template
from chain.primitives.block import Block, Header
from chain.primitives.numbers import id_text
from chain.service.api.context import ApiContext
from chain.service.api.esplora.shapes import difficulty
from chain.service.api.moment import Moment
from chain.service.api.rpc.errors import Code, RpcError
from chain.service.api.rpc.shapes import target_text
from chain.service.api.rpc.values import Json, address_argument
from chain.service.api.submit import submit_block

GENERATED_BLOCKS_MAX: Final = 10_000
_TRIES_MAX: Final = 1 << 32


async def generatetoaddress(
    api: ApiContext, nblocks: int, address: str, maxtries: int = 1_000_000
) -> list[str]:
    """Mine blocks that pay to an address, on regtest only, and give their ids."""
    script = address_argument(address, api.params.bech32_prefix)
    if api.params.name != "regtest":
        raise RpcError(Code.MISC, "generatetoaddress works on regtest only")
    if not 0 <= nblocks <= GENERATED_BLOCKS_MAX:
        problem = f"nblocks must be between 0 and {GENERATED_BLOCKS_MAX}"
        raise RpcError(Code.INVALID_PARAMETER, problem)
    ids: list[str] = []
    tries = min(max(maxtries, 0), _TRIES_MAX)
    for _ in range(nblocks):
        try:
            template = await api.call(lambda: api.node.template(script, api.clock()))
        except InvalidError as error:
            raise RpcError(Code.INTERNAL, f"CreateNewBlock: {error.reject_reason}") from error
        block = await to_thread.run_sync(_solve, template, tries)
        if block is None:
            break
        try:
            await submit_block(api, block)
        except InvalidError as error:
            raise RpcError(Code.INTERNAL, f"block not accepted: {error.reject_reason}") from error
        ids.append(id_text(block.id))
    return ids


def getmininginfo(moment: Moment) -> Json:
    """Describe the state of mining."""
    api, tip = moment.api, moment.tip
    bits = next_bits(tip.height, tip.header.time, tip.anchor_time, api.params)
    return {
        "blocks": tip.height,
        "bits": f"{tip.header.bits:08x}",
        "difficulty": difficulty(tip.header.bits),
        "target": target_text(tip.header.bits),
        "networkhashps": network_rate(tip),
        "pooledtx": moment.view.pool.count,
        "chain": api.params.name,
        "next": {
            "height": tip.height + 1,
            "bits": f"{bits:08x}",
            "difficulty": difficulty(bits),
            "target": target_text(bits),
        },
        "localhashps": api.mining().hashes_per_second,
        "warnings": [],
    }


def getnetworkhashps(moment: Moment, nblocks: int = 120, height: int = -1) -> float:
    """Estimate the network's hashes a second from the last blocks up to a height."""
    if nblocks < -1 or nblocks == 0:
        problem = "Invalid nblocks. Must be a positive number or -1."
        raise RpcError(Code.INVALID_PARAMETER, problem)
    if height < -1 or height > moment.tip.height:
        raise RpcError(Code.INVALID_PARAMETER, "Block does not exist at specified height")
    last = moment.tip if height == -1 else moment.tip.ancestor(height)
    return network_rate(last, last.height if nblocks == -1 else nblocks)


def network_rate(last: Entry, blocks: int = 120) -> float:
    """Return the work of the last `blocks` over the time they took (GetNetworkHashPS)."""
    count = min(blocks, last.height)
    if count <= 0:
        return 0.0
    times, entry = [last.header.time], last
    first = last.ancestor(last.height - count)
    while entry is not first and entry.parent is not None:
        entry = entry.parent
        times.append(entry.header.time)
    took_s = max(times) - min(times)
    return (last.chain_work - first.chain_work) / took_s if took_s else 0.0


def _solve(template: Template, tries: int) -> Block | None:
    extranonce = secrets.randbits(64)  # or a block that was invalidated would be made again
    header = template.header(extranonce, template.time)
    nonce = HashlibKernel().search(header.encode(), template.target, 0, tries)
    if nonce is None:
        return None
    solved = Header(
        header.version, header.previous, header.merkle_root, header.time, header.bits, nonce
    )
    return template.block(solved, extranonce)
