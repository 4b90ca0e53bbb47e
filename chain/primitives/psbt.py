"""Partially signed transactions (BIP174, version 0): the codec, strict and lossless.

A PSBT is an unsigned transaction with a global map of fields, and one for each input and output.
Fields of unknown types are kept unchanged.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from chain.primitives.encoding import (
    DecodeError,
    read_bytes,
    read_compact_size,
    read_sized,
    with_size,
)
from chain.primitives.key_origin import Origin
from chain.primitives.numbers import (
    AMOUNT_MAX,
    Amount,
    OutPoint,
    counted,
    outpoint_index,
    outpoint_txid,
)
from chain.primitives.signature import is_strict_der
from chain.primitives.transaction import (
    Transaction,
    TxOut,
    decode_base_transaction,
    decode_transaction,
)

PSBT_BYTES_MAX: Final = 16 << 20
PSBT_MAGIC: Final = b"psbt\xff"
_NUMBER_BYTES: Final = 4
_XPUB_BYTES: Final = 78
_KEY_BYTES: Final = {2: 33, 3: 33, 4: 65}  # sizes of a public key, by its first byte

Fields = Mapping[bytes, bytes]  # by key: one byte of type, then data that depend on the type


class PsbtError(DecodeError):
    """Bytes that are not a PSBT of version 0, or a PSBT that contradicts itself."""


class Global(IntEnum):
    """Types of the global fields."""

    UNSIGNED_TX = 0x00
    XPUB = 0x01
    VERSION = 0xFB


class Input(IntEnum):
    """Types of an input's fields."""

    NON_WITNESS_UTXO = 0x00
    WITNESS_UTXO = 0x01
    PARTIAL_SIG = 0x02
    SIGHASH_TYPE = 0x03
    REDEEM_SCRIPT = 0x04
    WITNESS_SCRIPT = 0x05
    BIP32_DERIVATION = 0x06
    FINAL_SCRIPTSIG = 0x07
    FINAL_SCRIPTWITNESS = 0x08


class Output(IntEnum):
    """Types of an output's fields."""

    REDEEM_SCRIPT = 0x00
    WITNESS_SCRIPT = 0x01
    BIP32_DERIVATION = 0x02


@dataclass(frozen=True, slots=True)
class Psbt:
    """An unsigned transaction, and the fields of its maps."""

    transaction: Transaction
    fields: Fields  # the global map, without the transaction
    inputs: tuple[Fields, ...]
    outputs: tuple[Fields, ...]

    def encode(self) -> bytes:
        """Return the bytes, each map sorted by its keys."""
        whole = {bytes([Global.UNSIGNED_TX]): self.transaction.raw, **self.fields}
        maps = (whole, *self.inputs, *self.outputs)
        return PSBT_MAGIC + b"".join(map(_encode_map, maps))

    def text(self) -> str:
        """Return the bytes in base64."""
        return base64.b64encode(self.encode()).decode("ascii")

    def coin(self, index: int) -> TxOut | None:
        """Return the coin an input spends, or None if the PSBT does not contain it.

        The whole previous transaction takes precedence: its id proves the amount.
        """
        return coin_of(self.inputs[index], self.transaction.inputs[index].outpoint)

    def proves_coin(self, index: int) -> bool:
        """Return whether an input's amount is proved by the whole previous transaction."""
        return bytes([Input.NON_WITNESS_UTXO]) in self.inputs[index]


def coin_of(fields: Fields, point: OutPoint) -> TxOut | None:
    """Return the coin that an input with these fields spends, or None if they do not contain it."""
    raw = fields.get(bytes([Input.NON_WITNESS_UTXO]))
    if raw is not None:
        return decode_transaction(raw).outputs[outpoint_index(point)]
    return witness_coin(fields)


def witness_coin(fields: Fields) -> TxOut | None:
    """Return the coin in an input's witness UTXO field, without proof."""
    coin = fields.get(bytes([Input.WITNESS_UTXO]))
    return None if coin is None else _txout(coin)


def decode_psbt(data: bytes) -> Psbt:
    """Decode a PSBT.

    Raises PsbtError: too long, not a PSBT, another version, a repeated or malformed field, trailing
    bytes, or a coin that contradicts the transaction.
    """
    if len(data) > PSBT_BYTES_MAX:
        raise PsbtError(f"a PSBT has at most {PSBT_BYTES_MAX} bytes here")
    try:
        return _decode(data)
    except PsbtError:
        raise
    except DecodeError as error:
        raise PsbtError(f"not a PSBT: {error}") from None


def parse_psbt(text: str) -> Psbt:
    """Decode a PSBT in base64. Raises PsbtError."""
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (ValueError, binascii.Error):
        raise PsbtError("not a PSBT: it is not base64") from None
    return decode_psbt(data)


def origins(fields: Fields, kind: int) -> dict[bytes, Origin]:
    """Return the origins of the public keys in a map; `kind` is its BIP32_DERIVATION."""
    return {key[1:]: origin_of(value) for key, value in fields.items() if key[0] == kind}


def origin_of(value: bytes) -> Origin:
    """Decode an origin from a field's value: the fingerprint, then the child numbers."""
    return Origin(value[:4], tuple(_numbers(value[4:])))


def origin_field(kind: int, public_key: bytes, origin: Origin) -> tuple[bytes, bytes]:
    """Return the field for the origin of a key."""
    path = b"".join(number.to_bytes(_NUMBER_BYTES, "little") for number in origin.path)
    return bytes([kind]) + public_key, origin.fingerprint + path


def signatures(fields: Fields) -> dict[bytes, bytes]:
    """Return an input's signatures, hash type included, by public key."""
    return {key[1:]: value for key, value in fields.items() if key[0] == Input.PARTIAL_SIG}


def witness_items(value: bytes) -> tuple[bytes, ...]:
    """Return the items of a final witness. Raises DecodeError."""
    count, at = read_compact_size(value, 0)
    items = []
    for _ in range(count):
        item, at = read_sized(value, at)
        items.append(item)
    if at != len(value):
        raise PsbtError("bytes after the witness")
    return tuple(items)


def _decode(data: bytes) -> Psbt:
    if not data.startswith(PSBT_MAGIC):
        raise PsbtError("not a PSBT: it does not start as one")
    whole, at = _read_map(data, len(PSBT_MAGIC), _GLOBAL_SHAPES)
    transaction = _unsigned(whole.pop(bytes([Global.UNSIGNED_TX]), None))
    inputs, outputs = [], []
    for _ in transaction.inputs:
        fields, at = _read_map(data, at, _INPUT_SHAPES)
        inputs.append(fields)
    for _ in transaction.outputs:
        fields, at = _read_map(data, at, _OUTPUT_SHAPES)
        outputs.append(fields)
    if at != len(data):
        raise PsbtError(f"{counted(len(data) - at, 'byte')} after the PSBT")
    psbt = Psbt(transaction, whole, tuple(inputs), tuple(outputs))
    for index in range(len(inputs)):
        _check_coin(psbt, index)
    return psbt


def _unsigned(raw: bytes | None) -> Transaction:
    if raw is None:
        raise PsbtError("no unsigned transaction in it: only version 0 is known here")
    transaction = decode_base_transaction(raw)
    if any(txin.script_sig for txin in transaction.inputs):
        raise PsbtError("its transaction is signed already")
    return transaction


_Shape = Callable[[bytes, bytes], bool]  # arguments: the key without its type, and the value


def _read_map(data: bytes, at: int, shapes: Mapping[int, _Shape]) -> tuple[dict[bytes, bytes], int]:
    fields: dict[bytes, bytes] = {}
    while True:
        size, at = read_compact_size(data, at)
        if size == 0:
            return fields, at
        key, at = read_bytes(data, at, size)
        value, at = read_sized(data, at)
        if key in fields:
            raise PsbtError("a field is there twice")
        shape = shapes.get(key[0])
        if shape is not None and not shape(key[1:], value):
            raise PsbtError(f"field {key[0]:#04x} has a wrong key or value")
        fields[key] = value


def _encode_map(fields: Fields) -> bytes:
    pairs = (with_size(key) + with_size(value) for key, value in sorted(fields.items()))
    return b"".join(pairs) + b"\x00"


def _check_coin(psbt: Psbt, index: int) -> None:
    """Raise PsbtError for a previous transaction of another id, or a coin that differs."""
    fields, point = psbt.inputs[index], psbt.transaction.inputs[index].outpoint
    raw = fields.get(bytes([Input.NON_WITNESS_UTXO]))
    if raw is None:
        return
    previous = decode_transaction(raw)
    if previous.txid != outpoint_txid(point):
        raise PsbtError(f"input {index} shows another transaction than it spends")
    if outpoint_index(point) >= len(previous.outputs):
        raise PsbtError(f"input {index} spends an output that does not exist")
    coin = fields.get(bytes([Input.WITNESS_UTXO]))
    if coin is not None and previous.outputs[outpoint_index(point)] != _txout(coin):
        raise PsbtError(f"input {index} shows two different coins")


def _txout(value: bytes) -> TxOut:
    amount, at = read_bytes(value, 0, 8)
    script, at = read_sized(value, at)
    if at != len(value):
        raise PsbtError("bytes after an output")
    return TxOut(Amount(int.from_bytes(amount, "little", signed=True)), script)


def _numbers(value: bytes) -> list[int]:
    starts = range(0, len(value), _NUMBER_BYTES)
    return [int.from_bytes(value[at : at + _NUMBER_BYTES], "little") for at in starts]


def _type_only(check: Callable[[bytes], bool] = lambda _: True) -> _Shape:
    """Return the shape of a field whose key is only its type."""
    return lambda key, value: not key and check(value)


def _is_origin(value: bytes) -> bool:
    return len(value) >= 4 and len(value) % _NUMBER_BYTES == 0


def _is_coin(value: bytes) -> bool:
    return 0 <= _txout(value).value <= AMOUNT_MAX


def _is_witness(value: bytes) -> bool:
    return bool(witness_items(value))


def _is_transaction(value: bytes) -> bool:
    return bool(decode_transaction(value).outputs)


def _is_key(key: bytes) -> bool:
    return _KEY_BYTES.get(key[0] if key else 0) == len(key)


def _is_signature(value: bytes) -> bool:
    return is_strict_der(value[:-1])


_GLOBAL_SHAPES: Final[Mapping[int, _Shape]] = {
    Global.UNSIGNED_TX: _type_only(),
    Global.XPUB: lambda key, value: len(key) == _XPUB_BYTES and _is_origin(value),
    Global.VERSION: _type_only(lambda value: value == bytes(_NUMBER_BYTES)),
}
_INPUT_SHAPES: Final[Mapping[int, _Shape]] = {
    Input.NON_WITNESS_UTXO: _type_only(_is_transaction),
    Input.WITNESS_UTXO: _type_only(_is_coin),
    Input.PARTIAL_SIG: lambda key, value: _is_key(key) and _is_signature(value),
    Input.SIGHASH_TYPE: _type_only(lambda value: len(value) == _NUMBER_BYTES),
    Input.REDEEM_SCRIPT: _type_only(),
    Input.WITNESS_SCRIPT: _type_only(),
    Input.BIP32_DERIVATION: lambda key, value: _is_key(key) and _is_origin(value),
    Input.FINAL_SCRIPTSIG: _type_only(),
    Input.FINAL_SCRIPTWITNESS: _type_only(_is_witness),
}
_OUTPUT_SHAPES: Final[Mapping[int, _Shape]] = {
    Output.REDEEM_SCRIPT: _type_only(),
    Output.WITNESS_SCRIPT: _type_only(),
    Output.BIP32_DERIVATION: lambda key, value: _is_key(key) and _is_origin(value),
}
