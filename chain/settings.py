"""A node's settings, from flags, environment, groat.toml and defaults, in this order."""

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from platformdirs import user_data_path
from pydantic import BeforeValidator, Field, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from chain.consensus.params import NETWORKS, Params
from chain.debug_categories import CATEGORIES, UnknownCategoryError, expand_categories
from chain.endpoint import PORT_MAX, Endpoint
from chain.errors import UsageError
from chain.folder_path import expanded, file_in_the_way
from chain.gossip.seeds import DnsSeed, Seed
from chain.gossip.wire.address import parse_address
from chain.near_names import did_you_mean
from chain.network_file import (
    PORTS,
    NetworkFileError,
    Ports,
    built_in_network,
    load_network_file,
    load_seeds,
)
from chain.primitives.address import AddressError, address_script
from chain.rpc_auth import RpcAuthError, parse_rpc_auth
from chain.seed_text import SeedTextError, is_dns_name, parse_seeds
from chain.text_file import TextFileError, read_toml, shown_path

__all__ = [
    "LEDGER_NAME",
    "PORTS",
    "Endpoint",
    "Ports",
    "Settings",
    "SettingsError",
    "load_network",
    "load_settings",
    "parse_endpoint",
    "variable_names",
]

CONFIG_NAME: Final = "groat.toml"
LEDGER_NAME: Final = "ledger.sqlite"
_PREFIX: Final = "GROAT_"  # of the environment's variables
API_PROCESSES_MAX: Final = 64
_CORES_MIN: Final = 3
_DEFAULT_PROCESSES_MAX: Final = 4
_SHOWN_CHARACTERS_MAX: Final = 100  # of a quoted invalid text
_HOST_CHARACTERS_MAX: Final = 253
# The first words of pydantic's error types, and what the value must be.
_LIMITS: Final = {"greater": "at least", "less": "at most"}
_KINDS: Final = {
    "bool": "true or false",
    "int": "a whole number",
    "list": "text, or a list of texts",
    "path": "a path",
    "string": "text",
}
_NAMED: Final = re.compile(r"setting (\w+): ")
_HOST_PORT: Final = re.compile(
    r"(?:\[(?P<ipv6>[^\[\]]+)\]|(?P<host>[\w-]{1,63}(?:\.[\w-]{1,63})*))(?::(?P<port>[0-9]+))?",
    re.ASCII,
)


class SettingsError(UsageError, ValueError):
    """An invalid setting; the text names it and says why."""

    def __init__(self, problem: str, value: str = "") -> None:
        """Say what is wrong; `value` is shown if the text does not have it."""
        super().__init__(problem)
        self.value = value


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of a node, validated and complete."""

    params: Params
    folder: Path  # DATADIR/<network>
    database: str | Path  # an SQLAlchemy URL, or the file of an SQLite database
    p2p: Endpoint
    api: Endpoint
    network: str = "main"  # as given: a name or a file
    api_processes: int = 0  # that answer the API instead of the node itself
    peers: tuple[Endpoint, ...] = ()
    seeds: tuple[Seed, ...] = ()
    mine_script: bytes | None = None
    upload_mb_per_day: int = 0  # 0: no limit
    mine_threads: int = 1
    mine_alone: bool = False
    discovery: bool = False
    rpc_auth: tuple[str, ...] = ()
    api_hosts: tuple[str, ...] = ()  # further Host headers that the API accepts
    debug: frozenset[str] = frozenset()  # categories of the log
    config_file: Path | None = None  # the groat.toml that was read
    quiet: bool = False  # standard error has only warnings and errors
    take_over: bool = False  # from another node, on PostgreSQL; only a flag, for one start


def _split(value: object) -> object:
    return [part for part in value.split(",") if part] if isinstance(value, str) else value


def _number(value: object) -> object:
    """Refuse values that pydantic would convert to int: true and 1.0."""
    if isinstance(value, bool | float):
        raise ValueError("must be a whole number")  # noqa: TRY004 - pydantic shows only these
    return value


Texts = Annotated[list[str], NoDecode, BeforeValidator(_split)]  # in the environment: a,b,c
Number = Annotated[int, BeforeValidator(_number)]


class _Sources(BaseSettings):
    """The raw values from flags, environment and file."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, env_ignore_empty=True, extra="forbid")

    network: str = "main"
    datadir: Path = Field(default_factory=lambda: user_data_path("groat", appauthor=False))
    database: str | None = None
    p2p: str | None = None
    api: str | None = None
    api_processes: Annotated[int, BeforeValidator(_number)] | None = Field(
        default=None, ge=0, le=API_PROCESSES_MAX
    )
    peer: Texts = Field(default_factory=list)
    seed: Texts = Field(default_factory=list)
    mine: str | None = None
    upload_mb_per_day: Number = Field(default=0, ge=0, le=1_000_000_000)
    mine_threads: Number = Field(default=1, ge=1, le=1024)
    mine_alone: bool = False
    discovery: bool | None = None
    rpc_auth: Texts = Field(default_factory=list)
    api_host: Texts = Field(default_factory=list)
    debug: Texts = Field(default_factory=list)
    quiet: bool = False

    @field_validator("*", mode="before")
    @classmethod
    def _is_not_empty(cls, value: object) -> object:
        """Refuse what a script's unset variable leaves; in the environment it is no setting."""
        if value == "" or (isinstance(value, list) and "" in value):
            raise ValueError("is empty: give it a value, or leave it out")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base class passes it
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: flags, environment, DATADIR/groat.toml."""
        datadir = init_settings().get("datadir") or env_settings().get("datadir")
        folder = _expanded(datadir) if datadir else user_data_path("groat", appauthor=False)
        file = InitSettingsSource(settings_cls, _config_in(folder))
        return init_settings, env_settings, file


def _expanded(datadir: Path | str) -> Path:
    """Return a folder with its leading ~ or ~USER replaced. Raises SettingsError."""
    try:
        return expanded(datadir)
    except UsageError as error:
        raise SettingsError(f"setting datadir: {error}") from error


def _config_in(folder: Path) -> dict[str, Any]:
    """Return the content of groat.toml, empty if there is no file. Raises SettingsError."""
    try:
        found = read_toml(folder / CONFIG_NAME)
    except TextFileError as error:
        if error.is_missing:
            return {}
        raise SettingsError(str(error)) from error
    if "datadir" in found:
        raise SettingsError(f"{CONFIG_NAME}: datadir is a flag or GROAT_DATADIR: the file is in it")
    return found


def load_settings(flags: Mapping[str, Any]) -> Settings:
    """Return the settings; `flags` are those of the command line, None if not given.

    Raises SettingsError.
    """
    try:
        return _loaded({name: value for name, value in flags.items() if value is not None})
    except SettingsError as error:
        found = _NAMED.match(str(error))
        source = "" if found is None else _source_of(found[1], flags)
        if not source:
            raise
        value = f"{error.value}, " if error.value else ""
        raise SettingsError(f"{error} ({value}{source})") from error


def _source_of(name: str, flags: Mapping[str, Any]) -> str:
    """Return where a setting's value is from, for the end of an error."""
    if flags.get(name) is not None:
        return f"from --{name.replace('_', '-')}"
    variable = f"{_PREFIX}{name}".upper()
    if any(key.upper() == variable and value for key, value in os.environ.items()):
        return f"from {variable} in the environment"
    return f"from {CONFIG_NAME}"


def _loaded(flags: Mapping[str, Any]) -> Settings:
    """Return the settings. Raises SettingsError."""
    try:
        given = _Sources(**flags)
    except ValidationError as error:
        raise SettingsError(_first_problem(error), _first_value(error)) from error
    params, ports = load_network(given.network)
    datadir = _expanded(given.datadir)
    blocking = file_in_the_way(datadir)
    if blocking is not None:
        raise SettingsError(f"setting datadir: {shown_path(blocking)} is not a folder")
    config_file = datadir / CONFIG_NAME
    folder = datadir / params.name
    return Settings(
        params=params,
        folder=folder,
        database=given.database or folder / LEDGER_NAME,
        p2p=parse_endpoint("p2p", given.p2p) if given.p2p else Endpoint("0.0.0.0", ports.p2p),  # noqa: S104 - peers must reach it
        api=parse_endpoint("api", given.api) if given.api else Endpoint("127.0.0.1", ports.api),
        network=given.network,
        api_processes=_api_processes(given.api_processes, params.name),
        peers=tuple(map(_peer, given.peer)),
        seeds=_seeds(given.seed, given.network, ports.p2p),
        mine_script=_mine_script(given.mine, params) if given.mine else None,
        upload_mb_per_day=given.upload_mb_per_day,
        mine_threads=given.mine_threads,
        mine_alone=given.mine_alone,
        discovery=params.name == "devnet" if given.discovery is None else given.discovery,
        rpc_auth=tuple(map(_rpc_auth, given.rpc_auth)),
        api_hosts=tuple(map(_api_host, given.api_host)),
        debug=_debug(given.debug),
        config_file=config_file if config_file.exists() else None,
        quiet=given.quiet,
    )


def variable_names() -> dict[str, str]:
    """Return the environment variable of each setting, by the setting's name."""
    return {name: f"{_PREFIX}{name.upper()}" for name in _Sources.model_fields}


def _api_processes(given: int | None, network: str) -> int:
    """Return how many processes answer the API; by default cores less two, 4 at most.

    None on devnet and regtest, and where there are fewer than three cores: the node answers.
    """
    if given is not None:
        return given
    cores = os.cpu_count() or 1
    if network in {"devnet", "regtest"} or cores < _CORES_MIN:
        return 0
    return min(cores - 2, _DEFAULT_PROCESSES_MAX)


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    name = str(first["loc"][0])[:_SHOWN_CHARACTERS_MAX]
    if first["type"] == "extra_forbidden":
        near = did_you_mean(name.replace("-", "_"), _Sources.model_fields)
        return f"there is no setting {name!r} (in {CONFIG_NAME}){near}"
    if first["type"] == "value_error":
        return f"setting {name}: {first['ctx']['error']}"
    kind = first["type"].split("_")[0]
    limits = first.get("ctx", {})
    if kind in _LIMITS:
        return f"setting {name}: must be {_LIMITS[kind]} {next(iter(limits.values()))}"
    return f"setting {name}: must be {_KINDS.get(kind, 'something else')}"


def _first_value(error: ValidationError) -> str:
    """Return the value of a number or a truth value; others may be secret, or are not one line."""
    first = error.errors()[0]
    value, kind = first["input"], first["type"].split("_")[0]
    is_number = isinstance(value, bool | int | float)
    if is_number or (kind in {"bool", "int"} and isinstance(value, str)):
        return repr(value)[:_SHOWN_CHARACTERS_MAX]
    return ""


def load_network(name: str) -> tuple[Params, Ports]:
    """Return the rules and default ports of a built-in network, or of a network file.

    Raises SettingsError.
    """
    if name not in NETWORKS and not name.endswith(".toml"):
        known = ", ".join(NETWORKS)
        shown = name[:_SHOWN_CHARACTERS_MAX]
        near = did_you_mean(name, NETWORKS)
        raise SettingsError(f"network {shown!r} is not one of {known}, nor a .toml file{near}")
    try:
        if name in NETWORKS:
            return built_in_network(name), PORTS[name]
        return load_network_file(Path(name))
    except NetworkFileError as error:
        raise SettingsError(str(error)) from error


def load_network_seeds(name: str) -> tuple[Endpoint, ...]:
    """Return the seeds of a network's file; built-in networks have none. Raises SettingsError."""
    if name in NETWORKS:
        return ()
    try:
        return load_seeds(Path(name))
    except NetworkFileError as error:
        raise SettingsError(str(error)) from error


def parse_endpoint(setting: str, text: str) -> Endpoint:
    """Return the endpoint of HOST:PORT or [IPv6]:PORT. Raises SettingsError."""
    host, port = _host_port(setting, text, "HOST:PORT")
    if port is None:
        raise _unlike(setting, text, "HOST:PORT")
    return Endpoint(host, port)


def _host_port(setting: str, text: str, form: str) -> tuple[str, int | None]:
    """Return the host, without brackets, and the port if there is one. Raises SettingsError."""
    found = _HOST_PORT.fullmatch(text)
    if found is None or not _is_host(found["ipv6"], found["host"]):
        raise _unlike(setting, text, form)
    host = found["ipv6"] or found["host"]
    if found["port"] is None:
        return host, None
    port = found["port"].lstrip("0") or "0"
    if len(port) > len(str(PORT_MAX)) or int(port) > PORT_MAX:
        raise SettingsError(f"setting {setting}: port {port[:20]} is over {PORT_MAX}")
    return host, int(port)


def _unlike(setting: str, text: str, form: str) -> SettingsError:
    return SettingsError(f"setting {setting}: {text[:_SHOWN_CHARACTERS_MAX]!r} is not {form}")


def _is_host(ipv6: str | None, name: str | None) -> bool:
    if name is not None:
        return len(name) <= _HOST_CHARACTERS_MAX
    try:
        ipaddress.IPv6Address(ipv6 or "")
    except ValueError:
        return False
    return True


def _peer(text: str) -> Endpoint:
    endpoint = parse_endpoint("peer", text)
    if endpoint.port == 0 or "%" in endpoint.host:
        raise SettingsError(f"setting peer: {text!r}: a peer has a port from 1 on, and no zone")
    if endpoint.to_dial() != endpoint:
        raise SettingsError(
            f"setting peer: {text!r} is an address to listen on: name the peer's own "
            f"({endpoint.to_dial()} on this machine)"
        )
    if not _may_be_one_host(endpoint):
        raise SettingsError(f"setting peer: {text!r}: not the address of a single host")
    return endpoint


def _seeds(texts: list[str], network: str, default_port: int) -> tuple[Seed, ...]:
    """Return the seeds of the network's file, and further ones. Raises SettingsError."""
    try:
        seeds = parse_seeds(texts, default_port, load_network_seeds(network))
    except SeedTextError as error:
        raise SettingsError(f"setting seed: {error}") from error
    return tuple(
        DnsSeed(seed.host, seed.port)
        if is_dns_name(seed.host)
        else parse_address(seed.host, seed.port)
        for seed in seeds
    )


def _may_be_one_host(endpoint: Endpoint) -> bool:
    try:
        return parse_address(endpoint.host, endpoint.port).is_one_host
    except ValueError:  # a name
        return True


def _api_host(text: str) -> str:
    """Return an accepted Host header: a name or an IP, alone (without brackets) or with a port.

    Raises SettingsError.
    """
    if _is_host(text, None):  # an IPv6 address alone needs no brackets
        return text
    host, port = _host_port("api_host", text, "NAME or NAME:PORT")
    return host if port is None else str(Endpoint(host, port))


def _rpc_auth(line: str) -> str:
    try:
        parse_rpc_auth(line)
    except RpcAuthError as error:
        raise SettingsError(f"setting rpc_auth: {error}") from error
    return line


def _debug(names: list[str]) -> frozenset[str]:
    try:
        return expand_categories(names)
    except UnknownCategoryError as error:
        known = ", ".join((*CATEGORIES, "all", "none"))
        near = did_you_mean(error.name, CATEGORIES)
        raise SettingsError(f"setting debug: {error}: the known ones are {known}{near}") from error


def _mine_script(address: str, params: Params) -> bytes:
    try:
        return address_script(address, params.address_prefixes)
    except AddressError as error:
        raise SettingsError(f"setting mine: {error}") from error
