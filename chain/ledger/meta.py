"""Facts about the ledger as a whole: whose it is, where its tip is, what its coins sum up to."""

from dataclasses import dataclass

from sqlalchemy import Connection

from chain.consensus.params import Params, network_identity
from chain.ledger.coins import DIGEST_BYTES, CoinSet
from chain.ledger.engine import read_rows, write_rows
from chain.ledger.errors import DamagedError, WrongNetworkError
from chain.primitives.numbers import Hash32

_INSERT = "INSERT INTO meta (name, value) VALUES (?, ?)"
_UPDATE = "UPDATE meta SET value = ? WHERE name = ?"
_COUNT_BYTES = 8


@dataclass(frozen=True, slots=True)
class Meta:
    """What the table says."""

    tip: Hash32
    coins: CoinSet


def insert_meta(connection: Connection, params: Params, meta: Meta) -> None:
    """Write the facts of a new ledger."""
    values = {"identity": network_identity(params), "network": params.name.encode()}
    write_rows(connection, _INSERT, [*values.items(), *_values(meta).items()])


def update_meta(connection: Connection, meta: Meta) -> None:
    """Write what a change of the chain changes."""
    write_rows(connection, _UPDATE, [(value, name) for name, value in _values(meta).items()])


def read_meta(connection: Connection, params: Params) -> Meta | None:
    """Return the facts, None if the ledger is new. Raises WrongNetworkError, DamagedError."""
    rows: dict[str, bytes] = dict(read_rows(connection, "SELECT name, value FROM meta"))
    if not rows:
        return None
    if not all(isinstance(value, bytes) for value in rows.values()):
        raise DamagedError("a fact about the ledger has the wrong type")
    try:
        if rows["identity"] != network_identity(params):
            theirs = rows["network"].decode("ascii", "replace")
            raise WrongNetworkError(
                f"the ledger is of network {theirs!r} with other rules than {params.name!r} here"
            )
        digest = int.from_bytes(rows["coins_digest"], "little")
        count = int.from_bytes(rows["coins_count"], "little")
        return Meta(Hash32(rows["tip"]), CoinSet(digest, count))
    except KeyError as error:
        raise DamagedError(f"the fact {error} about the ledger is missing") from error


def read_tip(connection: Connection) -> Hash32:
    """Return the id of the best chain's last block. Raises DamagedError."""
    for row in read_rows(connection, "SELECT value FROM meta WHERE name = 'tip'"):
        return Hash32(row[0])
    raise DamagedError("the ledger names no tip")


def _values(meta: Meta) -> dict[str, bytes]:
    return {
        "tip": meta.tip,
        "coins_digest": meta.coins.digest.to_bytes(DIGEST_BYTES, "little"),
        "coins_count": meta.coins.count.to_bytes(_COUNT_BYTES, "little"),
    }
