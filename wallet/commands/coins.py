"""Commands for notes on coins and payments: freeze, unfreeze, label."""

from dataclasses import dataclass
from typing import Annotated

import typer

from chain.primitives.numbers import OutPoint, id_text
from wallet.errors import InputError
from wallet.flags import Common
from wallet.session import Session
from wallet.spend.recipient import parse_address, usual_address
from wallet.view import outpoint_text, parse_outpoint, parse_txid

_TXID_CHARACTERS = 64  # as many as a Taproot address on regtest has


@dataclass(frozen=True, slots=True)
class CoinFlags:
    """The argument of `freeze` and `unfreeze`."""

    coin: Annotated[str, typer.Argument(metavar="TXID:N", help="As `utxos` shows it.")]


@dataclass(frozen=True, slots=True)
class LabelFlags:
    """The arguments of `label`."""

    name: Annotated[str, typer.Argument(metavar="ADDRESS|TXID", help="What to label.")]
    text: Annotated[str, typer.Argument(metavar="TEXT", help="An empty text removes the label.")]


def freeze(common: Common, flags: CoinFlags) -> None:
    """Keep a coin from being spent, until it is unfrozen.

    This is stored in the wallet folder only: a restore from the words loses it.
    """
    session = Session(common)
    point = parse_outpoint(flags.coin)
    account = session.folder.account()
    with session.node() as esplora, session.lock():
        state = session.folder.state()
        if all(coin.point != point for coin in session.scan(account, esplora, state).coins()):
            raise InputError(f"this wallet has no coin {outpoint_text(point)}: see utxos")
        state.freeze(point)
        session.folder.save(state)
    _report(session, point, is_frozen=True)


def unfreeze(common: Common, flags: CoinFlags) -> None:
    """Let a frozen coin be spent again."""
    session = Session(common)
    point = parse_outpoint(flags.coin)
    session.folder.account()  # it must exist
    with session.lock():
        state = session.folder.state()
        if point not in state.frozen:
            raise InputError(f"{outpoint_text(point)} is not frozen: see utxos")
        state.frozen.remove(point)
        session.folder.save(state)
    _report(session, point, is_frozen=False)


def label(common: Common, flags: LabelFlags) -> None:
    """Give an address or a transaction a label, shown in history, utxos and address."""
    session = Session(common)
    name = flags.name.strip()
    prefix = session.params.bech32_prefix
    if len(name) == _TXID_CHARACTERS and not name.lower().startswith(f"{prefix}1"):
        name = id_text(parse_txid(name))
    else:
        name = usual_address(parse_address(name, session.params), session.params)
    session.folder.account()  # it must exist
    with session.lock():
        state = session.folder.state()
        state.set_label(name, flags.text)
        session.folder.save(state)
    session.show({"name": name, "label": flags.text or None}, [f"{name}  {flags.text}".rstrip()])


def _report(session: Session, point: OutPoint, *, is_frozen: bool) -> None:
    text = outpoint_text(point)
    session.show({"coin": text, "frozen": is_frozen}, [f"{text} {'' if is_frozen else 'un'}frozen"])
