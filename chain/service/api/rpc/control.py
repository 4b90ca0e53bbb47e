"""JSON-RPC: the node itself, addresses, and help."""

import asyncio
from typing import Final

from chain.debug_categories import CATEGORIES, UnknownCategoryError, expand_categories
from chain.primitives.address import AddressError, address_script, script_address
from chain.primitives.script import witness_program
from chain.primitives.solver import OutputType, output_type
from chain.service.api.context import ApiContext
from chain.service.api.error_codes import Code
from chain.service.api.exact_json import Json
from chain.service.api.rpc.arguments import Int64
from chain.service.api.rpc.errors import RpcError
from chain.service.api.rpc.method import Method
from chain.service.api.snapshot import NodeSnapshot
from chain.service.clock import SET_MAX
from chain.service.debug_log import active, set_active

STOP_WAIT_MAX_MS: Final = 2_000  # less than a stopping listener allows for pending replies
_INDEXES: Final = ("txindex", "txospenderindex")


def validateaddress(snapshot: NodeSnapshot, address: str) -> Json:
    """Return whether an address is valid on this network, and its script."""
    try:
        script = address_script(address, snapshot.prefixes)
    except AddressError as error:
        return {"isvalid": False, "error_locations": [], "error": str(error)}
    return {
        "isvalid": True,
        "address": script_address(script, snapshot.prefixes),
        "scriptPubKey": script.hex(),
        **_destination_shape(script),
    }


def _destination_shape(script: bytes) -> dict[str, Json]:
    """Return what an address's kind implies (Bitcoin: DescribeAddressVisitor)."""
    kind, program = output_type(script), witness_program(script)
    shape: dict[str, Json] = {}
    if kind is not OutputType.WITNESS_UNKNOWN:
        shape["isscript"] = kind not in {OutputType.PUBKEYHASH, OutputType.WITNESS_V0_KEYHASH}
    shape["iswitness"] = program is not None
    if program is not None and kind is not OutputType.ANCHOR:
        shape |= {"witness_version": program[0], "witness_program": program[1].hex()}
    return shape


def getindexinfo(snapshot: NodeSnapshot, index_name: str = "") -> Json:
    """Return the state of the indexes of transactions and of spends: always synced."""
    state = {"synced": True, "best_block_height": snapshot.tip.height}
    return {name: state for name in _INDEXES if index_name in {"", name}}


def getmemoryinfo(snapshot: NodeSnapshot, mode: str = "stats") -> Json:  # noqa: ARG001 - always the same
    """Return the memory that is locked for keys: 0, since the node holds no keys."""
    if mode == "mallocinfo":
        raise RpcError(Code.INVALID_PARAMETER, "mallocinfo mode not available")
    if mode != "stats":
        raise RpcError(Code.INVALID_PARAMETER, f"unknown mode {mode[:64]}")
    names = ("used", "free", "total", "locked", "chunks_used", "chunks_free")
    return {"locked": dict.fromkeys(names, 0)}


async def getzmqnotifications(api: ApiContext) -> Json:  # noqa: ARG001 - always the same
    """List the ZeroMQ notifications: always empty; groat has `/api/v1/events` instead."""
    return []


async def syncwithvalidationinterfacequeue(api: ApiContext) -> None:
    """Wait until the ledger has done everything that was requested before."""
    await api.call(lambda: None)


async def echo(  # noqa: PLR0913, PLR0917 - as many as Core's
    api: ApiContext,  # noqa: ARG001 - not needed
    arg0: Json = None,
    arg1: Json = None,
    arg2: Json = None,
    arg3: Json = None,
    arg4: Json = None,
    arg5: Json = None,
    arg6: Json = None,
    arg7: Json = None,
    arg8: Json = None,
    arg9: Json = None,
) -> Json:
    """Return the arguments, up to the last that is not null, to test a client."""
    given = [arg0, arg1, arg2, arg3, arg4, arg5, arg6, arg7, arg8, arg9]
    while given and given[-1] is None:
        given.pop()
    return given


def getrpcinfo(snapshot: NodeSnapshot) -> Json:  # noqa: ARG001 - always the same
    """Return the state of the RPC server."""
    return {"active_commands": [{"method": "getrpcinfo", "duration": 0}], "logpath": ""}


async def logging(
    api: ApiContext,  # noqa: ARG001 - the log is the process's
    include: list[str] | None = None,
    exclude: list[str] | None = None,
) -> Json:
    """Turn debug categories of the log on, then others off; return which are on.

    `all` stands for every category.
    """
    try:
        more, fewer = expand_categories(include or ()), expand_categories(exclude or ())
    except UnknownCategoryError as error:
        raise RpcError(Code.INVALID_PARAMETER, str(error)) from error
    if more or fewer:
        set_active((active() | more) - fewer)
    on = active()
    return {name: name in on for name in CATEGORIES}


async def uptime(api: ApiContext) -> int:
    """Return the number of seconds since the node started."""
    return max(api.clock() - api.started_at, 0)


async def setmocktime(api: ApiContext, timestamp: Int64) -> None:
    """Set the node's clock, on regtest only; 0: follow the system's clock again.

    The clock then stands still, but network timeouts are not affected. Block headers have 32 bits
    for the time: a later time counts as their last second.
    """
    if api.params.name != "regtest":
        problem = "setmocktime is for regression testing (-regtest mode) only"
        raise RpcError(Code.MISC, problem)
    if not 0 <= timestamp <= SET_MAX:
        problem = f"Mocktime must be in the range [0, {SET_MAX}], not {timestamp}."
        raise RpcError(Code.INVALID_PARAMETER, problem)
    api.host.set_clock(timestamp)


async def stop(api: ApiContext, wait: int = 0) -> str:
    """Stop the node; the reply is delayed by `wait` milliseconds."""
    api.host.stop()
    await asyncio.sleep(min(max(wait, 0), STOP_WAIT_MAX_MS) / 1000)
    return "groat stopping"


METHODS: Final = (
    Method(getmemoryinfo, "Control"),
    Method(getzmqnotifications, "Control"),
    Method(syncwithvalidationinterfacequeue, "Control"),
    Method(echo, "Control"),
    Method(getrpcinfo, "Control"),
    Method(logging, "Control"),
    Method(uptime, "Control"),
    Method(setmocktime, "Control"),
    Method(stop, "Control"),
    Method(validateaddress, "Util", is_bounded=True),
    Method(getindexinfo, "Util", is_bounded=True),
)
