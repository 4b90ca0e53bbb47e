"""JSON-RPC: proofs that transactions are in a block."""

from typing import Final

from chain.consensus.transaction import BLOCK_WEIGHT_MAX
from chain.primitives.encoding import DecodeError
from chain.primitives.merkle_block import decode_merkle_block, encode_merkle_block
from chain.primitives.numbers import id_text
from chain.service.api.moment import Moment
from chain.service.api.rpc.errors import Code, RpcError
from chain.service.api.rpc.values import hash_argument, hex_argument

PROVEN_MAX: Final = 1_000  # transactions in one proof
_TRANSACTIONS_MAX: Final = BLOCK_WEIGHT_MAX // 240  # Bitcoin: MIN_TRANSACTION_WEIGHT
_DECODE_FAILED: Final = "Proof decode failed"


def gettxoutproof(moment: Moment, txids: list[str], blockhash: str | None = None) -> str:
    """Give the proof, in hex, that transactions are in one block, all in the same."""
    if not 1 <= len(txids) <= PROVEN_MAX:
        problem = f"Parameter 'txids' must hold 1 to {PROVEN_MAX} ids"
        raise RpcError(Code.INVALID_PARAMETER, problem)
    wanted = {hash_argument(text, "txid") for text in txids}
    if len(wanted) < len(txids):
        raise RpcError(Code.INVALID_PARAMETER, "Invalid parameter, duplicated txid")
    if blockhash is not None:
        entry = moment.stored(hash_argument(blockhash))
        missing = "Block not found"
    else:
        located = moment.snapshot.find(min(wanted))
        entry = None if located is None else moment.best(located.height)
        missing = "Transaction not yet in block"
    if entry is None:
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, missing)
    ids = [tx.txid for tx in moment.block(entry).transactions]
    if not wanted.issubset(ids):
        problem = "Not all transactions found in specified or retrieved block"
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, problem)
    return encode_merkle_block(entry.header, ids, wanted).hex()


def verifytxoutproof(moment: Moment, proof: str) -> list[str]:
    """Give the ids that a proof proves; none if it is wrong. The block must be in the chain."""
    try:
        told = decode_merkle_block(hex_argument(proof, _DECODE_FAILED), _TRANSACTIONS_MAX)
    except DecodeError:
        raise RpcError(Code.DESERIALIZATION, _DECODE_FAILED) from None
    if told.root != told.header.merkle_root:
        return []
    entry = moment.entry(told.header.id)
    if entry is None or not moment.is_best(entry):
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, "Block not found in chain")
    return [id_text(txid) for txid in told.proven]
