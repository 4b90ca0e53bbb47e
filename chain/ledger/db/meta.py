"""Facts about the whole ledger: its network, its tip, and the sums of its coins."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields

from sqlalchemy import Connection

from chain.consensus.params import Params, identity_before_scripts, network_identity
from chain.ledger.db.coins import DIGEST_BYTES, CoinSet
from chain.ledger.db.engine import read_rows, write_rows
from chain.ledger.db.url import shown_url
from chain.ledger.errors import DamagedError, WrongNetworkError
from chain.primitives.numbers import Hash32

_INSERT = "INSERT INTO meta (name, value) VALUES (?, ?)"
_UPDATE = "UPDATE meta SET value = ? WHERE name = ?"
_COUNT_BYTES = 8
_RULES_SHOWN_MAX = 4  # of those that differ
_RULE_CHARACTERS_MAX = 40
_WRAP = 1 << 8 * _COUNT_BYTES  # larger sums come only from damage, which the next start detects
_SUMS = ("coins_digest", "coins_count", "coins_value", "coins_script_bytes")


@dataclass(frozen=True, slots=True)
class Meta:
    """The values of the table `meta`."""

    tip: Hash32
    coins: CoinSet


def insert_meta(connection: Connection, params: Params, meta: Meta) -> None:
    """Insert the values of a new ledger."""
    values = {"identity": network_identity(params), "network": params.name.encode()}
    write_rows(connection, _INSERT, [*values.items(), *_values(meta).items()])


def note_rules(connection: Connection, params: Params) -> None:
    """Write the rules if they are not there, as in older ledgers: to name those that differ."""
    if not read_rows(connection, "SELECT value FROM meta WHERE name = 'rules'"):
        write_rows(connection, _INSERT, [("rules", _encoded(params))])


def update_meta(connection: Connection, meta: Meta) -> None:
    """Write the values that change with the chain."""
    write_rows(connection, _UPDATE, [(value, name) for name, value in _values(meta).items()])


def read_meta(connection: Connection, params: Params) -> Meta | None:
    """Return the values, None if the ledger is new. Raises WrongNetworkError, DamagedError."""
    query = "SELECT name, value FROM meta"
    rows: dict[str, bytes] = dict(read_rows(connection, query, (), (str, bytes)))
    if not rows:
        return None
    try:
        ours, theirs = _encoded(params), rows.get("rules")  # None: of an older release
        is_known = rows["identity"] in {network_identity(params), identity_before_scripts(params)}
        if theirs is not None and is_known != (theirs == ours):
            raise DamagedError("the ledger's rules are not those of its identity")
        if not is_known:
            raise WrongNetworkError(_other_network(_place(connection), rows, params))
        return Meta(Hash32(rows["tip"]), _coins(rows))
    except KeyError as error:
        raise DamagedError(f"the ledger's entry {error} is missing") from error


def upgrade_identity(connection: Connection, params: Params) -> bool:
    """Make a ledger of the time before scripts one of today; return whether it was one."""
    query = "SELECT value FROM meta WHERE name = 'identity'"
    if read_rows(connection, query) != [(identity_before_scripts(params),)]:
        return False
    write_rows(connection, _UPDATE, [(network_identity(params), "identity")])
    return True


def read_tip(connection: Connection) -> Hash32:
    """Return the id of the best chain's last block. Raises DamagedError."""
    query = "SELECT value FROM meta WHERE name = 'tip'"
    for (tip,) in read_rows(connection, query, (), (bytes,)):
        return Hash32(tip)
    raise DamagedError("the ledger has no entry for its tip")


def read_coin_sums(connection: Connection) -> CoinSet:
    """Return the sums of the coins as last written. Raises DamagedError."""
    return _coins(dict(read_rows(connection, "SELECT name, value FROM meta", (), (str, bytes))))


def _coins(rows: dict[str, bytes]) -> CoinSet:
    try:
        return CoinSet(*(int.from_bytes(rows[name], "little") for name in _SUMS))
    except KeyError as error:
        raise DamagedError(f"the ledger's entry {error} is missing") from error


def _place(connection: Connection) -> str:
    url = connection.engine.url
    return str(url.database) if url.get_backend_name() == "sqlite" else shown_url(url)


def _encoded(params: Params) -> bytes:
    return json.dumps(_rules(params)).encode()


def _rules(params: Params) -> dict[str, str]:
    values = {field.name: getattr(params, field.name) for field in fields(params)}
    return {name: v.hex() if isinstance(v, bytes) else str(v) for name, v in values.items()}


def _other_network(ledger: str, rows: Mapping[str, bytes], params: Params) -> str:
    """Return which network a ledger is of, the rules that differ, and what to do."""
    network = rows["network"].decode("ascii", "replace")
    remedy = "use the network that it was made with, or choose another --datadir"
    if network != params.name:
        return f"the ledger {ledger} is of network {network!r}, not {params.name!r}: {remedy}"
    return (
        f"the ledger {ledger} was made with other rules of network {network!r}"
        f"{_differing(rows.get('rules', b''), params)}: {remedy}"
    )


def _differing(written: bytes, params: Params) -> str:
    """Return the rules that differ from those of a ledger; nothing if it does not say them."""
    try:
        theirs = dict(json.loads(written))
    except (TypeError, ValueError):  # of an older release, or damaged
        return ""
    shown = [
        f"{name} {str(theirs.get(name))[:_RULE_CHARACTERS_MAX]}, now {ours[:_RULE_CHARACTERS_MAX]}"
        for name, ours in _rules(params).items()
        if theirs.get(name) != ours
    ]
    more = len(shown) - _RULES_SHOWN_MAX
    text = "; ".join(shown[:_RULES_SHOWN_MAX]) + (f"; and {more} more" if more > 0 else "")
    return f" ({text})"


def _values(meta: Meta) -> dict[str, bytes]:
    return {
        "tip": meta.tip,
        "coins_digest": meta.coins.digest.to_bytes(DIGEST_BYTES, "little"),
        "coins_count": meta.coins.count.to_bytes(_COUNT_BYTES, "little"),
        "coins_value": (meta.coins.value % _WRAP).to_bytes(_COUNT_BYTES, "little"),
        "coins_script_bytes": (meta.coins.script_bytes % _WRAP).to_bytes(_COUNT_BYTES, "little"),
    }
