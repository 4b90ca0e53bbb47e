"""The client of a running node's API, for `groat status`."""

import json
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

import httpx

from chain.endpoint import Endpoint
from chain.errors import ShownError

_TIMEOUT_S: Final = 10
_REPLY_BYTES_MAX: Final = 1_000_000
_NO_NODE: Final = "is not the API of a groat node"


class RemoteError(ShownError):
    """The node does not answer; the text says why in one line."""


def fetch_status(api: Endpoint) -> dict[str, Any]:
    """Return /api/v1/status of the node that listens on `api`. Raises RemoteError."""
    base = f"http://{api.to_dial()}"
    try:
        status, body = _fetch(f"{base}/api/v1/status")
        found = json.loads(body) if status == HTTPStatus.OK else None
    except httpx.InvalidURL as error:  # a zone, which no URL can have
        raise RemoteError(f"{base} is not a URL: {error}") from error
    except httpx.HTTPError as error:
        raise RemoteError(f"no node answers at {base}: start one, or name its --api") from error
    except (ValueError, RecursionError) as error:
        raise RemoteError(f"what answers at {base} {_NO_NODE}") from error
    if status == HTTPStatus.MISDIRECTED_REQUEST:
        raise RemoteError(
            f"the node at {base} does not answer to that name: start it with --api-host"
        )
    if not isinstance(found, dict):
        raise RemoteError(f"what answers at {base} {_NO_NODE}")
    return found


def _fetch(url: str) -> tuple[int, bytes]:
    """Return the status and at most _REPLY_BYTES_MAX bytes of the body. Raises httpx.HTTPError."""
    body = b""
    with httpx.stream("GET", url, timeout=_TIMEOUT_S, trust_env=False) as reply:
        for part in reply.iter_bytes():
            body += part
            if len(body) > _REPLY_BYTES_MAX:
                return reply.status_code, b""
        return reply.status_code, body


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
    shown["tip_time"] = str(datetime.fromtimestamp(shown["tip_time"], UTC))
    shown["sync_progress"] = f"{shown['sync_progress']:.1%}"
    shown["hash_rate"] = f"{shown.pop('hashes_per_second') / 1e6:.2f} MH/s"
    shown["uptime"] = str(timedelta(seconds=shown.pop("uptime_s")))
    for name in ("mempool_bytes", "mempool_vsize"):
        shown[name] = f"{shown[name]:,}"
    return shown
