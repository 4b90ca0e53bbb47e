"""The table of JSON-RPC methods."""

from collections.abc import Mapping
from typing import Final

from chain.service.api.rpc import control, descriptor_info, descriptors
from chain.service.api.rpc.blockchain import (
    branches,
    chain,
    deployments,
    stats,
    verification,
    waiting,
)
from chain.service.api.rpc.mempool import mempool, package, prioritising, spending
from chain.service.api.rpc.method import Method
from chain.service.api.rpc.mining import generating, mining, submission, template
from chain.service.api.rpc.net import bans, network, peers
from chain.service.api.rpc.rawtransaction import (
    proofs,
    psbt,
    psbt_analysis,
    psbt_shapes,
    raw_transaction,
    transactions,
)
from chain.service.api.rpc.values import Json
from chain.service.api.snapshot import NodeSnapshot


def help(snapshot: NodeSnapshot, command: str = "") -> str:  # noqa: A001, ARG001 - the method's name is this
    """List the methods, or explain one."""
    if not command:
        lines = []
        for group in dict.fromkeys(method.group for method in METHODS.values()):
            usages = sorted(m.usage for m in METHODS.values() if m.group == group)
            lines += [f"== {group} ==", *usages, ""]
        return "\n".join(lines).strip()
    method = METHODS.get(command)
    if method is None:
        return f"help: unknown command: {command[:64]}"  # a result, as in Core
    return method.help


_GROUPS: Final[Mapping[str, tuple[Json, ...]]] = {
    "Blockchain": (
        chain.getbestblockhash,
        chain.getblock,
        chain.getblockchaininfo,
        chain.getblockcount,
        chain.getblockfilter,
        chain.getblockhash,
        chain.getchainstates,
        deployments.getdeploymentinfo,
        chain.getblockheader,
        branches.getchaintips,
        branches.invalidateblock,
        branches.preciousblock,
        branches.reconsiderblock,
        chain.getdifficulty,
        chain.gettxout,
        mempool.getmempoolancestors,
        mempool.getmempooldescendants,
        mempool.getmempoolentry,
        mempool.getmempoolinfo,
        mempool.getrawmempool,
        spending.gettxspendingprevout,
        mempool.savemempool,
        waiting.waitforblock,
        waiting.waitforblockheight,
        waiting.waitfornewblock,
        proofs.gettxoutproof,
        verification.verifychain,
        proofs.verifytxoutproof,
        descriptors.scantxoutset,
        stats.getblockstats,
        stats.getchaintxstats,
        stats.gettxoutsetinfo,
    ),
    "Control": (
        control.echo,
        control.getmemoryinfo,
        control.getrpcinfo,
        control.getzmqnotifications,
        help,
        control.logging,
        control.setmocktime,
        control.stop,
        control.syncwithvalidationinterfacequeue,
        control.uptime,
    ),
    "Generating": (
        generating.generateblock,
        generating.generatetoaddress,
        generating.generatetodescriptor,
    ),
    "Mining": (
        template.getblocktemplate,
        mining.getmininginfo,
        mining.getnetworkhashps,
        prioritising.getprioritisedtransactions,
        prioritising.prioritisetransaction,
        submission.submitblock,
        submission.submitheader,
    ),
    "Network": (
        network.addnode,
        bans.clearbanned,
        network.disconnectnode,
        network.getaddednodeinfo,
        network.getconnectioncount,
        network.getnettotals,
        network.getnetworkinfo,
        peers.getnodeaddresses,
        peers.getpeerinfo,
        bans.listbanned,
        network.ping,
        bans.setban,
        network.setnetworkactive,
    ),
    "Rawtransactions": (
        psbt_analysis.analyzepsbt,
        psbt.combinepsbt,
        psbt.converttopsbt,
        psbt.createpsbt,
        raw_transaction.createrawtransaction,
        psbt_shapes.decodepsbt,
        transactions.decoderawtransaction,
        descriptor_info.decodescript,
        psbt.finalizepsbt,
        transactions.getrawtransaction,
        transactions.sendrawtransaction,
        package.submitpackage,
        transactions.testmempoolaccept,
        psbt.utxoupdatepsbt,
    ),
    "Util": (
        descriptor_info.deriveaddresses,
        mempool.estimatesmartfee,
        descriptor_info.getdescriptorinfo,
        control.getindexinfo,
        control.validateaddress,
    ),
}
_WAITING: Final = frozenset(
    {
        template.getblocktemplate,
        waiting.waitforblock,
        waiting.waitforblockheight,
        waiting.waitfornewblock,
    }
)
METHODS: Final[Mapping[str, Method]] = {
    function.__name__: Method(function, group, waits=function in _WAITING)
    for group, functions in _GROUPS.items()
    for function in functions
}
