"""JSON-RPC: blocks on demand for tests, on regtest only."""

import re
import secrets
from typing import Final

from anyio import to_thread

from chain.consensus.errors import InvalidError
from chain.mining.hashlib_kernel import HashlibKernel
from chain.node.entry import PoolEntry
from chain.node.pool import Pool
from chain.node.template import Template, template_time
from chain.primitives.block import Block, Header
from chain.primitives.encoding import DecodeError, parse_hex
from chain.primitives.numbers import Amount, id_text, parse_id
from chain.primitives.transaction import Transaction, decode_transaction
from chain.service.api.context import ApiContext
from chain.service.api.error_codes import Code
from chain.service.api.exact_json import Json
from chain.service.api.rpc.descriptor_argument import descriptor_script
from chain.service.api.rpc.errors import RpcError
from chain.service.api.rpc.method import Method
from chain.service.api.rpc.values import address_argument
from chain.service.api.submit import submit_block

GENERATED_BLOCKS_MAX: Final = 10_000
_TRIES_OF_A_HEADER: Final = 1 << 32  # its nonces
_TXID: Final = re.compile("[0-9a-fA-F]{64}")


async def generatetoaddress(
    api: ApiContext, nblocks: int, address: str, maxtries: int = 1_000_000
) -> list[str]:
    """Mine blocks that pay to an address, on regtest only, and return their ids."""
    return await _generate(api, nblocks, _script(api, address), maxtries)


async def generatetodescriptor(
    api: ApiContext, num_blocks: int, descriptor: str, maxtries: int = 1_000_000
) -> list[str]:
    """Mine blocks that pay to a descriptor's script, on regtest only, and return their ids."""
    script = descriptor_script(descriptor, api.params)
    _check_network(api)
    return await _generate(api, num_blocks, script, maxtries)


async def _generate(api: ApiContext, nblocks: int, script: bytes, maxtries: int) -> list[str]:
    """Mine `nblocks` blocks, or fewer if `maxtries` nonces, counted over all blocks, are used up.

    A negative `maxtries` is no limit, as in Core 30, which converts it to unsigned.
    """
    if nblocks > GENERATED_BLOCKS_MAX:
        problem = f"the number of blocks must be at most {GENERATED_BLOCKS_MAX}"
        raise RpcError(Code.INVALID_PARAMETER, problem)
    ids: list[str] = []
    tries = maxtries if maxtries >= 0 else _TRIES_OF_A_HEADER * (nblocks + 1)
    while len(ids) < nblocks and tries > 0:
        try:
            template = await api.call(lambda: api.node.template(script, api.clock()))
        except InvalidError as error:
            raise RpcError(Code.INTERNAL, f"CreateNewBlock: {error.reject_reason}") from error
        allowed = min(tries, _TRIES_OF_A_HEADER)
        block = await to_thread.run_sync(_solve, template, allowed)
        tries -= allowed if block is None else block.header.nonce
        if block is not None:
            await _submit(api, block)
            ids.append(id_text(block.id))
    return ids


async def generateblock(
    api: ApiContext, output: str, transactions: list[str], *, submit: bool = True
) -> Json:
    """Mine one block of exactly these transactions (mempool ids or hex), in this order.

    The subsidy is paid to an address or a descriptor's script; fees are not claimed. With `submit`
    false the block's hex is returned and the block is not added.
    """
    if "(" in output:
        script = descriptor_script(output, api.params)
        _check_network(api)
    else:
        script = _script(api, output)
    entries = await to_thread.run_sync(_entries, api, transactions)
    tip = api.node.view.tip
    try:
        time = template_time(tip, api.clock(), api.params)
        template = Template(api.params, tip, script, entries, time)
        await api.call(lambda: api.node.test_block(template.unsolved, api.clock()))
    except InvalidError as error:
        problem = f"TestBlockValidity failed: {error.reject_reason}"
        raise RpcError(Code.VERIFY, problem) from error
    block = await to_thread.run_sync(_solve, template, _TRIES_OF_A_HEADER)
    if block is None:
        raise RpcError(Code.MISC, "Failed to make block.")
    if not submit:
        return {"hash": id_text(block.id), "hex": block.raw.hex()}
    await _submit(api, block)
    return {"hash": id_text(block.id)}


def _script(api: ApiContext, address: str) -> bytes:
    """Return an address's script, if this network can generate blocks."""
    script = address_argument(address, api.params.address_prefixes)
    _check_network(api)
    return script


def _check_network(api: ApiContext) -> None:
    if api.params.name != "regtest":
        raise RpcError(Code.MISC, "blocks are generated on regtest only")


def _entries(api: ApiContext, texts: list[str]) -> tuple[PoolEntry, ...]:
    """Return transactions, mempool ids or hex, as entries for a block template.

    They are not checked: the block will be. Their fee is 0, so that the coinbase does not claim
    it, which would need the coins that they spend. Raises RpcError.
    """
    transactions = [_transaction(api.node.view.pool, text) for text in texts]
    return tuple(PoolEntry(tx, (), Amount(0), time=0, height=0) for tx in transactions)


def _transaction(pool: Pool, text: str) -> Transaction:
    if _TXID.fullmatch(text):
        entry = pool.get(parse_id(text))
        if entry is None:
            problem = f"Transaction {text} not in mempool."
            raise RpcError(Code.INVALID_ADDRESS_OR_KEY, problem)
        return entry.transaction
    try:
        return decode_transaction(parse_hex(text))
    except DecodeError:
        problem = f"Transaction decode failed for {text[:128]}."
        advice = "Make sure the tx has at least one input."
        raise RpcError(Code.DESERIALIZATION, f"{problem} {advice}") from None


async def _submit(api: ApiContext, block: Block) -> None:
    try:
        await submit_block(api, block)
    except InvalidError as error:
        raise RpcError(Code.INTERNAL, f"block not accepted: {error.reject_reason}") from error


def _solve(template: Template, tries: int) -> Block | None:
    extranonce = secrets.randbits(64)  # otherwise an invalidated block would be made again
    header = template.header(extranonce, template.time)
    nonce = HashlibKernel().search(header.encode(), template.target, 0, tries)
    if nonce is None:
        return None
    solved = Header(
        header.version, header.previous, header.merkle_root, header.time, header.bits, nonce
    )
    return template.block(solved, extranonce)


METHODS: Final = (
    Method(generatetoaddress, "Generating"),
    Method(generatetodescriptor, "Generating"),
    Method(generateblock, "Generating"),
)
