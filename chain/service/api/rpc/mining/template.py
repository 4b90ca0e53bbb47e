"""JSON-RPC: getblocktemplate (BIP22, BIP145), with long polling."""

import asyncio
from typing import Final

from anyio import to_thread

from chain.consensus.block_validation import BLOCK_SIGOPS_COST_MAX
from chain.consensus.errors import InvalidError
from chain.consensus.transaction import BLOCK_WEIGHT_MAX
from chain.node.template import Template
from chain.primitives.numbers import id_text
from chain.primitives.script import op_return
from chain.service.api.context import ApiContext
from chain.service.api.error_codes import Code
from chain.service.api.events import TooManySubscribersError
from chain.service.api.exact_json import Json
from chain.service.api.rpc.errors import RpcError
from chain.service.api.rpc.method import Method
from chain.service.api.rpc.mining.submission import proposal_result
from chain.service.api.rpc.values import string_argument, without_nulls
from chain.service.debug_lines import log_template

FIRST_WAIT_S: Final = 60.0  # Core: then a long poll answers if the mempool changed ...
NEXT_WAIT_S: Final = 10.0  # ... checked at this interval
_PLACEHOLDER: Final = op_return(b"")  # the miner makes its own coinbase
_LONELY_NETWORKS: Final = frozenset({"regtest", "devnet"})  # where a node without peers may mine
_ID_CHARACTERS: Final = 64


async def getblocktemplate(api: ApiContext, template_request: dict[str, Json]) -> Json:
    """Return a block template; with a longpollid, only once there is a new one.

    In mode "proposal", return why the block in `data` is invalid, work aside, or null (BIP23).
    """
    request = without_nulls(template_request)
    mode = request.get("mode", "template")
    if mode == "proposal":
        return await proposal_result(api, request.get("data"))
    if mode != "template":
        raise RpcError(Code.INVALID_PARAMETER, "Invalid mode")
    _check_ready(api)
    rules = request.get("rules")
    if not isinstance(rules, list) or "segwit" not in map(string_argument, rules):
        hint = '(call with {"rules": ["segwit"]})'
        problem = f"getblocktemplate must be called with the segwit rule set {hint}"
        raise RpcError(Code.INVALID_PARAMETER, problem)
    poll_id = request.get("longpollid")
    if isinstance(poll_id, str):
        await _wait(api, poll_id)
    elif poll_id is not None:
        raise RpcError(Code.TYPE, "longpollid must be a string")
    if api.node_events.is_closed:
        raise RpcError(Code.NOT_CONNECTED, "Shutting down")  # as Core's; a miner asks again
    next_id = poll_id_of(api)  # before the template, so that no change in between is missed
    try:
        template = await api.call(lambda: api.node.template(_PLACEHOLDER, api.clock()))
    except InvalidError as error:
        raise RpcError(Code.INTERNAL, f"CreateNewBlock: {error.reject_reason}") from error
    log_template(template)
    return await to_thread.run_sync(_template_json, template, next_id)


def poll_id_of(api: ApiContext) -> str:
    """Return the id of the published state: the tip, and a number that every change increases."""
    view = api.node.view
    return f"{id_text(view.tip.id)}{view.sequence}"


def _check_ready(api: ApiContext) -> None:
    if api.params.name in _LONELY_NETWORKS:
        return
    if not api.peers.connection_counts().total:
        raise RpcError(Code.NOT_CONNECTED, "groat is not connected!")
    if api.host.is_syncing():
        raise RpcError(Code.INITIAL_DOWNLOAD, "groat is in initial sync and waiting for blocks...")


async def _wait(api: ApiContext, poll_id: str) -> None:
    """Wait until the tip is not the id's, or, after a while, until any change.

    A waiting call uses a task, not a thread, since every miner keeps one open.
    """
    clock = asyncio.get_running_loop().time
    look_at = clock() + FIRST_WAIT_S
    try:
        with api.node_events.subscribe() as listener:
            while id_text(api.node.view.tip.id) == poll_id[:_ID_CHARACTERS]:
                try:
                    if await listener.next(max(look_at - clock(), 0.0)) is None:
                        return
                except TimeoutError:
                    if poll_id_of(api) != poll_id:
                        return
                    look_at = clock() + NEXT_WAIT_S
    except TooManySubscribersError:
        raise RpcError(Code.MISC, "too many long polls") from None


def _template_json(template: Template, poll_id: str) -> Json:
    return {
        "capabilities": ["proposal"],
        "version": template.version,
        "rules": ["csv", "!segwit"],
        "vbavailable": {},
        "vbrequired": 0,
        "previousblockhash": id_text(template.parent.id),
        "transactions": [
            {
                "data": entry.transaction.raw.hex(),
                "txid": id_text(entry.txid),
                "hash": id_text(entry.wtxid),
                "depends": list(depends),
                "fee": entry.fee,
                "sigops": entry.sigops_cost,
                "weight": entry.weight,
            }
            for entry, depends in zip(template.entries, template.depends, strict=True)
        ],
        "coinbaseaux": {},
        "coinbasevalue": template.coinbase_value,
        "longpollid": poll_id,
        "target": f"{template.target:064x}",
        "mintime": template.time_min,
        "mutable": ["time", "transactions", "prevblock"],
        "noncerange": "00000000ffffffff",
        "sigoplimit": BLOCK_SIGOPS_COST_MAX,
        "sizelimit": BLOCK_WEIGHT_MAX,
        "weightlimit": BLOCK_WEIGHT_MAX,
        "curtime": template.time,
        "bits": f"{template.bits:08x}",
        "height": template.height,
        "default_witness_commitment": template.commitment_script.hex(),
    }


METHODS: Final = (Method(getblocktemplate, "Mining", waits=True),)
