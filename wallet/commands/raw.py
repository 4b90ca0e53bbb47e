"""A command for transactions as bytes: decode."""

from dataclasses import dataclass
from typing import Annotated, Final

import typer

from chain.primitives.address import AddressPrefixes, script_address
from chain.primitives.encoding import DecodeError
from chain.primitives.numbers import Hash32, id_text, outpoint_index, outpoint_txid
from chain.primitives.script import script_kind
from chain.primitives.transaction import Transaction, decode_transaction
from chain.printable import printable
from wallet.commands.spending import (
    broadcast_transaction,
)
from wallet.commands.summary import output_lines
from wallet.errors import InputError
from wallet.flags import Common
from wallet.session import Session
from wallet.store.state import State
from wallet.view import parse_txid

_SHOWN_CHARACTERS_MAX: Final = 40  # of a word that is no transaction


@dataclass(frozen=True, slots=True)
class DecodeFlags:
    """The argument of `decode`."""

    transaction: Annotated[str, typer.Argument(metavar="HEX", help="A transaction.")]


def decode(common: Common, flags: DecodeFlags) -> None:
    """Show what a transaction spends and pays; nothing is requested from the node or sent."""
    session = Session(common)
    try:
        transaction = decode_transaction(bytes.fromhex(flags.transaction))
    except ValueError as error:  # not hex, or a DecodeError
        raise _no_transaction(flags.transaction, error) from None
    spent = [
        f"{id_text(outpoint_txid(txin.outpoint))}:{outpoint_index(txin.outpoint)}"
        for txin in transaction.inputs
    ]
    lines = [
        f"transaction {id_text(transaction.txid)}, {transaction.vsize} vB",
        *(f"spends  {coin}" for coin in spent),
        *output_lines(transaction.outputs, session.params),
        f"lock time {transaction.lock_time}, version {transaction.version}",
    ]
    prefixes = session.params.address_prefixes
    session.show(_value(transaction, spent, prefixes), lines)


def _value(
    transaction: Transaction, spent: list[str], prefixes: AddressPrefixes
) -> dict[str, object]:
    return {
        "txid": id_text(transaction.txid),
        "wtxid": id_text(transaction.wtxid),
        "version": transaction.version,
        "lock_time": transaction.lock_time,
        "vsize": transaction.vsize,
        "weight": transaction.weight,
        "inputs": [
            {"coin": coin, "sequence": txin.sequence, "witness": [w.hex() for w in txin.witness]}
            for coin, txin in zip(spent, transaction.inputs, strict=True)
        ],
        "outputs": [
            {
                "amount": out.value,
                "unit": "grain",
                "kind": str(script_kind(out.script)),
                "script": out.script.hex(),
                "address": script_address(out.script, prefixes),
            }
            for out in transaction.outputs
        ],
    }


_TXID_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class BroadcastFlags:
    """The argument of `broadcast`."""

    transaction: Annotated[
        str,
        typer.Argument(metavar="HEX|TXID", help="Hex, or the id of a payment of this wallet."),
    ]


def broadcast(common: Common, flags: BroadcastFlags) -> None:
    """Send a signed transaction, or a payment of this wallet again; repeating it does no harm."""
    session = Session(common)
    given = _id_or_transaction(flags.transaction)  # an error in it needs no node
    session.folder.account()  # it must exist
    with session.node("nothing was sent") as esplora, session.lock():
        state = session.folder.state()
        signed = given if isinstance(given, Transaction) else _remembered(given, state)
        if signed.txid in state.pending or signed.txid in state.remembered:
            broadcast_transaction(session, esplora, state, signed)
        else:
            esplora.broadcast(signed)
    name = id_text(signed.txid)
    session.show({"txid": name, "broadcast": True}, [name])


def _id_or_transaction(text: str) -> Hash32 | Transaction:
    text = text.strip()
    if len(text) == _TXID_CHARACTERS:
        return parse_txid(text)
    try:
        return decode_transaction(bytes.fromhex(text))
    except ValueError as error:
        raise _no_transaction(text, error) from None


def _no_transaction(text: str, error: ValueError) -> InputError:
    """Return why a text is not a transaction in hex; `error` is a DecodeError if it is hex."""
    if len(text) == _TXID_CHARACTERS and isinstance(error, DecodeError):
        return InputError(f"{text} is the id of a transaction: give the transaction itself, in hex")
    shown = printable(text, _SHOWN_CHARACTERS_MAX)
    what = error if isinstance(error, DecodeError) and text else "not hex"
    return InputError(f"not a transaction in hex: {shown!r}: {what}")


def _remembered(txid: Hash32, state: State) -> Transaction:
    found = state.pending.get(txid) or state.remembered.get(txid)
    if found is None:
        raise InputError(f"this wallet has no transaction {id_text(txid)}: see history")
    return found.transaction
