"""Asking a running node over its API."""

from typing import Any, Final

import httpx

from chain.settings import Endpoint

_TIMEOUT_S: Final = 10
_REPLY_BYTES_MAX: Final = 1_000_000


class RemoteError(Exception):
    """The node cannot be asked; says why in one line."""


def fetch_status(api: Endpoint) -> dict[str, Any]:
    """Return /api/v1/status of the node at `api`. Raises RemoteError."""
    url = f"http://{api}/api/v1/status"
    try:
        reply = httpx.get(url, timeout=_TIMEOUT_S, trust_env=False)
        found = (
            reply.json() if reply.is_success and len(reply.content) <= _REPLY_BYTES_MAX else None
        )
    except httpx.HTTPError as error:
        raise RemoteError(
            f"no node answers at http://{api}: start one, or name its --api"
        ) from error
    except ValueError as error:
        raise RemoteError(f"what answers at http://{api} is no API of a groat node") from error
    if not isinstance(found, dict):
        raise RemoteError(f"what answers at http://{api} is no API of a groat node")
    return found
