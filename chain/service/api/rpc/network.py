"""JSON-RPC: peers."""

import time
from collections.abc import Collection, Container
from typing import Final

from chain.gossip.address import Address, parse_address
from chain.gossip.upload import DAY_S
from chain.service.api.context import ApiContext
from chain.service.api.moment import Moment
from chain.service.api.rpc.arguments import Int64
from chain.service.api.rpc.errors import Code, RpcError
from chain.service.api.rpc.method import usage_error
from chain.service.api.rpc.values import Coins, Json
from chain.settings import parse_endpoint

ADDED_MAX: Final = 64  # nodes, from which on `addnode` adds none
_PROTOCOL_VERSION: Final = 70016  # Bitcoin's; pools ask for a number and expect one in this range


def getnetworkinfo(moment: Moment) -> Json:
    """Describe this node among its peers."""
    api, policy = moment.api, moment.api.node.policy
    peers = api.peers()
    inbound = sum(peer.is_inbound for peer in peers)
    return {
        "version": version_number(api.version),
        "subversion": f"/groat:{api.version}/",
        "protocolversion": _PROTOCOL_VERSION,
        "localservices": "0000000000000009",
        "localservicesnames": ["NETWORK", "WITNESS"],
        "localrelay": True,
        "timeoffset": 0,
        "networkactive": True,
        "connections": len(peers),
        "connections_in": inbound,
        "connections_out": len(peers) - inbound,
        "networks": [],
        "relayfee": Coins(policy.relay_rate_min),
        "incrementalfee": Coins(policy.incremental_rate),
        "localaddresses": [],
        "warnings": [],
    }


def getpeerinfo(moment: Moment) -> Json:
    """Describe each peer."""
    return [
        {
            "id": peer.id,
            "addr": peer.address,
            "inbound": peer.is_inbound,
            "subver": peer.agent,
            "conntime": peer.connected_at,
            "startingheight": -1 if peer.height is None else peer.height,
            "synced_headers": -1 if peer.height is None else peer.height,
            "bytessent": peer.bytes_sent,
            "bytesrecv": peer.bytes_received,
            **({} if peer.latency_s is None else {"pingtime": round(peer.latency_s, 6)}),
        }
        for peer in moment.api.peers()
    ]


async def getnettotals(api: ApiContext) -> Json:
    """Count what passed over links since the start, and tell how much of the day's limit is left.

    The bytes are those of the peer protocol's frames, as `getpeerinfo` has them, without HTTP's.
    """
    totals = api.net_totals()
    limit = totals.upload_limit_bytes
    return {
        "totalbytesrecv": totals.received_bytes,
        "totalbytessent": totals.sent_bytes,
        "timemillis": time.time_ns() // 1_000_000,
        "uploadtarget": {
            "timeframe": DAY_S,
            "target": limit,
            "target_reached": limit > 0 and totals.upload_day_bytes >= limit,
            "serve_historical_blocks": totals.gives_old_blocks,
            "bytes_left_in_cycle": max(limit - totals.upload_day_bytes, 0),
            "time_left_in_cycle": totals.upload_day_left_s if limit else 0,
        },
    }


async def addnode(
    api: ApiContext,
    node: str,
    command: str,
    v2transport: bool = False,  # noqa: FBT001, FBT002 - JSON-RPC's arguments have an order
) -> None:
    """Keep a link to IP:PORT from now on (`add`), or no more (`remove`); dial it once (`onetry`).

    What is added is forgotten at a restart; `--peer` is not. `remove` ends the link too.
    """
    if command not in {"add", "remove", "onetry"}:
        raise usage_error(addnode)
    if v2transport:
        problem = "Error: v2transport requested but not enabled: there is one transport here"
        raise RpcError(Code.INVALID_PARAMETER, problem)
    added = {peer.name for peer in api.added_peers()}
    if command == "add":
        _add_node(api, _host_of(node), added)
    elif command == "remove":
        name = _name_among(added, node)
        if name is None:
            problem = "Error: Node could not be removed. It has not been added previously."
            raise RpcError(Code.NODE_NOT_ADDED, problem)
        api.remove_peer(name)
    else:
        address = _host_of(node)
        if api.bans.has(address.ip, api.clock()):
            raise RpcError(Code.MISC, "Error: Node is banned, see listbanned")
        api.try_peer(address)


def _add_node(api: ApiContext, address: Address, added: Collection[str]) -> None:
    if str(address) in added:
        raise RpcError(Code.NODE_ALREADY_ADDED, "Error: Node already added")
    if len(added) >= ADDED_MAX:
        problem = f"Error: Already at capacity: {ADDED_MAX} nodes are added"
        raise RpcError(Code.NODE_CAPACITY_REACHED, problem)
    api.add_peer(address)


async def getaddednodeinfo(api: ApiContext, node: str | None = None) -> Json:
    """Tell of the nodes that `addnode` and `--peer` keep links to, or of one of them."""
    peers = api.added_peers()
    if node is not None:
        name = _name_among({peer.name for peer in peers}, node)
        peers = [peer for peer in peers if peer.name == name]
        if not peers:
            raise RpcError(Code.NODE_NOT_ADDED, "Error: Node has not been added.")
    return [
        {
            "addednode": peer.name,
            "connected": peer.linked_to is not None,
            "addresses": [
                {
                    "address": peer.linked_to,
                    "connected": "inbound" if peer.is_inbound else "outbound",
                }
            ]
            if peer.linked_to is not None
            else [],
        }
        for peer in peers
    ]


async def disconnectnode(api: ApiContext, address: str = "", nodeid: Int64 | None = None) -> None:
    """End the link to a peer, named by its address or its id in `getpeerinfo`.

    One that `addnode` keeps is dialled again.
    """
    if bool(address) == (nodeid is not None):
        problem = "Only one of address and nodeid should be provided."
        raise RpcError(Code.INVALID_PARAMS, problem)
    ids = [peer.id for peer in api.peers() if peer.address == address] if address else [nodeid]
    ended = [api.drop_peer(number) for number in ids if number is not None]
    if not any(ended):
        raise RpcError(Code.NODE_NOT_CONNECTED, "Node not found in connected nodes")


def getconnectioncount(moment: Moment) -> int:
    """Count the peers."""
    return len(moment.api.peers())


def version_number(version: str) -> int:
    """Return a release as Core counts: 1.2.3 is 10203."""
    parts = [int(part) if part.isdecimal() else 0 for part in version.split(".")[:3]]
    major, minor, patch = (*parts, 0, 0, 0)[:3]
    return major * 10_000 + minor * 100 + patch


def _address_of(node: str) -> Address:
    """Return the address of IP:PORT. Raises RpcError INVALID_PARAMETER."""
    try:
        endpoint = parse_endpoint("node", node)
        return parse_address(endpoint.host, endpoint.port)
    except ValueError:
        problem = f"node must be an IP address and a port, not {node[:64]!r}"
        raise RpcError(Code.INVALID_PARAMETER, problem) from None


def _host_of(node: str) -> Address:
    """Return the address of IP:PORT that can be dialled. Raises RpcError INVALID_PARAMETER."""
    address = _address_of(node)
    if not address.is_one_host:
        problem = f"node must be the address of one host, not {node[:64]!r}"
        raise RpcError(Code.INVALID_PARAMETER, problem)
    return address


def _name_among(names: Container[str], node: str) -> str | None:
    """Return which of the names means a node: as it was given, or its address in one form."""
    if node in names:
        return node
    try:
        name = str(_address_of(node))
    except RpcError:
        return None
    return name if name in names else None
