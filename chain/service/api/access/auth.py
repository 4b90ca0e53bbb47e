"""Who may use JSON-RPC: HTTP Basic against the cookie and `--rpc-auth` lines."""

import base64
import binascii
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

COOKIE_USER: Final = "__cookie__"
_HEADER_CHARACTERS_MAX: Final = 1024
_RPC_AUTH: Final = re.compile(r"([^:$\s]{1,64}):([^:$\s]{1,64})\$([0-9a-f]{64})")


class LoginsPort(Protocol):
    """Decides who may use JSON-RPC."""

    def accept(self, header: str, /) -> bool:
        """Return whether an Authorization header holds the name and password of an account."""


class RpcAuthError(ValueError):
    """An rpc-auth line is not of the form USER:SALT$HMAC."""


@dataclass(frozen=True, slots=True)
class _Login:
    user: bytes
    salt: bytes
    digest: bytes

    def accepts(self, user: bytes, password: bytes) -> bool:
        """Return whether name and password match, compared in constant time."""
        digest = _digest(self.salt, password)
        return hmac.compare_digest(user, self.user) & hmac.compare_digest(digest, self.digest)


class Logins:
    """The accounts of one node; passwords are kept as HMACs only, so that no log can show one."""

    def __init__(self, cookie: str | None, rpc_auth: Sequence[str] = ()) -> None:
        """Accept the cookie's password and the accounts in `rpc_auth` lines (Core's rpcauth).

        Raises RpcAuthError.
        """
        logins = [_from_line(line) for line in rpc_auth]
        if cookie is not None:
            salt = b"cookie"
            logins.append(_Login(COOKIE_USER.encode(), salt, _digest(salt, cookie.encode())))
        self._logins = tuple(logins)

    def accept(self, header: str) -> bool:
        scheme, _, encoded = header.partition(" ")
        if scheme.lower() != "basic" or len(header) > _HEADER_CHARACTERS_MAX:
            return False
        try:
            user, _, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        except (binascii.Error, ValueError):
            return False
        verdicts = [
            login.accepts(user, password) for login in self._logins
        ]  # no early end: constant time
        return any(verdicts)


def _digest(salt: bytes, password: bytes) -> bytes:
    return hmac.digest(salt, password, "sha256")


def _from_line(line: str) -> _Login:
    match = _RPC_AUTH.fullmatch(line)
    if match is None:
        raise RpcAuthError("must be USER:SALT$HMAC, the HMAC-SHA256 in 64 hex digits")
    try:
        return _Login(match[1].encode(), match[2].encode(), bytes.fromhex(match[3]))
    except UnicodeEncodeError as error:  # surrogate escapes, Python's stand-ins for other bytes
        raise RpcAuthError("is not UTF-8 text") from error
