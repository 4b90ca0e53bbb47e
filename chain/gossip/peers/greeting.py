"""The handshake: our hello, and the checks on the hello of others."""

from ipaddress import ip_address
from typing import Final

from chain.consensus.params import network_identity
from chain.gossip.actions import Admit, ConnectionType, Refuse
from chain.gossip.context import CODE_FULL, Context
from chain.gossip.dispatch import Handler, Part, on_event
from chain.gossip.events import Accepted, DialId
from chain.gossip.peers.eviction import choose_evicted
from chain.gossip.peers.links import PING_INTERVAL_S, OpenedLink, open_link
from chain.gossip.peers.ownaddress import own_address
from chain.gossip.wire.address import is_local
from chain.gossip.wire.hello import (
    PROTOCOL_VERSION,
    PROTOCOL_VERSION_MIN,
    RELAYS_ADDRESSES,
    RELAYS_TRANSACTIONS,
    SERVICES,
    Hello,
    HelloReply,
)

STATUS_FORBIDDEN: Final = 403
STATUS_SELF: Final = 409
STATUS_WRONG_NETWORK: Final = 421
STATUS_VERSION: Final = 426
STATUS_TOO_MANY: Final = 429
STATUS_FULL: Final = 503
RETRY_AFTER_S: Final = 60
# Of links that are not for everything; on these we do not say where we listen.
_FLAGS: Final = {ConnectionType.BLOCK_RELAY: 0, ConnectionType.ADDR_FETCH: RELAYS_ADDRESSES}


class Greeting(Part):
    """Builds our hellos, and checks those of peers."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._identity = network_identity(context.config.params)
        self._nonces: dict[DialId, int] = {}

    def handlers(self) -> tuple[Handler, ...]:
        """Handle incoming links."""
        return (on_event(Accepted, self.accept_or_refuse),)

    def hello(
        self,
        dial: DialId | None,
        connection_type: ConnectionType = ConnectionType.OUTBOUND_FULL_RELAY,
    ) -> Hello:
        """Return our hello; a dial gets its own nonce, to detect a link to ourselves."""
        nonce = self._context.nonce(b"hello")
        if dial is not None:
            self._nonces[dial] = nonce
        config = self._context.config
        return Hello(
            magic=config.params.magic,
            version=PROTOCOL_VERSION,
            version_min=PROTOCOL_VERSION_MIN,
            identity=self._identity,
            services=SERVICES,
            nonce=nonce,
            unix_s=self._context.now.unix_s,
            height=self._context.chain.tip.height,
            flags=_FLAGS.get(connection_type, RELAYS_TRANSACTIONS | RELAYS_ADDRESSES),
            agent=config.agent,
            listen=None if connection_type in _FLAGS else own_address(self._context),
        )

    def dial_ended(self, dial: DialId) -> int:
        """Forget the nonce of a dial and return it; 0 if it had none."""
        return self._nonces.pop(dial, 0)

    def is_ours(self, hello: Hello) -> bool:
        """Return whether a hello is of our network and of a version that we support."""
        return self._mismatch(hello) == 0

    def accept_or_refuse(self, accepted: Accepted) -> None:
        """Reply to an incoming link; it is open then, unless it is refused."""
        status = self._mismatch(accepted.hello) or self._no_room(accepted)
        if status:
            full = status in (STATUS_TOO_MANY, STATUS_FULL)
            self._context.emit(Refuse(accepted.link, status, RETRY_AFTER_S if full else 0))
            return
        reply = HelloReply(self.hello(None), accepted.remote, PING_INTERVAL_S)
        self._context.emit(Admit(accepted.link, reply))
        hello = accepted.hello
        open_link(
            self._context, OpenedLink(accepted.link, accepted.remote, None, hello.nonce, hello)
        )

    def _mismatch(self, hello: Hello) -> int:
        """Return the HTTP status for an incompatible hello, or 0."""
        if hello.magic != self._context.config.params.magic or hello.identity != self._identity:
            return STATUS_WRONG_NETWORK
        if hello.version_min > PROTOCOL_VERSION or hello.version < PROTOCOL_VERSION_MIN:
            return STATUS_VERSION
        if hello.nonce in self._nonces.values():
            return STATUS_SELF
        return 0

    def _no_room(self, accepted: Accepted) -> int:
        """Return the HTTP status for a peer that may not connect, or 0."""
        config, remote = self._context.config, accepted.remote
        if not self._context.is_active:
            return STATUS_FULL
        if self._context.is_banned(remote):
            return STATUS_FORBIDDEN
        inbound = [link for link in self._context.links.values() if not link.is_outbound]
        if not is_local(ip_address(remote.ip)):
            same_ip = sum(link.address.ip == remote.ip for link in inbound)
            same_group = sum(link.address.group == remote.group for link in inbound)
            if same_ip >= config.inbound_per_ip_max or same_group >= config.inbound_per_group_max:
                return STATUS_TOO_MANY
        if len(inbound) < config.inbound_max:
            return 0  # a discouraged IP too: others may share it, and a free slot costs nothing
        if self._context.discouraged.has(remote, self._context.now.unix_s):
            return STATUS_FORBIDDEN
        return self._make_room()

    def _make_room(self) -> int:
        """Evict the least valuable link; return the HTTP status if all are protected, or 0."""
        evicted = choose_evicted(self._context)
        if evicted is None:
            return STATUS_FULL
        self._context.close(evicted, "evicted for a new inbound link", CODE_FULL, RETRY_AFTER_S)
        return 0
