"""A line of Bitcoin Core's rpcauth: USER:SALT$HMAC."""

import re
from dataclasses import dataclass, field
from typing import Final

_FORM: Final = re.compile(r"([^:$\s]{1,64}):([^:$\s]{1,64})\$([0-9a-f]{64})")


class RpcAuthError(ValueError):
    """A line is not of the form USER:SALT$HMAC."""


@dataclass(frozen=True, slots=True)
class RpcAuth:
    """A login: the password is known by its HMAC-SHA256, whose key is the salt."""

    user: bytes
    salt: bytes
    digest: bytes = field(repr=False)


def parse_rpc_auth(line: str) -> RpcAuth:
    """Return the login of a line. Raises RpcAuthError, which does not show the line."""
    match = _FORM.fullmatch(line)
    if match is None:
        raise RpcAuthError(
            "must be USER:SALT$HMAC, the HMAC-SHA256 in 64 hex digits; docs/rpc.md has a command "
            "that makes one"
        )
    try:
        return RpcAuth(match[1].encode(), match[2].encode(), bytes.fromhex(match[3]))
    except UnicodeEncodeError as error:  # surrogate escapes, Python's stand-ins for other bytes
        raise RpcAuthError("is not UTF-8 text") from error
