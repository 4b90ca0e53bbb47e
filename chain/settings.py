"""What a node may choose: flags, then environment, then groat.toml, then defaults."""

import ipaddress
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from platformdirs import user_data_path
from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from chain.consensus.errors import InvalidError
from chain.consensus.genesis import genesis_block
from chain.consensus.header import check_header_work
from chain.consensus.params import NETWORKS, Params, ParamsError, params_from_document
from chain.gossip.address import parse_address
from chain.primitives.address import AddressError, address_script
from chain.primitives.script import p2wpkh_key_hash

NETWORK_FILE_BYTES_MAX: Final = 64 * 1024
CONFIG_NAME: Final = "groat.toml"
PORT_MAX: Final = 65_535
_HOST_CHARACTERS_MAX: Final = 253
_ENDPOINT: Final = re.compile(
    r"(?:\[(?P<ipv6>[^\[\]]+)\]|(?P<host>[\w-]{1,63}(?:\.[\w-]{1,63})*)):(?P<port>[0-9]+)",
    re.ASCII,
)


class SettingsError(ValueError):
    """A setting that makes no sense; says which and why."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host and a TCP port; port 0 means any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a network's nodes listen by default."""

    p2p: int
    api: int


PORTS: Final[Mapping[str, Ports]] = {
    "main": Ports(9444, 9445),
    "test": Ports(19444, 19445),
    "devnet": Ports(29444, 29445),
    "regtest": Ports(39444, 39445),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a node was told, checked and complete."""

    params: Params
    folder: Path  # DATADIR/<network>
    database: str  # SQLAlchemy URL
    p2p: Endpoint
    api: Endpoint
    peers: tuple[Endpoint, ...] = ()
    mine_script: bytes | None = None
    upload_mb_per_day: int = 0  # 0: no limit
    mine_threads: int = 1
    mine_alone: bool = False
    discovery: bool = False
    rpc_auth: tuple[str, ...] = ()
    api_hosts: tuple[str, ...] = ()  # Host headers that the API answers to, besides its own


def _split(value: object) -> object:
    return [part for part in value.split(",") if part] if isinstance(value, str) else value


Texts = Annotated[list[str], NoDecode, BeforeValidator(_split)]  # in the environment: a,b,c


class _Sources(BaseSettings):
    """The values as they were written, from flags, environment and file."""

    model_config = SettingsConfigDict(env_prefix="GROAT_", extra="forbid")

    network: str = "main"
    datadir: Path = Field(default_factory=lambda: user_data_path("groat", appauthor=False))
    database: str | None = None
    p2p: str | None = None
    api: str | None = None
    peer: Texts = Field(default_factory=list)
    mine: str | None = None
    upload_mb_per_day: int = Field(default=0, ge=0, le=1_000_000_000)
    mine_threads: int = Field(default=1, ge=1, le=1024)
    mine_alone: bool = False
    discovery: bool | None = None
    rpc_auth: Texts = Field(default_factory=list)
    api_host: Texts = Field(default_factory=list)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base class passes it
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put flags before the environment before DATADIR/groat.toml."""
        datadir = init_settings().get("datadir") or env_settings().get("datadir")
        folder = Path(datadir) if datadir else user_data_path("groat", appauthor=False)
        file = TomlConfigSettingsSource(settings_cls, folder / CONFIG_NAME)
        return init_settings, env_settings, file


def load_settings(flags: Mapping[str, Any]) -> Settings:
    """Return the settings; `flags` are those given on the command line, None where one was not.

    Raises SettingsError.
    """
    try:
        given = _Sources(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        raise SettingsError(_first_problem(error)) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{CONFIG_NAME}: {error}") from error
    params, ports = load_network(given.network)
    folder = given.datadir.expanduser() / params.name
    return Settings(
        params=params,
        folder=folder,
        database=given.database or f"sqlite:///{folder / 'ledger.sqlite'}",
        p2p=parse_endpoint("p2p", given.p2p) if given.p2p else Endpoint("0.0.0.0", ports.p2p),  # noqa: S104 - peers are to reach it
        api=parse_endpoint("api", given.api) if given.api else Endpoint("127.0.0.1", ports.api),
        peers=tuple(map(_peer, given.peer)),
        mine_script=_mine_script(given.mine, params) if given.mine else None,
        upload_mb_per_day=given.upload_mb_per_day,
        mine_threads=given.mine_threads,
        mine_alone=given.mine_alone,
        discovery=params.name == "devnet" if given.discovery is None else given.discovery,
        rpc_auth=tuple(given.rpc_auth),
        api_hosts=tuple(given.api_host),
    )


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    name = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        return f"there is no setting {name!r} (in {CONFIG_NAME})"
    return f"setting {name}: {first['msg']}"


def load_network(name: str) -> tuple[Params, Ports]:
    """Return rules and default ports of a built-in network, or of the one that a file describes.

    A file (its name ends in .toml) has the table [rules] and may have [ports] with p2p and api.
    Raises SettingsError.
    """
    if name in NETWORKS:
        return NETWORKS[name], PORTS[name]
    if not name.endswith(".toml"):
        known = ", ".join(NETWORKS)
        raise SettingsError(f"network {name!r} is none of {known}, nor a .toml file")
    try:
        with Path(name).open("rb") as file:
            document = tomllib.loads(file.read(NETWORK_FILE_BYTES_MAX).decode())
        params, ports = params_from_document(document), document.get("ports", {})
        check_header_work(genesis_block(params).header, params)
        return params, Ports(int(ports.get("p2p", 0)), int(ports.get("api", 0)))
    except OSError as error:
        raise SettingsError(f"network file {name}: {error.strerror}") from error
    except InvalidError:
        raise SettingsError(f"network file {name}: genesis_nonce does not meet the bits") from None
    except (ParamsError, ValueError, TypeError, AttributeError) as error:
        raise SettingsError(f"network file {name}: {error}") from error


def parse_endpoint(setting: str, text: str) -> Endpoint:
    """Return the endpoint that HOST:PORT or [IPv6]:PORT names. Raises SettingsError."""
    found = _ENDPOINT.fullmatch(text)
    if found is None or not _is_host(found["ipv6"], found["host"]):
        raise SettingsError(f"setting {setting}: {text[:100]!r} is not HOST:PORT")
    host, port = found["ipv6"] or found["host"], found["port"].lstrip("0") or "0"
    if len(port) > len(str(PORT_MAX)) or int(port) > PORT_MAX:
        raise SettingsError(f"setting {setting}: port {port[:20]} is over {PORT_MAX}")
    return Endpoint(host, int(port))


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
    if not _may_be_one_host(endpoint):
        raise SettingsError(f"setting peer: {text!r}: this is no single host's address")
    return endpoint


def _may_be_one_host(endpoint: Endpoint) -> bool:
    try:
        return parse_address(endpoint.host, endpoint.port).is_one_host
    except ValueError:  # a name
        return True


def _mine_script(address: str, params: Params) -> bytes:
    try:
        script = address_script(address, params.bech32_prefix)
    except AddressError as error:
        raise SettingsError(f"setting mine: {error}") from error
    if p2wpkh_key_hash(script) is None:
        raise SettingsError("setting mine: only P2WPKH addresses can be spent here")
    return script
