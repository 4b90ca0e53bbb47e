"""The debug lines of category `net`: links opened and closed, messages with their sizes."""

import logging
from typing import Final

from chain.gossip.actions import Dial, Feeler, Trace
from chain.gossip.events import (
    Accepted,
    BadFrame,
    Closed,
    DialFailed,
    Dialled,
    Event,
    Frames,
    LinkId,
    Requested,
)
from chain.gossip.peers.links import INBOUND, LINK_OPENED, SEED_ANSWERED
from chain.gossip.wire.address import Address
from chain.gossip.wire.messages import Message
from chain.primitives.numbers import counted
from chain.printable import printable
from chain.service.debug_log import debug_logger, is_on

INBOUND_LINES_PER_MINUTE_MAX: Final = 20
REPEATED_AFTER_S: Final = 600  # a line about the same address with the same reason
DIAL_FAILURES_MAX: Final = 1000  # addresses whose last line is remembered
_info: Final = logging.getLogger(__name__)
_log: Final = debug_logger("net")


def log_sent(link: LinkId, message: Message, size: int) -> None:
    """Log a message of `size` bytes that goes out on a link."""
    if is_on(_log):
        _log.debug("link %d: sending %s, %d bytes", link, type(message).__name__, size)


def log_dial(action: Dial | Feeler) -> None:
    """Log an address that is dialled, for a link or as a feeler."""
    if is_on(_log):
        kind = action.connection_type if isinstance(action, Dial) else "feeler"
        _log.debug("dial %d to %s: %s", action.dial, action.address, kind)


class DialFailureLines:
    """Logs which addresses cannot be dialled: at INFO what is new, or was said long ago."""

    def __init__(self) -> None:
        self._said: dict[Address, tuple[str, float]] = {}  # the reason, and when; oldest first

    def log(self, address: Address, why: str, now_s: float) -> None:
        """Log that a dial has failed; `now_s` never decreases."""
        said, at_s = self._said.get(address, ("", 0.0))
        is_new = said != why or now_s - at_s >= REPEATED_AFTER_S
        level = logging.INFO if is_new else logging.DEBUG
        _info.log(level, "cannot connect to %s: %s", address, why)
        if is_new:
            self._said.pop(address, None)
            self._said[address] = (why, now_s)
            if len(self._said) > DIAL_FAILURES_MAX:
                del self._said[next(iter(self._said))]


def log_link(trace: Trace) -> None:
    """Log a peer that connected or disconnected: at INFO, few lines a minute for inbound ones."""
    shown = {name: printable(str(value)) for name, value in trace.fields}
    way = shown["connection_type"]
    if trace.kind == LINK_OPENED:
        about = f"{way}, {shown['agent']}, block {int(shown['height']):,}"
        line = f"peer connected: {shown['address']} ({about})"
    else:
        line = f"peer disconnected: {shown['address']} ({way}): {shown['why']}"
    if way == INBOUND:  # strangers open and close as many as they like
        _info.info("%s", line, extra={"per_minute_max": INBOUND_LINES_PER_MINUTE_MAX})
    else:
        _info.info("%s", line)


def log_seed(trace: Trace) -> None:
    """Log what a seed answered; seeds are few, and seldom used."""
    shown = dict(trace.fields)
    if trace.kind != SEED_ANSWERED:
        _info.info("seed %s: no addresses", shown["seed"])
        return
    count, usable = int(shown["addresses"]), int(shown["usable"])
    addresses = counted(count, "address")
    rest = "" if usable == count else f", {usable:,} of which may be dialled"
    _info.info("seed %s: %s%s", shown["seed"], addresses, rest)


def log_event(event: Event) -> None:
    """Log what came from the network; call it only while the category is on."""
    match event:
        case Accepted():
            _log.debug("link %d opened by %s", event.link, event.remote)
        case Dialled():
            _log.debug("link %d opened by us, dial %d", event.link, event.dial)
        case DialFailed():
            _log.debug("dial %d failed: %s", event.dial, event.why)
        case Closed():
            _log.debug("link %d ended: %s", event.link, printable(event.why))
        case BadFrame():
            _log.debug("link %d: bad frame: %s", event.link, printable(event.why))
        case Frames():
            kinds = " ".join(type(message).__name__ for message in event.messages)
            _log.debug("link %d: received %s, %d bytes", event.link, printable(kinds), event.size)
        case Requested():
            kind = type(event.message).__name__
            _log.debug("link %d: asked by %s, %d bytes", event.link, kind, event.size)
        case _:
            pass
