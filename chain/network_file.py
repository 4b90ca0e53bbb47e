"""Networks by name: built-in ones, and custom ones from a file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from chain.consensus.errors import InvalidError
from chain.consensus.genesis import genesis_block
from chain.consensus.header import check_header_work
from chain.consensus.params import NETWORKS, Params, ParamsError, params_from_document
from chain.endpoint import PORT_MAX, Endpoint, is_port
from chain.errors import UsageError
from chain.seed_text import SeedTextError, parse_seeds
from chain.text_file import TextFileError, read_toml, shown_path


class NetworkFileError(UsageError):
    """An invalid network file; the text names it and says why."""


@dataclass(frozen=True, slots=True)
class Ports:
    """The default ports of a network's nodes; 0 means any free port."""

    p2p: int = 0
    api: int = 0


PORTS: Final[Mapping[str, Ports]] = {
    "main": Ports(9444, 9445),
    "test": Ports(19444, 19445),
    "devnet": Ports(29444, 29445),
    "regtest": Ports(39444, 39445),
}
_PORT_NAMES: Final = ("p2p", "api")


def network_names(incomplete: str) -> list[str]:
    """Return what completes a network: a built-in one, or a file of this folder."""
    known = [*PORTS, *sorted(path.name for path in Path().glob("*.toml"))]
    return [name for name in known if name.startswith(incomplete)]


def built_in_network(name: str) -> Params:
    """Return the rules of one of NETWORKS.

    Raises NetworkFileError: its constants were edited so that its genesis block lacks work.
    """
    params = NETWORKS[name]
    _check_genesis(params, f"network {name}", name)
    return params


def load_network_file(path: Path) -> tuple[Params, Ports]:
    """Return the rules and default ports of the network that a TOML file describes.

    It has the table [rules] and may have [ports] with p2p and api, [seeds] with hosts, and [coins]
    with worthless.
    Raises NetworkFileError.
    """
    document = _document(path)
    try:
        params, ports = params_from_document(document), _ports(document)
        _seeds(document), _worthless(document)  # a mistake in them is one of the file
    except ParamsError as error:
        raise _unusable(path, error) from error
    _check_genesis(params, f"network file {shown_path(path)}", shown_path(path))
    return params, ports


def _check_genesis(params: Params, subject: str, name: str) -> None:
    """Check the work of a network's genesis block, which takes microseconds.

    Raises NetworkFileError, whose text begins with `subject`; `name` is what commands call it.
    """
    try:
        check_header_work(genesis_block(params).header, params)
    except InvalidError as error:
        problem = "genesis_nonce does not meet the bits"
        hint = f"`groat network nonce {name}` finds one that does"
        raise NetworkFileError(f"{subject}: {problem}; {hint}") from error


def load_rules(path: Path) -> Params:
    """Return the rules in a network file, whose genesis block may lack work.

    Raises NetworkFileError.
    """
    try:
        return params_from_document(_document(path))
    except ParamsError as error:
        raise _unusable(path, error) from error


def load_ports(path: Path) -> Ports:
    """Return only the default ports of a network file. Raises NetworkFileError."""
    try:
        return _ports(_document(path))
    except ParamsError as error:
        raise _unusable(path, error) from error


def load_seeds(path: Path) -> tuple[Endpoint, ...]:
    """Return the seeds of a network file: DNS names and IPs, with ports. Raises NetworkFileError.

    They are not rules: nodes with other seeds belong to the same network.
    """
    try:
        return _seeds(_document(path))
    except ParamsError as error:
        raise _unusable(path, error) from error


def load_worthless(path: Path) -> bool:
    """Return whether a network file says that its coins are worthless. Raises NetworkFileError.

    On such a network a wallet may be without a password, as on devnet and regtest.
    """
    try:
        return _worthless(_document(path))
    except ParamsError as error:
        raise _unusable(path, error) from error


def _document(path: Path) -> dict[str, Any]:
    try:
        return read_toml(path)
    except TextFileError as error:
        raise NetworkFileError(f"network file {error}") from error


def _unusable(path: Path, why: ParamsError) -> NetworkFileError:
    return NetworkFileError(f"network file {shown_path(path)} describes no network: {why}")


def _ports(document: Mapping[str, Any]) -> Ports:
    """Return the ports in the table [ports], if there is one. Raises ParamsError."""
    table = document.get("ports", {})
    if not isinstance(table, dict):
        raise ParamsError("[ports] is not a table")
    for name, value in table.items():
        if name not in _PORT_NAMES:
            raise ParamsError(f"unknown port {name[:100]!r} in [ports]: only p2p and api are known")
        if not is_port(value):
            raise ParamsError(f"port {name!r} must be a whole number from 0 to {PORT_MAX}")
    if table.get("p2p") and table.get("p2p") == table.get("api"):
        raise ParamsError("p2p and api in [ports] must be two different ports")
    return Ports(**table)


def _seeds(document: Mapping[str, Any]) -> tuple[Endpoint, ...]:
    """Return `hosts` of the table [seeds]; () without it. Raises ParamsError."""
    table = document.get("seeds", {})
    if not isinstance(table, dict):
        raise ParamsError("[seeds] is not a table: hosts = [...] belongs in it")
    for name in table:
        if name != "hosts":
            raise ParamsError(f"unknown field {name[:100]!r} in [seeds]: only hosts is known")
    hosts = table.get("hosts", [])
    if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
        raise ParamsError("hosts in [seeds] must be a list of texts")
    try:
        return parse_seeds(hosts, _ports(document).p2p)
    except SeedTextError as error:
        raise ParamsError(f"hosts in [seeds]: {error}") from error


def _worthless(document: Mapping[str, Any]) -> bool:
    """Return `worthless` of the table [coins]; False without it. Raises ParamsError."""
    table = document.get("coins", {})
    if not isinstance(table, dict):
        raise ParamsError("[coins] is not a table")
    for name in table:
        if name != "worthless":
            raise ParamsError(f"unknown field {name[:100]!r} in [coins]: only worthless is known")
    found = table.get("worthless", False)
    if not isinstance(found, bool):
        raise ParamsError("worthless in [coins] must be true or false")
    return found
