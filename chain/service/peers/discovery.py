"""Nodes on the local network, found by multicast DNS: no configuration, no central seed."""

import asyncio
import ipaddress
import logging
import secrets
from collections.abc import Callable
from typing import Any, Final

import ifaddr
from zeroconf import IPVersion, ServiceStateChange
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from chain.consensus.params import Params, network_identity
from chain.gossip.wire.address import Address, parse_address

SERVICE_TYPE: Final = "_groat._tcp.local."
FOUND_MAX: Final = 64  # services known at a time; further ones are ignored
ADDRESSES_MAX: Final = 4  # used of one service
RESOLVE_TIMEOUT_MS: Final = 3000
_TXT_NETWORK: Final = b"network"
_TXT_IDENTITY: Final = b"identity"

_log = logging.getLogger(__name__)


class Discovery:
    """Announces this node and finds others of the same network."""

    def __init__(self, params: Params, found: Callable[[tuple[Address, ...]], None]) -> None:
        """Call `found` on the loop with the addresses of each node that is discovered."""
        self._params = params
        self._found = found
        self._name = f"groat-{secrets.token_hex(8)}.{SERVICE_TYPE}"  # hides the host's name
        self._known: dict[str, asyncio.Task[None] | None] = {}
        self._zeroconf: AsyncZeroconf | None = None
        self._browser: AsyncServiceBrowser | None = None

    async def start(self, host: str, port: int) -> None:
        """Announce the listener at `host` and `port`, and browse for others.

        IPv4 only, which every local network has. Raises OSError: no usable network.
        """
        local = own_addresses(host)
        self._zeroconf = AsyncZeroconf(interfaces=local, ip_version=IPVersion.V4Only)
        await self._zeroconf.async_register_service(self.announcement(local, port))
        self._browser = AsyncServiceBrowser(
            self._zeroconf.zeroconf, SERVICE_TYPE, handlers=[self._changed]
        )

    async def stop(self) -> None:
        """Withdraw the announcement and stop browsing."""
        for task in self._known.values():
            if task is not None:
                task.cancel()
        self._known.clear()
        if self._browser is not None:
            await self._browser.async_cancel()
        if self._zeroconf is not None:
            await self._zeroconf.async_unregister_all_services()
            await self._zeroconf.async_close()
        self._browser = self._zeroconf = None

    def announcement(self, local: list[str], port: int) -> AsyncServiceInfo:
        """Return the record with our address, port and network."""
        return AsyncServiceInfo(
            SERVICE_TYPE,
            self._name,
            parsed_addresses=local,
            port=port,
            properties={
                _TXT_NETWORK: self._params.name.encode(),
                _TXT_IDENTITY: network_identity(self._params).hex().encode(),
            },
        )

    def addresses(self, info: AsyncServiceInfo) -> tuple[Address, ...]:
        """Return a service's addresses; none if it is on another network or our own."""
        identity = network_identity(self._params).hex().encode()
        if info.name == self._name or info.properties.get(_TXT_IDENTITY) != identity:
            return ()
        if not info.port:
            return ()
        hosts = info.parsed_addresses(IPVersion.V4Only)[:ADDRESSES_MAX]
        return tuple(parse_address(host, info.port) for host in hosts)

    def _changed(
        self,
        zeroconf: Any,  # noqa: ANN401 - the library calls it with these names
        service_type: str,
        name: str,
        state_change: ServiceStateChange,
    ) -> None:
        if state_change is ServiceStateChange.Removed:
            task = self._known.pop(name, None)
            if task is not None:
                task.cancel()
            return
        if name == self._name or name in self._known or len(self._known) >= FOUND_MAX:
            return
        lookup = self._resolve_service(zeroconf, AsyncServiceInfo(service_type, name))
        self._known[name] = asyncio.get_running_loop().create_task(lookup)

    async def _resolve_service(self, zeroconf: Any, info: AsyncServiceInfo) -> None:  # noqa: ANN401
        answered = False
        try:
            answered = await info.async_request(zeroconf, RESOLVE_TIMEOUT_MS)
            addresses = self.addresses(info) if answered else ()
            if addresses:
                _log.info("found on the local network: %s", ", ".join(map(str, addresses)))
                self._found(addresses)
        finally:
            if answered:
                self._known[info.name] = None
            elif self._known.get(info.name) is asyncio.current_task():
                del self._known[info.name]  # it may be announced again


def own_addresses(host: str) -> list[str]:
    """Return the IPv4 addresses at which others reach a listener bound to `host`.

    Raises OSError: there is no such address, for example because only loopback exists.
    """
    hosts = [host]
    if ipaddress.ip_address(host).is_unspecified:
        found = (ip for adapter in ifaddr.get_adapters() for ip in adapter.ips)
        hosts = [ip.ip for ip in found if isinstance(ip.ip, str)]  # IPv6 comes with its scope
    reached = [
        text
        for text in hosts
        if not ipaddress.ip_address(text).is_loopback and ipaddress.ip_address(text).version == 4
    ]
    if not reached:
        raise OSError(f"nothing but loopback to discover on from {host}")
    return reached
