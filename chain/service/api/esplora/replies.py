"""Replies and path parameters in Esplora's forms: bare text, JSON, bytes; errors as plain text."""

import re
from typing import Any, Final

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse, Response

from chain.primitives.numbers import Hash32, parse_id
from chain.service.api.access.budget import LargeReply, Reservation
from chain.service.api.esplora_json import Models, to_json

FINAL_BLOCKS: Final = 10  # at this depth no reorganisation is expected
CACHE_FINAL: Final = "public, max-age=157784630"
CACHE_SHORT: Final = "public, max-age=10"
CACHE_RECENT: Final = "public, max-age=5"
_NUMBER: Final = re.compile("[0-9]{1,10}")
_SENTENCE: Final[dict[str, Any]] = {
    "description": "What is wrong, as text",
    "content": {"text/plain": {"schema": {"type": "string"}}},
}


class BytesResponse(Response):
    """A reply of bytes, also in the OpenAPI schema."""

    media_type = "application/octet-stream"


class EsploraError(Exception):
    """The request cannot be answered; the text is for the user."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def esplora_router(tag: str) -> APIRouter:
    """Return a router for a part of Esplora's paths; its errors are plain text."""
    return APIRouter(prefix="/api", tags=[tag], responses={"default": _SENTENCE})


def text(value: object, cache: str = CACHE_SHORT, reserved: Reservation | None = None) -> Response:
    """Return plain text as clients parse it, without quotes or a newline."""
    return _kept(PlainTextResponse(str(value), headers={"Cache-Control": cache}), reserved)


def json_reply(
    value: Models, cache: str = CACHE_SHORT, reserved: Reservation | None = None
) -> Response:
    """Return models as JSON."""
    headers = {"Cache-Control": cache}
    reply = Response(to_json(value), media_type="application/json", headers=headers)
    return _kept(reply, reserved)


def rendered(json: str, cache: str = CACHE_SHORT, reserved: Reservation | None = None) -> Response:
    """Return text that is JSON."""
    headers = {"Cache-Control": cache}
    return _kept(Response(json, media_type="application/json", headers=headers), reserved)


def raw(data: bytes, cache: str = CACHE_SHORT, reserved: Reservation | None = None) -> Response:
    """Return bytes."""
    return _kept(BytesResponse(data, headers={"Cache-Control": cache}), reserved)


def _kept(reply: Response, reserved: Reservation | None) -> Response:
    """Return a reply that holds the `reserved` bytes until it is sent."""
    if reserved is None or not reserved.held:
        return reply
    return LargeReply(reply, reserved)


def hash_of(value: str) -> Hash32:
    """Return the id of 64 hex digits in display order. Raises EsploraError 400."""
    try:
        return parse_id(value)
    except ValueError:
        raise EsploraError(400, "Invalid hash string") from None


def number_of(value: str) -> int:
    """Return a non-negative number below 10^10. Raises EsploraError 400."""
    if _NUMBER.fullmatch(value) is None:
        raise EsploraError(400, "Invalid number")
    return int(value)
