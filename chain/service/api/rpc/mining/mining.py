"""JSON-RPC: mining, except for templates and submission."""

from typing import Final

from chain.consensus.work import next_bits
from chain.primitives.compact import difficulty
from chain.service.api.error_codes import Code
from chain.service.api.exact_json import Json
from chain.service.api.queries.hash_rate import network_rate
from chain.service.api.rpc.core_json import target_text
from chain.service.api.rpc.errors import RpcError
from chain.service.api.rpc.method import Method
from chain.service.api.snapshot import NodeSnapshot


def getmininginfo(snapshot: NodeSnapshot) -> Json:
    """Return the state of mining."""
    api, tip = snapshot.api, snapshot.tip
    bits = next_bits(tip.height, tip.header.time, tip.anchor_time, api.params)
    return {
        "blocks": tip.height,
        "bits": f"{tip.header.bits:08x}",
        "difficulty": difficulty(tip.header.bits),
        "target": target_text(tip.header.bits),
        "networkhashps": network_rate(tip),
        "pooledtx": snapshot.view.pool.count,
        "chain": api.params.name,
        "next": {
            "height": tip.height + 1,
            "bits": f"{bits:08x}",
            "difficulty": difficulty(bits),
            "target": target_text(bits),
        },
        "localhashps": api.miner.info().hashes_per_second,
        "warnings": [],
    }


def getnetworkhashps(snapshot: NodeSnapshot, nblocks: int = 120, height: int = -1) -> float:
    """Return the network's hashes per second, estimated from the last blocks up to a height."""
    if nblocks < -1 or nblocks == 0:
        problem = "Invalid nblocks. Must be a positive number or -1."
        raise RpcError(Code.INVALID_PARAMETER, problem)
    if height < -1 or height > snapshot.tip.height:
        raise RpcError(Code.INVALID_PARAMETER, "Block does not exist at specified height")
    last = snapshot.tip if height == -1 else snapshot.tip.ancestor(height)
    return network_rate(last, last.height if nblocks == -1 else nblocks)


METHODS: Final = (
    Method(getmininginfo, "Mining"),
    Method(getnetworkhashps, "Mining"),
)
