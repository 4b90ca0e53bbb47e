"""A network of one's own: chosen values become rules, a mined genesis block, and a file.

The file is what `--network FILE.toml` reads; every node and wallet of the network needs a copy.
"""

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final, TypeAlias

from chain.consensus.genesis import genesis_block
from chain.consensus.params import (
    NETWORKS,
    Params,
    ParamsError,
    network_identity,
    params_from_table,
)
from chain.consensus.subsidy import supply_after
from chain.endpoint import PORT_MAX, Endpoint
from chain.errors import ShownError, UsageError
from chain.mining.kernel import NONCES, Kernel
from chain.network_file import PORTS, Ports
from chain.primitives.compact import bits_from_target, difficulty, target_from_bits
from chain.primitives.numbers import (
    AMOUNT_MAX,
    GRAINS_PER_GROAT,
    Amount,
    coins_text,
    counted,
    id_text,
)
from chain.seed_text import seed_text

DIFFICULTY_MAX: Final = 1.0  # 2^32 hashes: a minute or two for a compiled search
FIRST_HASHES_PER_SECOND: Final = 1_000_000  # what the default first difficulty is made for
_FOUR_YEARS_S: Final = 4 * 365 * 86_400 + 86_400
_HALF_LIFE_BLOCKS: Final = 288  # of the difficulty rule, as on main
_HEADER_AHEAD_S: Final = 600
_DIFFICULTY_1: Final = 0xFFFF << 208  # target of bits 1d00ffff
_EASIEST: Final = 0x7FFFFF << 232  # target of regtest's bits
_CHUNK: Final = 1 << 22  # nonces between two reports of the search
_PORT_FIRST, _PORT_COUNT = 20_000, 5_000  # of the default ports, in pairs
_MESSAGE_MAX: Final = 75
# Of Bitcoin's and well-known coins' networks: wallets would take an address of one for another's.
_FOREIGN_PREFIXES: Final = {
    *("bc", "tb", "bcrt", "ltc", "tltc", "rltc", "vtc", "tvtc", "dgb", "grs", "tgrs", "btg"),
    *("via", "mona", "sys", "fc", "xpc", "part", "bcs", "ric"),
}
_SUBSIDY_MAX: Final = AMOUNT_MAX // 2  # more would be too many coins with any halving
_ERAS: Final = 64  # after as many halvings there is no reward


_Check: TypeAlias = tuple[str, str, str, bool]  # flag, value, bounds, whether it is within them


class NewNetworkError(UsageError):
    """A value is out of range; the text names it and says what it may be."""


class NoNonceError(ShownError):
    """No nonce makes the genesis block valid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPlan:
    """What the maker of a network chooses; the rest follows."""

    name: str
    spacing_s: int
    subsidy: Amount
    halving_blocks: int
    maturity_blocks: int
    prefix: str
    difficulty: float  # of the genesis block, and the lowest ever
    ports: Ports
    magic: bytes
    coin_type: int
    time: int  # of the genesis block, unix seconds
    message: str
    seeds: tuple[str, ...] = ()  # as the file has them


def default_plan(name: str, magic: bytes, now: int, day: str) -> NetworkPlan:
    """Return the plan with every value's default. Raises NewNetworkError: the name cannot be used.

    `day` is shown in the genesis block's message; four random bytes are a good `magic`.
    """
    if name in NETWORKS:
        raise NewNetworkError(f"{name} is a built-in network: choose another name")
    if not name.isidentifier() or not name.isascii() or len(name) > 30:
        problem = "letters, digits and _, at most 30, the first one not a digit"
        raise NewNetworkError(f"name {name[:100]!r}: it must be {problem}")
    spacing_s = 60
    return NetworkPlan(
        name=name,
        spacing_s=spacing_s,
        subsidy=Amount(10 * GRAINS_PER_GROAT),
        halving_blocks=default_halving(spacing_s, Amount(10 * GRAINS_PER_GROAT)),
        maturity_blocks=100,
        prefix=_default_prefix(name),
        difficulty=default_difficulty(spacing_s),
        ports=_default_ports(name),
        magic=magic,
        coin_type=1,
        time=now,
        message=f"{name} {day}"[:_MESSAGE_MAX],
    )


def default_halving(spacing_s: int, subsidy: Amount) -> int:
    """Return the blocks of four years, or fewer if all halvings would make too many coins."""
    most = AMOUNT_MAX // (2 * subsidy) if subsidy else _FOUR_YEARS_S
    return max(min(_FOUR_YEARS_S // max(spacing_s, 1), most), 1)


def default_difficulty(spacing_s: int) -> float:
    """Return the difficulty at which a million hashes a second make a block in each spacing."""
    return min(round(spacing_s * FIRST_HASHES_PER_SECOND / (1 << 32), 6), DIFFICULTY_MAX)


def rules_of(plan: NetworkPlan) -> Params:
    """Return the rules of a plan, its genesis block's nonce not yet found. Raises NewNetworkError.

    Addresses have Bitcoin's testnet bytes: words and keys of main's wallets look different.
    """
    check_flags(plan)
    example = NETWORKS["test"]
    bits = _bits(plan.difficulty)
    values = {field.name: getattr(example, field.name) for field in fields(Params)} | {
        "name": plan.name,
        "magic": plan.magic,
        "bech32_prefix": plan.prefix,
        "bip44_coin_type": plan.coin_type,
        "genesis_message": plan.message,
        "genesis_time": plan.time,
        "genesis_bits": bits,
        "genesis_nonce": 0,
        "spacing_s": plan.spacing_s,
        "target_limit_bits": bits,
        "asert_half_life_s": _HALF_LIFE_BLOCKS * plan.spacing_s,
        "subsidy_start": plan.subsidy,
        "subsidy_halving_blocks": plan.halving_blocks,
        "amount_max": _amount_max(plan),
        "coinbase_maturity_blocks": plan.maturity_blocks,
        "header_ahead_s_max": _HEADER_AHEAD_S,
    }
    try:
        return params_from_table(_plain(values))
    except ParamsError as error:
        raise NewNetworkError(str(error)) from error


def find_nonce(params: Params, kernel: Kernel, report: Callable[[int], None]) -> int:
    """Return the lowest nonce of the genesis block that meets its bits. Raises NoNonceError.

    `report` gets the number of nonces tried so far.
    """
    target = target_from_bits(params.genesis_bits)
    if target is None:
        raise NoNonceError("genesis_bits are not a valid target")
    header = genesis_block(params).header.encode()
    for first in range(0, NONCES, _CHUNK):
        nonce = kernel.search(header, target, first, _CHUNK)
        if nonce is not None:
            return nonce
        report(first + _CHUNK)
    raise NoNonceError("no nonce meets genesis_bits: change genesis_time or genesis_message")


def mined(params: Params, kernel: Kernel, report: Callable[[int], None]) -> Params:
    """Return the rules with a genesis block that has work; its time may move by seconds."""
    while True:
        try:
            return replace(params, genesis_nonce=find_nonce(params, kernel, report))
        except NoNonceError:
            params = replace(params, genesis_time=params.genesis_time + 1)


def file_text(
    params: Params, ports: Ports, seeds: Sequence[str] = (), *, is_worthless: bool = False
) -> str:
    """Return the file of a network, each value with what it means.

    If it `is_worthless`, wallets may be without a password.
    """
    lines = [
        f"# The network {params.name}: every node and every wallet of it needs this file.",
        f"#     groat node --network {params.name}.toml",
        "# Never change [rules] once there are blocks: each value is a rule, and nodes with",
        "# another one belong to another network.",
        "",
        "[rules]",
    ]
    for name, value in _plain({f.name: getattr(params, f.name) for f in fields(Params)}).items():
        comment = _COMMENTS[name](params) if name in _COMMENTS else ""
        lines.append(f"{name} = {json.dumps(value)}" + (f"  # {comment}" if comment else ""))
    lines += ["", "[ports]  # where nodes listen by default"]
    lines += [f"p2p = {ports.p2p}  # for peers", f"api = {ports.api}  # API, explorer, JSON-RPC"]
    lines += _seed_lines(seeds, ports)
    worthless = str(is_worthless).lower()
    lines += ["", "[coins]", f"worthless = {worthless}  # true: wallets may be without a password"]
    return "\n".join(lines) + "\n"


def _seed_lines(seeds: Sequence[str], ports: Ports) -> Iterable[str]:
    """Return the table [seeds]; each on its own line, as lines of TOML files are bounded."""
    yield ""
    yield "[seeds]  # a node that knows few others asks these for addresses; they are not rules"
    yield '# "seed.example.org": a name, all of whose addresses are nodes on the port for peers;'
    yield f'# "203.0.113.7:{ports.p2p or 9444}": a node; a port that is left out is that for peers.'
    if not seeds:
        yield "hosts = []"
        return
    yield "hosts = ["
    yield from (f"    {json.dumps(seed)}," for seed in seeds)
    yield "]"


def described(params: Params, ports: Ports, seeds: Iterable[Endpoint] = ()) -> dict[str, Any]:
    """Return a network's values for `groat network show`."""
    hashes = (1 << 256) // ((target_from_bits(params.genesis_bits) or 0) + 1)
    return {
        "name": params.name,
        "genesis": id_text(genesis_block(params).id),
        "identity": network_identity(params).hex(),
        "magic": params.magic.hex(),
        "bech32_prefix": params.bech32_prefix,
        "coin_type": params.bip44_coin_type,
        "spacing_s": params.spacing_s,
        "subsidy_grains": params.subsidy_start,
        "halving_blocks": params.subsidy_halving_blocks,
        "supply_grains": supply_after(_ERAS * params.subsidy_halving_blocks, params),
        "maturity_blocks": params.coinbase_maturity_blocks,
        "first_difficulty": difficulty(params.genesis_bits),
        "first_hashes": hashes,
        "has_fixed_difficulty": params.asert_half_life_s == 0,
        "p2p_port": ports.p2p,
        "api_port": ports.api,
        "seeds": [seed_text(seed) for seed in seeds],
    }


def described_lines(found: dict[str, Any]) -> Iterable[tuple[str, str]]:
    """Return the values of `described` for people, each with its unit."""
    rate = found["first_hashes"] / found["spacing_s"]
    hashes = f"{rate:,.0f} hashes a second make a block each {found['spacing_s']:,} s"
    if rate < 1:
        hashes = f"{found['first_hashes']:,} hashes make a block"
    change = "never changes" if found["has_fixed_difficulty"] else "follows the hash rate"
    return (
        ("name", found["name"]),
        ("genesis block", found["genesis"]),
        ("identity", found["identity"]),
        ("magic", found["magic"]),
        ("addresses", f"{found['bech32_prefix']}1..., coin type {found['coin_type']}"),
        ("block spacing", f"{found['spacing_s']:,} s"),
        (
            "block reward",
            f"{_coins(found['subsidy_grains'])}, half of it each "
            f"{counted(found['halving_blocks'], 'block')}",
        ),
        ("all coins", _coins(found["supply_grains"])),
        ("coinbase maturity", counted(found["maturity_blocks"], "block")),
        (
            "first difficulty",
            f"{found['first_difficulty']:.6g}: {hashes}; it {change}",
        ),
        ("seeds", ", ".join(found["seeds"]) or "none"),
        ("ports", f"peers {found['p2p_port'] or 'any'}, API {found['api_port'] or 'any'}"),
    )


def check_flags(plan: NetworkPlan, flags: Collection[str] | None = None) -> None:
    """Raise NewNetworkError, in the words of the flags, if one of `flags` is out of its bounds.

    Two that limit each other are compared if both are among them. None: all flags.
    """

    def has(*wanted: str) -> bool:
        return flags is None or set(wanted) <= set(flags)

    for flag, value, bounds, holds in (*_number_checks(plan), *_text_checks(plan)):
        if has(flag) and not holds:
            raise NewNetworkError(f"--{flag} {value}: {bounds}")
    if has("p2p-port", "api-port") and plan.ports.p2p == plan.ports.api != 0:
        raise NewNetworkError(
            f"--p2p-port {plan.ports.p2p} and --api-port {plan.ports.api}: two different ones"
        )
    if has("subsidy", "halving") and _amount_max(plan) > AMOUNT_MAX:
        raise NewNetworkError(
            f"--subsidy {_shown(plan.subsidy)} and --halving {plan.halving_blocks}: at most "
            f"{AMOUNT_MAX // GRAINS_PER_GROAT:,} coins in all, which is 2 * subsidy * halving"
        )


def _amount_max(plan: NetworkPlan) -> int:
    return max(2 * plan.subsidy * plan.halving_blocks, 1)


def _number_checks(plan: NetworkPlan) -> tuple[_Check, ...]:
    def one(flag: str, value: int, least: int, most: int, unit: str) -> _Check:
        return flag, str(value), f"{least} to {most}{unit}", least <= value <= most

    most = (1 << 31) - 1
    return (
        one("spacing", plan.spacing_s, 1, 86_400, " seconds"),
        (
            "subsidy",
            _shown(plan.subsidy),
            f"0 to {_shown(_SUBSIDY_MAX)}, in coins",
            0 <= plan.subsidy <= _SUBSIDY_MAX,
        ),
        one("halving", plan.halving_blocks, 1, most, " blocks"),
        one("maturity", plan.maturity_blocks, 1, most, " blocks"),
        one("p2p-port", plan.ports.p2p, 0, PORT_MAX, "; with 0, any free one"),
        one("api-port", plan.ports.api, 0, PORT_MAX, "; with 0, any free one"),
        one("coin-type", plan.coin_type, 0, most, ""),
        (
            "difficulty",
            f"{plan.difficulty:g}",
            f"more than 0, at most {DIFFICULTY_MAX:g}",
            0 < plan.difficulty <= DIFFICULTY_MAX,
        ),
    )


def _text_checks(plan: NetworkPlan) -> tuple[_Check, ...]:
    prefix, message, magic = (
        repr(plan.prefix[:100]),
        repr(plan.message[:100]),
        plan.magic[:50].hex(),
    )
    is_ascii = plan.message.isascii() and plan.message.isprintable()
    return (
        (
            "prefix",
            prefix,
            "1 to 30 lower-case letters",
            re.fullmatch("[a-z]{1,30}", plan.prefix) is not None,
        ),
        (
            "prefix",
            prefix,
            "it belongs to a built-in network, or to another coin: choose one of its own",
            plan.prefix not in _taken_prefixes(),
        ),
        ("magic", magic, "4 bytes in hex", len(plan.magic) == 4),
        (
            "magic",
            magic,
            "it belongs to a built-in network",
            plan.magic not in {params.magic for params in NETWORKS.values()},
        ),
        (
            "message",
            message,
            f"at most {_MESSAGE_MAX} characters of ASCII",
            is_ascii and len(plan.message) <= _MESSAGE_MAX,
        ),
    )


def _taken_prefixes() -> set[str]:
    return {params.bech32_prefix for params in NETWORKS.values()} | _FOREIGN_PREFIXES


def _shown(grains: int) -> str:
    return coins_text(Amount(grains)).rstrip("0").rstrip(".")


def _bits(first_difficulty: float) -> int:
    """Return the compact form of a difficulty's target."""
    easiest = _DIFFICULTY_1 / _EASIEST
    target = _EASIEST if first_difficulty <= easiest else int(_DIFFICULTY_1 / first_difficulty)
    return bits_from_target(min(target, _EASIEST))


def _default_prefix(name: str) -> str:
    letters = re.sub("[^a-z]", "", name.lower())[:10] or "own"
    return f"{letters}x" if letters in _taken_prefixes() else letters


def _default_ports(name: str) -> Ports:
    """Return a pair of ports that depends on the name: two networks of one machine seldom meet."""
    taken = {port for ports in PORTS.values() for port in (ports.p2p, ports.api)}
    at = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % (_PORT_COUNT // 2)
    while (p2p := _PORT_FIRST + 2 * at) in taken or p2p + 1 in taken:
        at = (at + 1) % (_PORT_COUNT // 2)
    return Ports(p2p, p2p + 1)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.hex() if isinstance(value, bytes) else value for name, value in values.items()
    }


def _coins(grains: int) -> str:
    return coins_text(grains, ",").rstrip("0").rstrip(".") + " coins"


_COMMENTS: Final[dict[str, Callable[[Params], str]]] = {
    "name": lambda _: "also the folder of its data",
    "magic": lambda _: "4 bytes, in hex: tells networks apart on the wire and in block files",
    "bech32_prefix": lambda p: f"addresses begin with {p.bech32_prefix}1",
    "pubkey_address_prefix": lambda _: "the next three: Base58 addresses and keys of other wallets",
    "bip44_coin_type": lambda _: "of the keys that wallets derive (SLIP-44); 1: every test network",
    "genesis_message": lambda _: "in block 0; at most 75 characters",
    "genesis_time": lambda _: "unix seconds",
    "genesis_bits": lambda p: f"difficulty {difficulty(p.genesis_bits):.6g}, in compact form",
    "genesis_nonce": lambda _: "`groat network nonce FILE` finds it",
    "genesis_value": lambda _: "grains; nobody can spend them",
    "spacing_s": lambda _: "seconds between blocks, which the difficulty aims at",
    "target_limit_bits": lambda _: "the lowest difficulty",
    "asert_half_life_s": lambda _: "how slowly the difficulty follows; 0: it never changes",
    "subsidy_start": lambda p: f"grains: {_coins(p.subsidy_start)} a block",
    "subsidy_halving_blocks": lambda _: "the reward is halved after so many blocks",
    "amount_max": lambda _: "grains; no amount is larger",
    "coinbase_maturity_blocks": lambda _: "a reward can be spent so many blocks later",
    "header_ahead_s_max": lambda _: "a block's time may be ahead of the clock by so many seconds",
}
