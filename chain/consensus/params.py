"""The rules of each network, every field in full."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from chain.primitives.address import AddressPrefixes
from chain.primitives.compact import bits_from_target, target_from_bits
from chain.primitives.hashes import sha256d
from chain.primitives.numbers import AMOUNT_MAX, GRAINS_PER_GROAT, Amount, Hash32

_NAME_BYTES_MAX: Final = 64  # also the name of a folder
_BECH32_PREFIX_CHARACTERS_MAX: Final = 30  # BIP173: 90 characters with 59 of a 32-byte program


class ParamsError(ValueError):
    """An invalid description of a network; the text names the field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """Rules of one network. A change to any field is a hard fork of it."""

    name: str
    magic: bytes  # 4 bytes before each block in a block file, and in groat's coinbases
    bech32_prefix: str
    pubkey_address_prefix: int  # the first byte of P2PKH addresses in base58check
    script_address_prefix: int  # of P2SH addresses
    secret_key_prefix: int  # of private keys in wallet import format
    bip44_coin_type: int
    genesis_message: str  # at most 75 bytes of ASCII
    genesis_time: int
    genesis_bits: int
    genesis_nonce: int
    genesis_value: Amount
    genesis_script: bytes  # the coinbase's output script; it can never be spent
    spacing_s: int  # the aim of the difficulty rule
    target_limit_bits: int  # the easiest target, compact
    asert_half_life_s: int  # 0: the difficulty never changes
    subsidy_start: Amount
    subsidy_halving_blocks: int
    amount_max: Amount
    coinbase_maturity_blocks: int
    header_ahead_s_max: int

    @property
    def address_prefixes(self) -> AddressPrefixes:
        """What the network's addresses start with."""
        return AddressPrefixes(
            self.bech32_prefix, self.pubkey_address_prefix, self.script_address_prefix
        )


MAIN: Final = Params(
    name="main",
    magic=bytes.fromhex("f1c79ad3"),
    bech32_prefix="groat",
    pubkey_address_prefix=38,
    script_address_prefix=97,
    secret_key_prefix=166,
    bip44_coin_type=4676,
    genesis_message="groat main 22/Nov/2026 small coins, real work, no one in charge",
    genesis_time=1795305600,
    genesis_bits=0x1D1FFFFF,
    genesis_nonce=72_422_792,
    genesis_value=Amount(0),
    genesis_script=b"\x6a",
    spacing_s=120,
    target_limit_bits=0x1D1FFFFF,
    asert_half_life_s=288 * 120,
    subsidy_start=Amount(10 * GRAINS_PER_GROAT),
    subsidy_halving_blocks=1_050_000,
    amount_max=Amount(21_000_000 * GRAINS_PER_GROAT),
    coinbase_maturity_blocks=100,
    header_ahead_s_max=600,
)

TEST: Final = Params(
    name="test",
    magic=bytes.fromhex("e2b8d5a6"),
    bech32_prefix="tgroat",
    pubkey_address_prefix=66,
    script_address_prefix=127,
    secret_key_prefix=194,
    bip44_coin_type=1,
    genesis_message="groat test 22/Nov/2026 small coins, real work, no one in charge",
    genesis_time=1795305600,
    genesis_bits=0x1E0FFFFF,
    genesis_nonce=215_016,
    genesis_value=Amount(0),
    genesis_script=b"\x6a",
    spacing_s=120,
    target_limit_bits=0x1E0FFFFF,
    asert_half_life_s=288 * 120,
    subsidy_start=Amount(10 * GRAINS_PER_GROAT),
    subsidy_halving_blocks=1_050_000,
    amount_max=Amount(21_000_000 * GRAINS_PER_GROAT),
    coinbase_maturity_blocks=100,
    header_ahead_s_max=600,
)

DEVNET: Final = Params(
    name="devnet",
    magic=bytes.fromhex("d4e9b6c7"),
    bech32_prefix="dgroat",
    pubkey_address_prefix=66,
    script_address_prefix=127,
    secret_key_prefix=194,
    bip44_coin_type=1,
    genesis_message="groat devnet 22/Nov/2026 small coins, real work, no one in charge",
    genesis_time=1795305600,
    genesis_bits=0x1E03FFFF,
    genesis_nonce=3_716_566,
    genesis_value=Amount(0),
    genesis_script=b"\x6a",
    spacing_s=5,
    target_limit_bits=0x1E03FFFF,
    asert_half_life_s=288 * 5,
    subsidy_start=Amount(10 * GRAINS_PER_GROAT),
    subsidy_halving_blocks=1_050_000,
    amount_max=Amount(21_000_000 * GRAINS_PER_GROAT),
    coinbase_maturity_blocks=100,
    header_ahead_s_max=600,
)

REGTEST: Final = Params(  # Bitcoin's regtest: CRegTestParams
    name="regtest",
    magic=bytes.fromhex("fabfb5da"),
    bech32_prefix="bcrt",
    pubkey_address_prefix=111,
    script_address_prefix=196,
    secret_key_prefix=239,
    bip44_coin_type=1,
    genesis_message="The Times 03/Jan/2009 Chancellor on brink of second bailout for banks",
    genesis_time=1296688602,
    genesis_bits=0x207FFFFF,
    genesis_nonce=2,
    genesis_value=Amount(50 * GRAINS_PER_GROAT),
    genesis_script=bytes.fromhex(
        "4104678afdb0fe5548271967f1a67130b7105cd6a828e03909a67962e0ea1f61deb6"
        "49f6bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5fac"
    ),
    spacing_s=600,
    target_limit_bits=0x207FFFFF,
    asert_half_life_s=0,
    subsidy_start=Amount(50 * GRAINS_PER_GROAT),
    subsidy_halving_blocks=150,
    amount_max=Amount(21_000_000 * GRAINS_PER_GROAT),
    coinbase_maturity_blocks=100,
    header_ahead_s_max=7200,
)

NETWORKS: Final[Mapping[str, Params]] = {p.name: p for p in (MAIN, TEST, DEVNET, REGTEST)}


def network_identity(params: Params) -> Hash32:
    """Return SHA-256d over every field; equal in all peers and ledgers of a network.

    The fields determine the genesis block, so it is covered, too.
    """
    return _identity({field.name: getattr(params, field.name) for field in fields(params)})


def identity_before_scripts(params: Params) -> Hash32:
    """Return the identity that the network had while only P2WPKH outputs could be spent.

    Its blocks are valid under today's rules, too: ledgers and mempools of that time are kept.
    """
    values = {field.name: getattr(params, field.name) for field in fields(params)}
    for name in ("pubkey_address_prefix", "script_address_prefix", "secret_key_prefix"):
        del values[name]
    return _identity({**values, "p2wpkh_height": 1})


def _identity(values: Mapping[str, Any]) -> Hash32:
    lines = (
        f"{name}={value.hex() if isinstance(value, bytes) else value}\n"
        for name, value in values.items()
    )
    return sha256d("".join(lines).encode())


def params_from_document(document: Mapping[str, Any]) -> Params:
    """Return the Params in the table [rules] of a network file. Raises ParamsError."""
    rules = document.get("rules")
    if not isinstance(rules, Mapping):
        raise ParamsError("the table [rules] is missing")
    return params_from_table(rules)


def params_from_table(table: Mapping[str, Any]) -> Params:
    """Return the Params in a table (of a network file); bytes are in hex.

    Raises ParamsError: a field is missing, unknown, of the wrong type or out of range.
    """
    known = {field.name: field.type for field in fields(Params)}
    for name in table:
        if name not in known:
            raise ParamsError(f"unknown field {name[:100]!r}")
    values: dict[str, Any] = {}
    for name in known:
        if name not in table:
            raise ParamsError(f"field {name!r} is missing")
        values[name] = _value(name, table[name])
    params = Params(**values)
    _check_ranges(params)
    return params


def _value(name: str, given: object) -> object:
    example = getattr(REGTEST, name)
    if isinstance(example, bytes):
        if not isinstance(given, str):
            raise ParamsError(f"field {name!r} must be hex text")
        try:
            return bytes.fromhex(given)
        except ValueError:
            raise ParamsError(f"field {name!r} is not hex") from None
    if type(given) is not type(example):
        raise ParamsError(f"field {name!r} must be of type {type(example).__name__}")
    return given


def _check_ranges(params: Params) -> None:
    checks = {
        "name": params.name.isidentifier()
        and params.name not in NETWORKS
        and len(params.name.encode()) <= _NAME_BYTES_MAX,
        "magic": len(params.magic) == 4,
        "bech32_prefix": _is_bech32_prefix(params.bech32_prefix),
        "bip44_coin_type": 0 <= params.bip44_coin_type < 1 << 31,
        "genesis_message": params.genesis_message.isascii() and len(params.genesis_message) <= 75,
        "genesis_time": 0 <= params.genesis_time < 1 << 32,
        "genesis_bits": 0 <= params.genesis_bits < 1 << 32,
        "target_limit_bits": _is_canonical_target(params.target_limit_bits),
        "genesis_nonce": 0 <= params.genesis_nonce < 1 << 32,
        "genesis_script": 0 < len(params.genesis_script) <= 100,
        "spacing_s": 1 <= params.spacing_s <= 86_400,
        "asert_half_life_s": 0 <= params.asert_half_life_s < 1 << 31,
        "subsidy_halving_blocks": 1 <= params.subsidy_halving_blocks < 1 << 31,
        "amount_max": 0 < params.amount_max <= AMOUNT_MAX,
        "genesis_value": 0 <= params.genesis_value <= params.amount_max,
        "coinbase_maturity_blocks": 1 <= params.coinbase_maturity_blocks < 1 << 31,
        "header_ahead_s_max": 1 <= params.header_ahead_s_max < 1 << 31,
        "pubkey_address_prefix": 0 <= params.pubkey_address_prefix <= 0xFF,
        "script_address_prefix": 0 <= params.script_address_prefix <= 0xFF
        and params.script_address_prefix != params.pubkey_address_prefix,
        "secret_key_prefix": 0 <= params.secret_key_prefix <= 0xFF,
        "subsidy_start": params.subsidy_start >= 0
        and 2 * params.subsidy_start * params.subsidy_halving_blocks <= params.amount_max,
    }
    for name, holds in checks.items():
        if not holds:
            raise ParamsError(f"field {name!r} is out of range")


def _is_bech32_prefix(text: str) -> bool:
    """Return whether text may stand before the 1 of an address: BIP173 writes one case only."""
    return (
        text.isascii()
        and text.isalpha()
        and text.islower()
        and len(text) <= _BECH32_PREFIX_CHARACTERS_MAX
    )


def _is_canonical_target(bits: int) -> bool:
    """Return whether compact bits are a target in the form that ASERT gives."""
    target = target_from_bits(bits) if 0 <= bits < 1 << 32 else None
    return target is not None and bits_from_target(target) == bits


for _params in NETWORKS.values():
    _supply = 2 * _params.subsidy_start * _params.subsidy_halving_blocks
    assert _supply <= _params.amount_max, "the halvings must not make more than the greatest amount"
