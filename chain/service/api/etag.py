"""ETag and 304 (RFC 9110): a client or a proxy that has a reply need not get it again.

The tag is the content's hash: it is right in every process and after every reorganisation.
"""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from fastapi.responses import Response, StreamingResponse

from chain.primitives.hashes import sha256
from chain.service.api.access.budget import LargeReply

_TAG_BYTES: Final = 16
_OF_CONTENT: Final = frozenset({b"content-length", b"content-type"})


def conditional(reply: Response, headers: Iterable[tuple[bytes, bytes]]) -> Response:
    """Return the reply with its tag, or 304 if a request's `headers` say that the client has it."""
    if reply.status_code != HTTPStatus.OK or isinstance(reply, StreamingResponse):
        return reply
    tag = f'"{sha256(bytes(reply.body))[:_TAG_BYTES].hex()}"'.encode()
    known = (value for name, value in headers if name == b"if-none-match")
    if not any(_names(value, tag) for value in known):
        reply.raw_headers.append((b"etag", tag))
        return reply
    if isinstance(reply, LargeReply):
        reply.discard()
    same = Response(status_code=HTTPStatus.NOT_MODIFIED)
    kept = [(name, value) for name, value in reply.raw_headers if name not in _OF_CONTENT]
    same.raw_headers = [*kept, (b"etag", tag)]
    return same


def _names(value: bytes, tag: bytes) -> bool:
    """Return whether If-None-Match names a tag; a weak one counts, as RFC 9110 wants it here."""
    named = [part.strip().removeprefix(b"W/") for part in value.split(b",")]
    return tag in named or named == [b"*"]
