"""JSON-RPC: the peers, and the known addresses of other nodes."""

from typing import Final

from chain.gossip.actions import ConnectionType
from chain.gossip.wire.hello import SERVICE_FULL_NODE
from chain.service.api.context import ApiContext
from chain.service.api.error_codes import Code
from chain.service.api.exact_json import CoinValue, Json
from chain.service.api.rpc.errors import RpcError
from chain.service.api.rpc.method import Method
from chain.service.peers.peer_status import PeerStatus

NODE_NETWORK: Final = 1  # Bitcoin: ServiceFlags
NODE_WITNESS: Final = 1 << 3
_SERVICE_NAMES: Final = {NODE_NETWORK: "NETWORK", NODE_WITNESS: "WITNESS"}
_CONNECTION_TYPES: Final = {  # Bitcoin: ConnectionTypeAsString
    None: "inbound",
    ConnectionType.OUTBOUND_FULL_RELAY: "outbound-full-relay",
    ConnectionType.BLOCK_RELAY: "block-relay-only",
    ConnectionType.MANUAL: "manual",
    ConnectionType.ADDR_FETCH: "addr-fetch",
}
_PLAIN_TRANSPORT: Final = "v1"  # Core's name for links that are not encrypted
KNOWN_MAX: Final = 100_000  # more addresses than the book holds
_IP_BYTES: Final = {None: (4, 16), "ipv4": (4,), "ipv6": (16,), "onion": (), "i2p": (), "cjdns": ()}


async def getpeerinfo(api: ApiContext) -> Json:
    """Return what is known of each peer.

    The peer itself stated `startingheight`, and announced `synced_headers` or got them from
    this node. In `version` is groat's peer protocol. Bytes are those of frames, without
    HTTP's.
    """
    return [_peer_json(peer) for peer in api.peers.connected()]


async def getnodeaddresses(api: ApiContext, count: int = 1, network: str | None = None) -> Json:
    """List random known addresses of other nodes; `count` 0 lists all."""
    if count < 0:
        raise RpcError(Code.INVALID_PARAMETER, "Address count out of range")
    if network not in _IP_BYTES:
        problem = f"Network not recognized: {str(network)[:64]}"
        raise RpcError(Code.INVALID_PARAMETER, problem)
    ip_bytes = _IP_BYTES[network]
    found = api.peers.known_addresses(min(count or KNOWN_MAX, KNOWN_MAX), ip_bytes)
    return [
        {
            "time": known.seen_at,
            "services": core_services(known.services),
            "address": known.host,
            "port": known.port,
            "network": known.network,
        }
        for known in found
    ]


def core_services(services: int) -> int:
    """Return Core's service bits of a groat node: a full node serves all witnesses."""
    return NODE_NETWORK | NODE_WITNESS if services & SERVICE_FULL_NODE else 0


def service_names(bits: int) -> list[str]:
    """Return the names of Core's service bits."""
    return [name for bit, name in _SERVICE_NAMES.items() if bits & bit]


def _peer_json(peer: PeerStatus) -> Json:
    services = core_services(peer.services)
    shape: dict[str, Json] = {"id": peer.id, "addr": peer.address}
    optional = {"addrbind": peer.local_address, "addrlocal": peer.seen_as}
    shape |= {name: value for name, value in optional.items() if value is not None}
    shape |= {
        "network": peer.network,
        "services": f"{services:016x}",
        "servicesnames": service_names(services),
        "relaytxes": peer.relays_transactions,
        "lastsend": peer.last_sent_at,
        "lastrecv": peer.last_received_at,
        "last_transaction": peer.last_transaction_at,
        "last_block": peer.last_block_at,
        "bytessent": peer.bytes_sent,
        "bytesrecv": peer.bytes_received,
        "conntime": peer.connected_at,
        "timeoffset": peer.clock_ahead_s,
        **_pings(peer),
        "version": peer.version,
        "subver": peer.agent,
        "inbound": peer.is_inbound,
        "bip152_hb_to": peer.pushes_blocks,
        "bip152_hb_from": peer.wants_pushes,
        "startingheight": peer.start_height,
        "presynced_headers": -1,  # as in Core; headers with too little work are never stored here
        "synced_headers": -1 if peer.height is None else peer.height,
        "synced_blocks": -1 if peer.common_height is None else peer.common_height,
        "inflight": list(peer.in_flight),
        "addr_relay_enabled": peer.relays_addresses,
        "addr_processed": peer.addresses_taken,
        "addr_rate_limited": peer.addresses_refused,
        "permissions": [],
        "minfeefilter": CoinValue(peer.fee_floor),
        "bytessent_per_msg": dict(peer.sent),
        "bytesrecv_per_msg": dict(peer.received),
        "connection_type": _CONNECTION_TYPES[peer.connection_type],
        "transport_protocol_type": _PLAIN_TRANSPORT,
        "session_id": "",
    }
    return shape


def _pings(peer: PeerStatus) -> dict[str, Json]:
    """Return the ping figures in seconds; unknown times are left out."""
    seconds = {
        "pingtime": peer.last_latency_s,
        "minping": peer.latency_s,
        "pingwait": peer.ping_waits_s,
    }
    return {name: round(value, 6) for name, value in seconds.items() if value is not None}


METHODS: Final = (
    Method(getpeerinfo, "Network"),
    Method(getnodeaddresses, "Network"),
)
