"""JSON-RPC: blocks that miners submit or propose, refused cheaply where possible."""

from dataclasses import replace
from typing import Final

from anyio import to_thread

from chain.consensus.block_validation import commitment_index
from chain.consensus.errors import InvalidError
from chain.consensus.header import check_header_work
from chain.primitives.block import Block, Header, decode_block, decode_header
from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import id_text
from chain.primitives.transaction import Transaction
from chain.service.api.context import ApiContext
from chain.service.api.error_codes import Code
from chain.service.api.exact_json import Json
from chain.service.api.rpc.errors import RpcError
from chain.service.api.rpc.method import Method
from chain.service.api.rpc.values import hex_argument
from chain.service.api.submit import submit_block

_WITNESS_NONCE: Final = bytes(32)
_DECODE_FAILED: Final = "Block decode failed"
_HEADER_FAILED: Final = "Block header decode failed"


async def submitblock(api: ApiContext, hexdata: str, dummy: str = "") -> str | None:  # noqa: ARG001 - BIP22's second argument has no effect in Core either
    """Add a mined block; return null if it is the new tip, else the reason (BIP22).

    A coinbase that commits to witnesses but has no nonce gets the zero one, as miners expect.
    """
    raw = hex_argument(hexdata, _DECODE_FAILED)
    async with (
        api.limits.stale.lock
    ):  # one at a time, so that each is judged by the tip after the previous one
        block = await to_thread.run_sync(_decode, raw)
        try:
            known = _known_result(api, block.header)
            if known is not None:
                return known
            check_header_work(block.header, api.params)
            added = await submit_block(api, with_coinbase_witness(block))
        except InvalidError as error:
            return error.reject_reason
    if not added.is_new:
        return "duplicate"
    return None if added.is_connected else "inconclusive"


async def submitheader(api: ApiContext, hexdata: str) -> None:
    """Add a block's header, whose parent must be known, without its body."""
    try:
        header = decode_header(hex_argument(hexdata, _HEADER_FAILED))
    except DecodeError:
        raise RpcError(Code.DESERIALIZATION, _HEADER_FAILED) from None
    if api.tree.get(header.previous) is None:
        problem = f"Must submit previous header ({id_text(header.previous)}) first"
        raise RpcError(Code.VERIFY, problem)
    added = await api.call(lambda: api.node.submit_headers([header], api.clock()))
    if added.error is not None:
        raise RpcError(Code.VERIFY, added.error.reject_reason)


async def proposal_result(api: ApiContext, data: Json) -> str | None:
    """Return why a block would be refused if it had proof of work, or None (BIP23, BIP22).

    A stored block outside the best chain is `duplicate-inconclusive`, even if it once was in it.
    """
    if not isinstance(data, str):
        raise RpcError(Code.TYPE, "Missing data String key for proposal")
    block = await to_thread.run_sync(_decode, hex_argument(data, _DECODE_FAILED))
    entry, tip = api.tree.get(block.id), api.node.view.tip
    if entry is not None:
        if api.tree.is_invalid(block.id):
            return "duplicate-invalid"
        return "duplicate" if entry.is_ancestor_of(tip) else "duplicate-inconclusive"
    if block.header.previous != tip.id:
        return "inconclusive-not-best-prevblk"
    try:
        await api.call(lambda: api.node.test_block(block, api.clock()))
    except InvalidError as error:
        return error.reject_reason
    return None


def with_coinbase_witness(block: Block) -> Block:
    """Return the block with the witness nonce that miners omit.

    Only for blocks directly from a miner: for a peer's block it would hide a mutation. Bitcoin:
    UpdateUncommittedBlockStructures.
    """
    first = block.transactions[0]
    if commitment_index(first) is None or first.has_witness or not first.is_coinbase:
        return block
    shown = replace(first.inputs[0], witness=(_WITNESS_NONCE,))
    coinbase = Transaction(first.version, [shown], first.outputs, first.lock_time)
    return Block(block.header, [coinbase, *block.transactions[1:]])


def _known_result(api: ApiContext, header: Header) -> str | None:
    """Return the result that follows from the header alone, or None. Raises InvalidError.

    Costs two hashes: the ledger is not queried.
    """
    tree, tip = api.tree, api.node.view.tip
    if tree.is_invalid(header.id):
        return "duplicate-invalid"
    if tree.is_stored(header.id):
        return "duplicate"
    parent = tree.get(header.previous)
    is_stale = parent is not None and parent != tip and parent.chain_work < tip.chain_work
    if not is_stale:
        return None
    check_header_work(header, api.params)
    return None if api.limits.stale.admit(header.previous) else "inconclusive"


def _decode(raw: bytes) -> Block:
    try:
        block = decode_block(raw)
    except DecodeError:
        raise RpcError(Code.DESERIALIZATION, _DECODE_FAILED) from None
    if not block.transactions or not block.transactions[0].is_coinbase:
        raise RpcError(Code.DESERIALIZATION, "Block does not start with a coinbase")
    return block


METHODS: Final = (
    Method(submitblock, "Mining"),
    Method(submitheader, "Mining"),
)
