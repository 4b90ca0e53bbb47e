"""JSON-RPC: peers."""

import time
from collections.abc import Collection, Container, Sequence
from typing import Final

from chain.gossip.blocks.upload import DAY_S
from chain.gossip.wire.address import Address, parse_address
from chain.gossip.wire.hello import SERVICE_FULL_NODE
from chain.service.api.context import ApiContext
from chain.service.api.error_codes import Code
from chain.service.api.exact_json import CoinValue, Json
from chain.service.api.rpc.arguments import Int64
from chain.service.api.rpc.errors import RpcError
from chain.service.api.rpc.method import Method, usage_error
from chain.service.api.rpc.net.peers import core_services, service_names
from chain.service.api.snapshot import NodeSnapshot
from chain.service.peers.peer_status import PeerStatus
from chain.settings import parse_endpoint

ADDED_MAX: Final = 64  # nodes that `addnode` may add
# Core 31.0, which e-x requires; its additions, the spending index and its look-up, exist here.
CORE_VERSION: Final = 310_000
_PROTOCOL_VERSION: Final = 70016  # Bitcoin's; pools expect a number in this range
_NETWORKS: Final = ("ipv4", "ipv6", "onion", "i2p", "cjdns")
_REACHABLE: Final = frozenset({"ipv4", "ipv6"})
_CLOCKS_MIN: Final = 5  # Bitcoin: TimeOffsets::Median


async def getnetworkinfo(api: ApiContext) -> Json:
    """Return the state of networking.

    `version` is the release of Core whose RPC groat follows; groat's own is in `subversion`.
    """
    policy, peers = api.node.policy, api.peers.connected()
    inbound = sum(peer.is_inbound for peer in peers)
    services = core_services(SERVICE_FULL_NODE)
    return {
        "version": CORE_VERSION,
        "subversion": f"/groat:{api.version}/",
        "protocolversion": _PROTOCOL_VERSION,
        "localservices": f"{services:016x}",
        "localservicesnames": service_names(services),
        "localrelay": True,
        "timeoffset": _median_offset_s(peers),
        "networkactive": api.peers.is_network_active,
        "connections": len(peers),
        "connections_in": inbound,
        "connections_out": len(peers) - inbound,
        "networks": [_network_json(name) for name in _NETWORKS],
        "relayfee": CoinValue(policy.relay_feerate_min),
        "incrementalfee": CoinValue(policy.incremental_feerate),
        "localaddresses": [_local_json(address, peers) for address in api.peers.local_addresses()],
        "warnings": [],
    }


async def ping(api: ApiContext) -> None:
    """Ping each peer; see the method getpeerinfo for round trips and pending pings."""
    api.peers.ping_peers()


async def setnetworkactive(api: ApiContext, state: bool) -> bool:  # noqa: FBT001 - Core's argument
    """Close all links and open none (false), or open links again (true), until a restart."""
    api.peers.set_network_active(state)
    return api.peers.is_network_active


async def getnettotals(api: ApiContext) -> Json:
    """Return the bytes sent and received since the start, and the state of the upload limit.

    Bytes are those of the peer protocol's frames, as in getpeerinfo, without HTTP's.
    """
    totals = api.peers.totals()
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
    """Keep a link to IP:PORT (`add`), stop that (`remove`), or dial it once (`onetry`).

    Added nodes are forgotten at a restart, unlike those of `--peer`. `remove` closes the link too.
    """
    if command not in {"add", "remove", "onetry"}:
        raise usage_error(addnode)
    if v2transport:
        problem = "Error: v2transport requested but not enabled: groat has one transport"
        raise RpcError(Code.INVALID_PARAMETER, problem)
    added = {peer.name for peer in api.peers.added_peers()}
    if command == "add":
        _add_node(api, _host_of(node), added)
    elif command == "remove":
        name = _name_among(added, node)
        if name is None:
            problem = "Error: Node could not be removed. It has not been added previously."
            raise RpcError(Code.NODE_NOT_ADDED, problem)
        api.peers.remove_peer(name)
    else:
        address = _host_of(node)
        if api.peers.bans.has(address.ip, api.clock()):
            raise RpcError(Code.MISC, "Error: Node is banned, see listbanned")
        api.peers.try_peer(address)


def _add_node(api: ApiContext, address: Address, added: Collection[str]) -> None:
    if str(address) in added:
        raise RpcError(Code.NODE_ALREADY_ADDED, "Error: Node already added")
    if len(added) >= ADDED_MAX:
        problem = f"Error: Already at capacity: {ADDED_MAX} nodes are added"
        raise RpcError(Code.NODE_CAPACITY_REACHED, problem)
    api.peers.add_peer(address)


async def getaddednodeinfo(api: ApiContext, node: str | None = None) -> Json:
    """List the nodes that `addnode` and `--peer` added, or one of them."""
    peers = api.peers.added_peers()
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
    """Close the link to a peer, given by its address or its id in getpeerinfo.

    A peer that was added by `addnode` is dialled again.
    """
    if bool(address) == (nodeid is not None):
        problem = "Only one of address and nodeid should be provided."
        raise RpcError(Code.INVALID_PARAMS, problem)
    ids = (
        [peer.id for peer in api.peers.connected() if peer.address == address]
        if address
        else [nodeid]
    )
    ended = [api.peers.disconnect(number) for number in ids if number is not None]
    if not any(ended):
        raise RpcError(Code.NODE_NOT_CONNECTED, "Node not found in connected nodes")


def getconnectioncount(snapshot: NodeSnapshot) -> int:
    """Return the number of peers."""
    return snapshot.api.peers.connection_counts().total


def _median_offset_s(peers: Sequence[PeerStatus]) -> int:
    """Return the median clock offset of outbound peers, once there are enough."""
    ahead_s = sorted(peer.clock_ahead_s for peer in peers if not peer.is_inbound)
    return ahead_s[len(ahead_s) // 2] if len(ahead_s) >= _CLOCKS_MIN else 0


def _network_json(name: str) -> Json:
    is_reachable = name in _REACHABLE
    return {
        "name": name,
        "limited": not is_reachable,
        "reachable": is_reachable,
        "proxy": "",
        "proxy_randomize_credentials": False,
    }


def _local_json(address: Address, peers: Sequence[PeerStatus]) -> Json:
    """Return an address of our own; its score is the number of peers that see us at that IP."""
    seen = [parse_endpoint("peer", peer.seen_as).host for peer in peers if peer.seen_as]
    score = seen.count(address.host)
    return {"address": address.host, "port": address.port, "score": score}


def _address_of(node: str) -> Address:
    """Return the address of IP:PORT. Raises RpcError INVALID_PARAMETER."""
    try:
        endpoint = parse_endpoint("node", node)
        if "%" in endpoint.host:
            raise ValueError("an IPv6 zone is only valid on one host")  # noqa: TRY301
        return parse_address(endpoint.host, endpoint.port)
    except ValueError:
        problem = f"node must be an IP address and a port, not {node[:64]!r}"
        raise RpcError(Code.INVALID_PARAMETER, problem) from None


def _host_of(node: str) -> Address:
    """Return the dialable address of IP:PORT. Raises RpcError INVALID_PARAMETER."""
    address = _address_of(node)
    if not address.is_one_host:
        problem = f"node must be the address of one host, not {node[:64]!r}"
        raise RpcError(Code.INVALID_PARAMETER, problem)
    return address


def _name_among(names: Container[str], node: str) -> str | None:
    """Return the entry of `names` for a node: the name as given, or its normalized address."""
    if node in names:
        return node
    try:
        name = str(_address_of(node))
    except RpcError:
        return None
    return name if name in names else None


METHODS: Final = (
    Method(getnetworkinfo, "Network"),
    Method(ping, "Network"),
    Method(setnetworkactive, "Network"),
    Method(getnettotals, "Network"),
    Method(addnode, "Network"),
    Method(getaddednodeinfo, "Network"),
    Method(disconnectnode, "Network"),
    Method(getconnectioncount, "Network"),
)
