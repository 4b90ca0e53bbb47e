"""Who may use JSON-RPC: HTTP Basic against the cookie and `--rpc-auth` lines."""

import base64
import binascii
import hmac
from collections.abc import Sequence
from typing import Final, Protocol

from chain.rpc_auth import RpcAuth, parse_rpc_auth

COOKIE_USER: Final = "__cookie__"
_HEADER_CHARACTERS_MAX: Final = 1024


class LoginsPort(Protocol):
    """Decides who may use JSON-RPC."""

    def accept(self, header: str, /) -> bool:
        """Return whether an Authorization header holds the name and password of an account."""


class Logins:
    """The accounts of one node; passwords are kept as HMACs only, so that no log can show one."""

    def __init__(self, cookie: str | None, rpc_auth: Sequence[str] = ()) -> None:
        """Accept the cookie's password and the accounts in `rpc_auth` lines (Core's rpcauth).

        Raises RpcAuthError.
        """
        logins = [parse_rpc_auth(line) for line in rpc_auth]
        if cookie is not None:
            salt = b"cookie"
            logins.append(RpcAuth(COOKIE_USER.encode(), salt, _digest(salt, cookie.encode())))
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
            _accepts(login, user, password) for login in self._logins
        ]  # no early end: constant time
        return any(verdicts)


def _accepts(login: RpcAuth, user: bytes, password: bytes) -> bool:
    """Return whether name and password match, compared in constant time."""
    digest = _digest(login.salt, password)
    return hmac.compare_digest(user, login.user) & hmac.compare_digest(digest, login.digest)


def _digest(salt: bytes, password: bytes) -> bytes:
    return hmac.digest(salt, password, "sha256")
