"""Which network, and where its node on this machine answers."""

import tomllib
from pathlib import Path
from typing import Final

from chain.consensus.params import NETWORKS, Params, ParamsError, params_from_document
from wallet.errors import InputError

_API_PORTS: Final = {"main": 9445, "test": 19445, "devnet": 29445, "regtest": 39445}
_PORTS: Final = range(1, 1 << 16)


def find_network(name: str) -> Params:
    """Return a built-in network, or the one that a file describes. Raises InputError."""
    if name in NETWORKS:
        return NETWORKS[name]
    if not name.endswith(".toml"):
        raise InputError(f"no such network; there are {', '.join(NETWORKS)}, or a FILE.toml")
    try:
        return params_from_document(tomllib.loads(Path(name).read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, ParamsError) as error:
        raise InputError(f"{name} describes no network: {error}") from None


def local_node(params: Params, name: str) -> str:
    """Return the API address of a node on this machine; `name` is what find_network was given.

    Raises InputError: a network file that names no port for the API.
    """
    port = _API_PORTS.get(params.name) or _port_in_file(name)
    if port is None:
        raise InputError(f"say where a node of network {params.name} answers: --node URL")
    return f"http://127.0.0.1:{port}/api"


def _port_in_file(name: str) -> int | None:
    """Return the API port in the table [ports] of a network file that was read before."""
    ports = tomllib.loads(Path(name).read_text(encoding="utf-8")).get("ports")
    port = ports.get("api") if isinstance(ports, dict) else None
    return port if type(port) is int and port in _PORTS else None
