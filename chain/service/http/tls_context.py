"""TLS contexts for HTTP clients: one of each kind in a process.

httpx makes one for each client, with half a megabyte of certificates, also for http:// URLs; the
garbage collector counts it as a single object, and a loop of short clients fills the memory.
"""

import ssl
from functools import cache

import httpx


def tls_context(url: str) -> ssl.SSLContext:
    """Return the context for `url`: it knows the public authorities only if that is https://."""
    return _context(is_used=url[:6].lower() == "https:")


@cache
def _context(*, is_used: bool) -> ssl.SSLContext:
    if is_used:
        return httpx.create_ssl_context(trust_env=False)
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody
