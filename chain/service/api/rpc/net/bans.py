"""JSON-RPC: the user's bans."""

from typing import Final

from chain.gossip.bans import BANS_MAX, TIME_MAX, Ban, IpNetwork, parse_network
from chain.service.api.context import ApiContext
from chain.service.api.error_codes import Code
from chain.service.api.exact_json import Json
from chain.service.api.rpc.arguments import Int64
from chain.service.api.rpc.errors import RpcError
from chain.service.api.rpc.method import Method, usage_error

BAN_S: Final = 24 * 3600  # Bitcoin: DEFAULT_MISBEHAVING_BANTIME


async def setban(
    api: ApiContext,
    subnet: str,
    command: str,
    bantime: Int64 = 0,
    absolute: bool = False,  # noqa: FBT001, FBT002 - JSON-RPC's arguments have an order
) -> None:
    """Ban an IP or a subnet, IP/BITS or IP/MASK (`add`), or remove its ban (`remove`).

    The ban lasts for `bantime` seconds, or until that unix time if `absolute`; 0 means a day.
    Restarts do not end it.
    """
    if command not in {"add", "remove"}:
        raise usage_error(setban)
    try:
        network = parse_network(subnet)
    except ValueError:
        raise RpcError(Code.INVALID_IP_OR_SUBNET, "Error: Invalid IP/Subnet") from None
    if command == "add":
        _check_not_banned(api, network, is_one="/" not in subnet)
        now_s = api.clock()
        if not api.peers.bans.add(Ban(network, now_s, _until_s(now_s, bantime, absolute=absolute))):
            raise RpcError(Code.MISC, f"at most {BANS_MAX} bans at a time")
    elif not api.peers.bans.remove(network, api.clock()):
        problem = "Requested address/subnet was not previously manually banned."
        raise RpcError(Code.INVALID_IP_OR_SUBNET, f"Error: Unban failed. {problem}")
    api.peers.bans_changed()


async def listbanned(api: ApiContext) -> Json:
    """List the bans."""
    now_s = api.clock()
    return [
        {
            "address": str(ban.network),
            "ban_created": ban.created_s,
            "banned_until": ban.until_s,
            "ban_duration": ban.until_s - ban.created_s,
            "time_remaining": ban.until_s - now_s,
        }
        for ban in api.peers.bans.listed(now_s)
    ]


async def clearbanned(api: ApiContext) -> None:
    """Remove all bans."""
    api.peers.bans.clear()
    api.peers.bans_changed()


def _check_not_banned(api: ApiContext, network: IpNetwork, *, is_one: bool) -> None:
    """Refuse an IP that any ban covers, or a subnet that is itself banned, as Core does."""
    now_s = api.clock()
    if is_one:
        is_banned = api.peers.bans.has(network.network_address.packed, now_s)
    else:
        is_banned = api.peers.bans.get(network, now_s) is not None
    if is_banned:
        raise RpcError(Code.NODE_ALREADY_ADDED, "Error: IP/Subnet already banned")


def _until_s(now_s: int, bantime: int, *, absolute: bool) -> int:
    """Return the end of a new ban in unix seconds. Raises RpcError: it lies in the past."""
    if absolute and bantime < now_s:
        raise RpcError(Code.INVALID_PARAMETER, "Error: Absolute timestamp is in the past")
    if absolute:
        return bantime
    return min(now_s + (bantime if bantime > 0 else BAN_S), TIME_MAX)


METHODS: Final = (
    Method(setban, "Network"),
    Method(listbanned, "Network"),
    Method(clearbanned, "Network"),
)
