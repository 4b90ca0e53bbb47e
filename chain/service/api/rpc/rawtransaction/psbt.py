"""JSON-RPC: creating, combining, updating and finalizing PSBTs; the node holds no keys."""

from dataclasses import replace
from typing import Final

from chain.primitives.encoding import DecodeError
from chain.primitives.key_origin import Origin
from chain.primitives.numbers import outpoint_index, outpoint_txid
from chain.primitives.psbt import (
    PSBT_BYTES_MAX,
    Fields,
    Input,
    Output,
    Psbt,
    PsbtError,
    coin_of,
    origin_field,
    parse_psbt,
)
from chain.primitives.psbt_roles import (
    OtherTransactionError,
    combine,
    extract,
    finalize_input,
    good_witness,
    hash_type,
    is_final,
)
from chain.primitives.script import is_p2wpkh
from chain.primitives.sighash import SignatureHasher
from chain.primitives.transaction import (
    Transaction,
    TxIn,
    decode_base_transaction,
    decode_transaction,
)
from chain.service.api.error_codes import Code
from chain.service.api.exact_json import Json
from chain.service.api.rpc.arguments import Int64, UInt32
from chain.service.api.rpc.descriptor_argument import described_scripts
from chain.service.api.rpc.errors import RpcError
from chain.service.api.rpc.method import Method
from chain.service.api.rpc.rawtransaction.raw_transaction import createrawtransaction
from chain.service.api.rpc.values import hex_argument
from chain.service.api.snapshot import NodeSnapshot

COMBINED_MAX: Final = 1_000
DESCRIPTORS_MAX: Final = 1_000
Keys = dict[bytes, tuple[bytes, Origin]]  # public keys by output script
_NON_WITNESS: Final = bytes([Input.NON_WITNESS_UTXO])
_WITNESS_UTXO: Final = bytes([Input.WITNESS_UTXO])


def createpsbt(  # noqa: PLR0913 - Core's arguments
    snapshot: NodeSnapshot,
    inputs: list[Json],
    outputs: list[Json] | dict[str, Json],
    locktime: Int64 = 0,
    *,
    replaceable: bool = True,
    version: UInt32 = 2,
) -> str:
    """Return a PSBT of a new transaction; the arguments are those of createrawtransaction."""
    raw = createrawtransaction(
        snapshot, inputs, outputs, locktime, replaceable=replaceable, version=version
    )
    return _blank(decode_base_transaction(bytes.fromhex(raw))).text()


def converttopsbt(
    snapshot: NodeSnapshot,  # noqa: ARG001 - nothing is looked up
    hexstring: str,
    *,
    permitsigdata: bool = False,
    iswitness: bool | None = None,
) -> str:
    """Return a PSBT of a transaction in hex, if `permitsigdata` without signatures."""
    tx = _transaction(hex_argument(hexstring, "TX decode failed"), iswitness=iswitness)
    if not permitsigdata and any(txin.script_sig or txin.witness for txin in tx.inputs):
        problem = "Inputs must not have scriptSigs and scriptWitnesses"
        raise RpcError(Code.DESERIALIZATION, problem)
    inputs = [TxIn(txin.outpoint, sequence=txin.sequence) for txin in tx.inputs]
    return _blank(Transaction(tx.version, inputs, tx.outputs, tx.lock_time)).text()


def combinepsbt(snapshot: NodeSnapshot, txs: list[str]) -> str:  # noqa: ARG001 - nothing is looked up
    """Combine PSBTs of one transaction; where they differ, the first one counts."""
    if not txs:
        raise RpcError(Code.INVALID_PARAMETER, "Parameter 'txs' cannot be empty")
    if len(txs) > COMBINED_MAX:
        raise RpcError(Code.INVALID_PARAMETER, f"at most {COMBINED_MAX} PSBTs can be combined")
    if not all(isinstance(text, str) for text in txs):
        raise RpcError(Code.TYPE, "JSON value is not of expected type string")
    try:
        return combine([decode(text) for text in txs]).text()
    except OtherTransactionError:
        problem = "PSBTs not compatible (different transactions)"
        raise RpcError(Code.INVALID_PARAMETER, problem) from None
    except PsbtError as error:
        problem = f"PSBTs not compatible ({error})"
        raise RpcError(Code.INVALID_PARAMETER, problem) from None


def finalizepsbt(snapshot: NodeSnapshot, psbt: str, *, extract: bool = True) -> Json:  # noqa: ARG001 - nothing is looked up
    """Build the witness of each input that has a valid signature.

    If all have one, return the transaction's hex, or the PSBT if `extract` is false. Only P2WPKH is
    supported.
    """
    given = decode(psbt)
    hasher = SignatureHasher(given.transaction)
    inputs: list[Fields] = []
    is_complete = True
    for index, fields in enumerate(given.inputs):
        witness = good_witness(given, index, hasher, hash_type(given, index))
        is_complete = is_complete and witness is not None
        is_ready = witness is not None and not is_final(given, index)
        inputs.append(finalize_input(fields, witness) if witness and is_ready else fields)
    done = replace(given, inputs=tuple(inputs))
    if is_complete and extract:
        return {"hex": _extracted(done).raw.hex(), "complete": True}
    return {"psbt": done.text(), "complete": is_complete}


def utxoupdatepsbt(snapshot: NodeSnapshot, psbt: str, descriptors: list[Json] | None = None) -> str:
    """Add to each input the transaction whose output it spends, from the chain or the mempool.

    Descriptors wpkh(KEY), ranged ones too, add the key's derivation to the inputs and outputs that
    use it.
    """
    given = decode(psbt)
    keys = _keys(snapshot, descriptors or [])
    inputs, size = [], 0
    for index, fields in enumerate(given.inputs):
        updated = fields if is_final(given, index) else _updated(snapshot, given, index, keys)
        size += sum(map(len, updated.values()))
        if size > PSBT_BYTES_MAX:
            problem = f"the PSBT would have over {PSBT_BYTES_MAX} bytes"
            raise RpcError(Code.INVALID_PARAMETER, problem)
        inputs.append(updated)
    outputs = [
        {**_known(keys, out.script, Output.BIP32_DERIVATION), **fields}
        for out, fields in zip(given.transaction.outputs, given.outputs, strict=True)
    ]
    return replace(given, inputs=tuple(inputs), outputs=tuple(outputs)).text()


def decode(text: str) -> Psbt:
    """Return the PSBT in base64 text. Raises RpcError DESERIALIZATION."""
    try:
        return parse_psbt(text)
    except PsbtError as error:
        raise RpcError(Code.DESERIALIZATION, f"TX decode failed {error}") from None


_extracted = extract  # finalizepsbt has an argument of this name


def _blank(transaction: Transaction) -> Psbt:
    inputs = tuple[Fields, ...]({} for _ in transaction.inputs)
    return Psbt(transaction, {}, inputs, tuple({} for _ in transaction.outputs))


def _transaction(raw: bytes, *, iswitness: bool | None) -> Transaction:
    """Return the transaction, read with or without witnesses; `None` tries both."""
    readers = [decode_transaction, decode_base_transaction]
    if iswitness is not None:
        readers = readers[:1] if iswitness else readers[1:]
    for read in readers:
        try:
            return read(raw)
        except DecodeError:
            continue
    raise RpcError(Code.DESERIALIZATION, "TX decode failed")


def _keys(snapshot: NodeSnapshot, descriptors: list[Json]) -> Keys:
    """Return the descriptors' public keys and their origins by output script. Raises RpcError."""
    if len(descriptors) > DESCRIPTORS_MAX:
        problem = f"at most {DESCRIPTORS_MAX} descriptors"
        raise RpcError(Code.INVALID_PARAMETER, problem)
    return {
        script: (found.key.public_key(index), found.key.origin_at(index))
        for script, found, index in described_scripts(descriptors, snapshot.api.params)
        if found.key is not None
    }


def _updated(snapshot: NodeSnapshot, psbt: Psbt, index: int, keys: Keys) -> Fields:
    """Return an input's fields with the spent transaction and the coin's key origin."""
    fields, point = dict(psbt.inputs[index]), psbt.transaction.inputs[index].outpoint
    if _NON_WITNESS not in fields:
        found = snapshot.find(outpoint_txid(point))
        if found is not None and outpoint_index(point) < len(found.tx.outputs):
            fields[_NON_WITNESS] = found.tx.raw
    coin = coin_of(fields, point)
    if coin is None:
        return fields
    if fields.get(_WITNESS_UTXO, coin.encode()) != coin.encode():
        problem = f"input {index} describes another coin than it spends"
        raise RpcError(Code.INVALID_PARAMETER, problem)
    if is_p2wpkh(coin.script):
        fields.setdefault(_WITNESS_UTXO, coin.encode())
    return {**_known(keys, coin.script, Input.BIP32_DERIVATION), **fields}


def _known(keys: Keys, script: bytes, kind: int) -> Fields:
    """Return the derivation field of a script's key, if known."""
    found = keys.get(script)
    return {} if found is None else dict([origin_field(kind, *found)])


METHODS: Final = (
    Method(createpsbt, "Rawtransactions"),
    Method(converttopsbt, "Rawtransactions"),
    Method(combinepsbt, "Rawtransactions"),
    Method(finalizepsbt, "Rawtransactions"),
    Method(utxoupdatepsbt, "Rawtransactions"),
)
