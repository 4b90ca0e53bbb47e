"""The table of JSON-RPC methods: each file here has the part for its own, as in Bitcoin Core."""

from collections.abc import Mapping
from itertools import chain as chained
from typing import Final

from chain.service.api.exact_json import Json
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
    psbt_json,
    raw_transaction,
    transactions,
)
from chain.service.api.snapshot import NodeSnapshot

_DUMP_CONVERSIONS: Final = "dump_all_command_conversions"  # Core's hidden command of this name


def help(snapshot: NodeSnapshot, command: str = "") -> Json:  # noqa: A001, ARG001 - the method's name is this
    """List the methods, or explain one."""
    if command == _DUMP_CONVERSIONS:
        return [row for method in METHODS.values() for row in method.conversions]
    if not command:
        lines = []
        for group, methods in by_group().items():
            lines += [f"== {group} ==", *(method.usage for method in methods), ""]
        return "\n".join(lines).strip()
    method = METHODS.get(command)
    if method is None:
        return f"help: unknown command: {command[:64]}"  # a result, as in Core
    return method.help


def by_group() -> dict[str, list[Method]]:
    """Return all methods by the section of Core's help, both in the order of names."""
    groups: dict[str, list[Method]] = {
        name: [] for name in sorted({m.group for m in METHODS.values()})
    }
    for method in sorted(METHODS.values(), key=lambda each: each.usage):
        groups[method.group].append(method)
    return groups


_FILES: Final = (
    branches,
    chain,
    deployments,
    stats,
    verification,
    waiting,
    control,
    descriptor_info,
    descriptors,
    mempool,
    package,
    prioritising,
    spending,
    generating,
    mining,
    submission,
    template,
    bans,
    network,
    peers,
    proofs,
    psbt,
    psbt_analysis,
    psbt_json,
    raw_transaction,
    transactions,
)
METHODS: Final[Mapping[str, Method]] = {
    method.name: method
    for method in (Method(help, "Control"), *chained.from_iterable(file.METHODS for file in _FILES))
}
