"""Asking a running node over its API."""

from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

import httpx

from chain.endpoint import Endpoint
from chain.errors import ShownError

_TIMEOUT_S: Final = 10
_REPLY_BYTES_MAX: Final = 1_000_000


class RemoteError(ShownError):
    """The node cannot be asked; says why in one line."""


def fetch_status(api: Endpoint) -> dict[str, Any]:
    """Return /api/v1/status of the node that listens on `api`. Raises RemoteError."""
    api = api.to_dial()
    url = f"http://{api}/api/v1/status"
    try:
        reply = httpx.get(url, timeout=_TIMEOUT_S, trust_env=False)
        found = (
            reply.json() if reply.is_success and len(reply.content) <= _REPLY_BYTES_MAX else None
        )
    except httpx.InvalidURL as error:  # a zone, which no URL can have
        raise RemoteError(f"http://{api} is no URL: {error}") from error
    except httpx.HTTPError as error:
        raise RemoteError(
            f"no node answers at http://{api}: start one, or name its --api"
        ) from error
    except ValueError as error:
        raise RemoteError(f"what answers at http://{api} is no API of a groat node") from error
    if reply.status_code == HTTPStatus.MISDIRECTED_REQUEST:
        raise RemoteError(
            f"the node at http://{api} does not answer to that name: start it with --api-host"
        )
    if not isinstance(found, dict):
        raise RemoteError(f"what answers at http://{api} is no API of a groat node")
    return found


def readable(status: dict[str, Any]) -> dict[str, Any]:
    """Return a status as people read it: times and shares with their units, none left out."""
    shown = dict(status)
    shown["tip_time"] = str(datetime.fromtimestamp(shown["tip_time"], UTC))
    shown["sync_progress"] = f"{shown['sync_progress']:.1%}"
    shown["hash_rate"] = f"{shown.pop('hashes_per_second') / 1e6:.2f} MH/s"
    shown["uptime"] = str(timedelta(seconds=shown.pop("uptime_s")))
    for name in ("mempool_bytes", "mempool_vsize"):
        shown[name] = f"{shown[name]:,}"
    return shown
