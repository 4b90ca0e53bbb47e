"""The client of a running node's API, for `groat status`."""

import json
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

import httpx

from chain.api_address import running_api_address
from chain.endpoint import Endpoint
from chain.errors import ShownError
from chain.primitives.numbers import counted
from chain.printable import printable
from chain.service.heartbeat import SILENT_S
from chain.service.http.tls_context import tls_context
from chain.service.sync_words import SyncState
from chain.settings import Settings

_TIMEOUT_S: Final = 10
_REPLY_BYTES_MAX: Final = 1_000_000
_REASON_CHARACTERS_MAX: Final = 200
_AGE_S_MAX: Final = 1e9
_PEER_COLUMNS: Final = (
    "id",
    "way",
    "address",
    "height",
    "ping",
    "sent",
    "received",
    "connected",
    "agent",
)
_NO_NODE: Final = "is not the API of a groat node"


class RemoteError(ShownError):
    """The node does not answer; the text says why in one line."""


def api_endpoint(settings: Settings, *, is_given: bool) -> Endpoint:
    """Return where the API is: as given, where the running node says, or the network's default."""
    running = None if is_given else running_api_address(settings.folder)
    return running or settings.api


def is_api_found(settings: Settings, *, is_given: bool) -> bool:
    """Return whether api_endpoint gives what is given or the running node's, and no default."""
    return is_given or running_api_address(settings.folder) is not None


def other_node_text(api: Endpoint) -> str:
    """Return a sentence for a node that answers in place of the data directory's own."""
    url = f"http://{api.to_dial()}"
    return f"no node runs with this --network and --datadir; this is another one, at {url}"


def fetch_status(api: Endpoint) -> dict[str, Any]:
    """Return /api/v1/status of the node that listens on `api`. Raises RemoteError."""
    found = _fetched(api, "/api/v1/status")
    if not isinstance(found, dict):
        raise RemoteError(f"what answers at http://{api.to_dial()} {_NO_NODE}")
    return found


def silence_of(api: Endpoint) -> str | None:
    """Return a sentence on a node that is silent, while another process answers; None: it is there.

    Raises RemoteError.
    """
    found = _fetched(api, "/health")
    age_s = found.get("node_age_s") if isinstance(found, dict) else None
    if not isinstance(age_s, int | float) or not age_s > SILENT_S:
        return None
    age = timedelta(seconds=int(min(age_s, _AGE_S_MAX)))
    return f"the node has been silent for {age}: these are the last values in its database"


def fetch_peers(api: Endpoint) -> list[dict[str, Any]]:
    """Return /api/v1/peers of the node that listens on `api`. Raises RemoteError."""
    found = _fetched(api, "/api/v1/peers")
    if not isinstance(found, list) or not all(isinstance(peer, dict) for peer in found):
        raise RemoteError(f"what answers at http://{api.to_dial()} {_NO_NODE}")
    return found


def _fetched(api: Endpoint, path: str) -> object:
    """Return the JSON at a path, None for an error's status. Raises RemoteError."""
    base = f"http://{api.to_dial()}"
    try:
        status, body = _fetch(base + path)
        found = json.loads(body) if status == HTTPStatus.OK else None
    except httpx.InvalidURL as error:  # a zone, which no URL can have
        raise RemoteError(f"{base} is not a URL: {error}") from error
    except httpx.HTTPError as error:
        raise RemoteError(f"no node answers at {base}: start one, or name its --api") from error
    except (ValueError, RecursionError) as error:
        raise RemoteError(f"what answers at {base} {_NO_NODE}") from error
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        reason = printable(body.decode("utf-8", "replace").strip(), _REASON_CHARACTERS_MAX)
        raise RemoteError(f"{base} answers: {reason or 'not now'}")
    if status == HTTPStatus.MISDIRECTED_REQUEST:
        raise RemoteError(
            f"the node at {base} does not answer to that name: start it with --api-host"
        )
    return found


def _fetch(url: str) -> tuple[int, bytes]:
    """Return the status and at most _REPLY_BYTES_MAX bytes of the body. Raises httpx.HTTPError."""
    body = b""
    verify = tls_context(url)
    with httpx.stream("GET", url, timeout=_TIMEOUT_S, verify=verify, trust_env=False) as reply:
        for part in reply.iter_bytes():
            body += part
            if len(body) > _REPLY_BYTES_MAX:
                return reply.status_code, b""
        return reply.status_code, body


def peers_table(peers: list[dict[str, Any]], now: int) -> list[str]:
    """Return the peers for people, a line each under a head. Raises RemoteError: no peers' list."""
    try:
        rows = [_peer_row(peer, now) for peer in peers]
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise RemoteError(f"what answers {_NO_NODE}") from error
    table = [_PEER_COLUMNS, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in table]
    inbound = sum(row[1] == "in" for row in rows)
    count = counted(len(rows), "peer")
    return [*lines, "", f"{count}: {inbound} inbound, {len(rows) - inbound} outbound"]


def _peer_row(peer: dict[str, Any], now: int) -> tuple[str, ...]:
    ping_s, height = peer["latency_s"], peer["height"]
    return (
        str(int(peer["id"])),
        "in" if peer["inbound"] else "out",
        printable(str(peer["address"])),
        "-" if height is None else f"{int(height):,}",
        "-" if ping_s is None else f"{1000 * ping_s:.0f} ms",
        f"{peer['bytes_sent'] / 1000:,.0f} kB",
        f"{peer['bytes_received'] / 1000:,.0f} kB",
        str(timedelta(seconds=max(now - int(peer["connected_at"]), 0))),
        printable(str(peer["agent"])),
    )


def readable(status: dict[str, Any]) -> dict[str, Any]:
    """Return a status for people: all its values, times and shares with their units.

    Raises RemoteError: not the status of a groat node.
    """
    try:
        return _with_units(status)
    except (LookupError, TypeError, ValueError, OverflowError, OSError) as error:
        raise RemoteError(f"what answers {_NO_NODE}") from error


def _with_units(status: dict[str, Any]) -> dict[str, Any]:
    shown = dict(status)
    shown["tip_time"] = datetime.fromtimestamp(shown["tip_time"], UTC).strftime(
        "%Y-%m-%d %H:%M:%SZ"
    )
    mining = printable(str(shown.pop("mining", "")))  # an older node says nothing of it
    state = SyncState(
        network=shown["network"],
        height=shown["height"],
        peers=shown["peers"],
        is_syncing=False,
        is_mining=mining == "on" or (not mining and shown["hashes_per_second"] > 0),
    )
    progress = f"{shown['sync_progress']:.1%}"
    shown["sync_progress"] = state.words if state.is_alone else progress
    rate = f"{shown.pop('hashes_per_second') / 1e6:.2f} MH/s"
    shown["mining"] = rate if mining in {"on", ""} else mining
    shown["uptime"] = str(timedelta(seconds=shown.pop("uptime_s")))
    for name in ("mempool_bytes", "mempool_vsize"):
        shown[name] = f"{shown[name]:,}"
    return shown
