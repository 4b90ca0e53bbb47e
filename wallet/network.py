"""The chosen network, and the local address of its node."""

from pathlib import Path

from chain.api_address import running_api_address
from chain.consensus.params import NETWORKS, Params
from chain.network_file import (
    PORTS,
    NetworkFileError,
    built_in_network,
    load_network_file,
    load_ports,
    load_worthless,
)
from chain.printable import printable
from wallet.errors import InputError, NoDefaultNodeError


def find_network(name: str) -> Params:
    """Return a built-in network, or the one that a file describes. Raises InputError."""
    if name not in NETWORKS and not name.endswith(".toml"):
        shown = printable(name, 80)
        raise InputError(
            f"no such network: {shown!r}; choose {', '.join(NETWORKS)}, or a FILE.toml"
        )
    try:
        if name in NETWORKS:
            return built_in_network(name)
        params, _ = load_network_file(Path(name))
    except NetworkFileError as error:
        raise InputError(str(error)) from None
    return params


def are_coins_worthless(params: Params, name: str) -> bool:
    """Return whether a network file says so; `name` is find_network's argument.

    False for a built-in network: which of these allow a wallet without a password is known.
    Raises InputError: the file is no longer one.
    """
    try:
        return params.name not in NETWORKS and load_worthless(Path(name))
    except NetworkFileError as error:  # changed since
        raise InputError(str(error)) from None


def local_node(params: Params, name: str, datadir: Path) -> str:
    """Return the API address of a node on this machine; `name` is find_network's argument.

    That is the node that runs with this data directory, or one on the network's default port.
    Raises NoDefaultNodeError: there is none of the first, and a network file names no port.
    """
    running = running_api_address(datadir / params.name)
    if running is not None:
        return f"http://{running.to_dial()}/api"
    try:
        ports = PORTS[params.name] if params.name in PORTS else load_ports(Path(name))
    except NetworkFileError as error:  # changed since
        raise InputError(str(error)) from None
    if not ports.api:
        raise NoDefaultNodeError(f"no default port for network {params.name}: give --node URL")
    return f"http://127.0.0.1:{ports.api}/api"
