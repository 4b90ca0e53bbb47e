"""Where each method of JSON-RPC is done by a process that only reads: here, or at the node.

What changes anything, or needs to know what is in no table (peers, the miner, the process), is
handed on. A method that is in neither list is handed on, too; a test walks all of them.
"""

from functools import partial
from typing import Final

from chain.primitives.block import decode_block
from chain.primitives.encoding import DecodeError, parse_hex
from chain.primitives.numbers import Hash32, id_text
from chain.primitives.transaction import decode_transaction
from chain.service.api.context import ApiContext
from chain.service.api.error_codes import Code
from chain.service.api.exact_json import Json
from chain.service.api.hand_on import HandOnCutError, NodeAwayError, reason_of
from chain.service.api.rpc.errors import RpcError
from chain.service.api.snapshot import open_snapshot
from chain.service.api.threads import on_thread

READ_HERE: Final = frozenset(
    {
        *("analyzepsbt", "combinepsbt", "converttopsbt", "createpsbt", "finalizepsbt"),
        *("utxoupdatepsbt",),
        *("createrawtransaction", "decodepsbt", "decoderawtransaction", "decodescript"),
        *("deriveaddresses", "echo", "estimatesmartfee", "getbestblockhash", "getblock"),
        *("getblockchaininfo", "getblockcount", "getblockfilter", "getblockhash"),
        *("getblockheader", "getblockstats", "getchainstates", "getchaintips"),
        *("getchaintxstats", "getdeploymentinfo", "getdescriptorinfo", "getdifficulty"),
        *("getindexinfo", "getmempoolancestors", "getmempooldescendants", "getmempoolentry"),
        *("getmempoolinfo", "getnetworkhashps", "getprioritisedtransactions", "getrawmempool"),
        *("getrawtransaction", "gettxout", "gettxoutproof", "gettxoutsetinfo"),
        *("gettxspendingprevout", "getzmqnotifications", "help", "scantxoutset"),
        *("validateaddress", "verifytxoutproof"),
    }
)
CHANGING: Final = frozenset(  # chain, mempool or peers; or they wait for a change
    {
        *("addnode", "clearbanned", "disconnectnode", "generateblock", "generatetoaddress"),
        *("generatetodescriptor", "invalidateblock", "ping"),
        *("preciousblock", "prioritisetransaction", "reconsiderblock", "savemempool"),
        *("sendrawtransaction", "setban", "setmocktime", "setnetworkactive", "submitblock"),
        *("submitheader", "submitpackage", "syncwithvalidationinterfacequeue"),
        *("waitforblock", "waitforblockheight", "waitfornewblock"),
    }
)
AT_NODE: Final = CHANGING | frozenset(
    {
        # They look at the node's mempool as it is.
        *("getblocktemplate", "testmempoolaccept"),
        # They are about the node's process and its peers; one verification at a time runs there.
        *("getaddednodeinfo", "getconnectioncount", "getmemoryinfo", "getmininginfo"),
        *("getnettotals", "getnetworkinfo", "getnodeaddresses", "getpeerinfo", "getrpcinfo"),
        *("listbanned", "logging", "stop", "uptime", "verifychain"),
    }
)
WORKING_LONG: Final = frozenset(  # minutes, if there is much to do
    {
        *("generateblock", "generatetoaddress", "generatetodescriptor", "invalidateblock"),
        *("preciousblock", "reconsiderblock", "savemempool", "verifychain"),
        "syncwithvalidationinterfacequeue",
    }
)
REPEATABLE: Final = frozenset({"sendrawtransaction", "submitblock"})  # twice is the same as once


def is_at_node(method: str) -> bool:
    """Return whether a process that reads hands calls of this method on."""
    return method not in READ_HERE


def no_reply(error: NodeAwayError | HandOnCutError) -> RpcError:
    """Return the error of a call that got no reply from the node."""
    code = Code.NOT_CONNECTED if isinstance(error, NodeAwayError) else Code.INTERNAL
    return RpcError(code, reason_of(error))


async def known_result(api: ApiContext, method: str, params: Json, reply: Json) -> Json:
    """Return the reply object to a call that was made twice as if it had been made once.

    The first attempt may have succeeded before it was cut. Then the second finds the transaction
    in the chain, or the block known.
    """
    if not isinstance(reply, dict) or method not in REPEATABLE:
        return reply
    given = next(iter(params.values() if isinstance(params, dict) else params or ()), None)
    error = reply.get("error")
    try:
        raw = parse_hex(given) if isinstance(given, str) else b""
        if method == "sendrawtransaction":
            code = error.get("code") if isinstance(error, dict) else None
            if getattr(code, "text", None) == str(int(Code.ALREADY_IN_CHAIN)):
                return {**reply, "result": id_text(decode_transaction(raw).txid), "error": None}
        elif reply.get("result") == "duplicate":
            block_id = decode_block(raw).id
            is_best = await on_thread(partial(_is_best, api, block_id))
            return {**reply, "result": None if is_best else "inconclusive"}
    except DecodeError:
        pass  # then the node has refused it, twice
    return reply


def _is_best(api: ApiContext, block_id: Hash32) -> bool:
    with open_snapshot(api) as snapshot:
        return snapshot.ledger.height_of(block_id) is not None
