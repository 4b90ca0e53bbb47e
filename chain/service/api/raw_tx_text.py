"""Esplora's JSON of a transaction, written from its bytes.

A page of a script's history has 25 transactions, nearly all of which spend by witnesses alone.
Objects of their inputs and outputs, only to be written at once, would take twice the time of this.
Every other transaction is decoded and written as chain/service/api/tx_text.py does; tests hold this
text to that one.
"""

import struct
from typing import Final

from chain.consensus.coin import Coin
from chain.primitives.address import AddressPrefixes
from chain.primitives.numbers import NULL_HASH, Hash32
from chain.primitives.transaction import MARKER_AND_FLAG, WITNESS_SCALE, decode_transaction
from chain.service.api.tx_text import (
    ScriptTexts,
    script_texts,
    tx_text_in,
)

_INPUTS_START: Final = 7  # after the version, these two, and a count of one byte
_INPUT_BYTES: Final = 41  # with an empty script
_OUTPUT_BYTES: Final = 9  # of one without its script
_LOCK_TIME_BYTES: Final = 4
_BASE_SCALE: Final = WITNESS_SCALE - 1  # of what the witnesses are not in
_WIDE: Final = 0xFD  # from this value, a size takes more than one byte
_read_inputs: Final = struct.Struct("<32sIBI").iter_unpack  # txid, index, script size, sequence
_read_output: Final = struct.Struct("<qB").unpack_from  # value, script size
_read_version: Final = struct.Struct("<i").unpack_from
_read_lock_time: Final = struct.Struct("<I").unpack_from


class _UnusualError(Exception):
    """The transaction is to be decoded."""


def raw_tx_text(
    raw: bytes,
    txid: Hash32,
    coins: tuple[Coin, ...],
    status: str,
    prefixes: AddressPrefixes,
) -> str:
    """Return the JSON of a transaction by its bytes, the coins that it spends, and its status.

    `raw` has been found to be a transaction with this txid; a coinbase spends no coins. The status
    is JSON, too.
    """
    try:
        return _written(raw, txid, coins, status, script_texts(prefixes))
    except (_UnusualError, IndexError, struct.error):
        return tx_text_in(status, decode_transaction(raw), coins, prefixes)


def _written(  # noqa: PLR0915 - three functions would take a third longer
    raw: bytes, txid: Hash32, coins: tuple[Coin, ...], status: str, texts: ScriptTexts
) -> str:
    """Return the JSON. Raises _UnusualError, IndexError, struct.error."""
    count = raw[_INPUTS_START - 1]
    inputs_end = _INPUTS_START + _INPUT_BYTES * count
    output_count = raw[inputs_end]  # a wide one taken for one byte could show other outputs
    if raw[4:6] != MARKER_AND_FLAG or count != len(coins) or max(count, output_count) >= _WIDE:
        raise _UnusualError
    vin = vout = ""
    fee = 0
    at = inputs_end + 1
    for _ in range(output_count):
        value, size = _read_output(raw, at)
        if size >= _WIDE:
            raise _UnusualError
        start = at + _OUTPUT_BYTES
        at = start + size
        vout = f"{vout}{texts[raw[start:at]]}{value}}},"
        fee -= value
    base_size, digits = at - len(MARKER_AND_FLAG) + _LOCK_TIME_BYTES, raw.hex()
    inputs = _read_inputs(raw[_INPUTS_START:inputs_end])
    for coin, (spent, index, size, sequence) in zip(coins, inputs):  # noqa: B905 - as many
        value = coin.value
        if size or spent == NULL_HASH:
            raise _UnusualError
        start, second = at + 2, at + 2 + raw[at + 1]
        if raw[at] == 2 and second - start < _WIDE > raw[second]:  # a signature and its key
            at = second + 1 + raw[second]
            first = digits[2 * start : 2 * second]
            witness = f'"witness":["{first}","{digits[2 * second + 2 : 2 * at]}"],'
        else:
            witness, at = _witness(raw, digits, at)
        vin = (
            f'{vin}{{"txid":"{spent[::-1].hex()}","vout":{index},"prevout":{texts[coin.script]}{value}}},'
            f'"scriptsig":"","scriptsig_asm":"",{witness}"is_coinbase":false,'
            f'"sequence":{sequence}}},'
        )
        fee += value
    (version,), (lock_time,), size = _read_version(raw), _read_lock_time(raw, at), len(raw)
    if at + _LOCK_TIME_BYTES != size:
        raise _UnusualError
    return (
        f'{{"txid":"{txid[::-1].hex()}","version":{version},"locktime":{lock_time},'
        f'"vin":[{vin[:-1]}],"vout":[{vout[:-1]}],"size":{size},'
        f'"weight":{_BASE_SCALE * base_size + size},"fee":{fee},"status":{status}}}'
    )


def _witness(raw: bytes, digits: str, at: int) -> tuple[str, int]:
    """Return the JSON of the witness at `at` with a comma, or nothing, and its end.

    `digits` are the hex digits of `raw`.
    """
    count, items = raw[at], []
    if count >= _WIDE:
        raise _UnusualError
    at += 1
    for _ in range(count):
        size = raw[at]
        if size >= _WIDE:
            raise _UnusualError
        start = at + 1
        at = start + size
        items.append(digits[2 * start : 2 * at])
    text = '","'.join(items)
    return (f'"witness":["{text}"],' if items else ""), at
