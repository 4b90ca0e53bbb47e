"""JSON-RPC: proofs that transactions are in a block."""

from typing import Final

from chain.consensus.transaction import BLOCK_WEIGHT_MAX
from chain.primitives.encoding import DecodeError
from chain.primitives.merkle_block import decode_merkle_block, encode_merkle_block
from chain.primitives.numbers import id_text
from chain.service.api.error_codes import Code
from chain.service.api.rpc.errors import RpcError
from chain.service.api.rpc.method import Method
from chain.service.api.rpc.values import hash_argument, hex_argument
from chain.service.api.snapshot import NodeSnapshot

PROVEN_MAX: Final = 1_000  # transactions proved by one proof
_TRANSACTIONS_MAX: Final = BLOCK_WEIGHT_MAX // 240  # Bitcoin: MIN_TRANSACTION_WEIGHT
_DECODE_FAILED: Final = "Proof decode failed"


def gettxoutproof(snapshot: NodeSnapshot, txids: list[str], blockhash: str | None = None) -> str:
    """Return the proof, in hex, that transactions are all in the same block."""
    if not 1 <= len(txids) <= PROVEN_MAX:
        problem = f"Parameter 'txids' must hold 1 to {PROVEN_MAX} ids"
        raise RpcError(Code.INVALID_PARAMETER, problem)
    wanted = {hash_argument(text, "txid") for text in txids}
    if len(wanted) < len(txids):
        raise RpcError(Code.INVALID_PARAMETER, "Invalid parameter, duplicated txid")
    if blockhash is not None:
        entry = snapshot.stored(hash_argument(blockhash))
        missing = "Block not found"
    else:
        located = snapshot.ledger.find(min(wanted))
        entry = None if located is None else snapshot.best(located.height)
        missing = "Transaction not yet in block"
    if entry is None:
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, missing)
    ids = snapshot.block(entry).txids
    if not wanted.issubset(ids):
        problem = "Not all transactions found in specified or retrieved block"
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, problem)
    return encode_merkle_block(entry.header, ids, wanted).hex()


def verifytxoutproof(snapshot: NodeSnapshot, proof: str) -> list[str]:
    """Return the ids that a proof proves, empty if invalid. Its block must be in the chain."""
    try:
        merkle_block = decode_merkle_block(hex_argument(proof, _DECODE_FAILED), _TRANSACTIONS_MAX)
    except DecodeError:
        raise RpcError(Code.DESERIALIZATION, _DECODE_FAILED) from None
    if merkle_block.root != merkle_block.header.merkle_root:
        return []
    entry = snapshot.entry(merkle_block.header.id)
    if entry is None or not snapshot.is_best(entry):
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, "Block not found in chain")
    return [id_text(txid) for txid in merkle_block.proven]


METHODS: Final = (
    Method(gettxoutproof, "Blockchain"),
    Method(verifytxoutproof, "Blockchain"),
)
