"""Which part handles which message and which event.

Each part declares its handlers (`Part.handlers`), and `Dispatch` is one table of them all. Several
parts may handle the same class of messages or events; they are called in the order of the parts.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeVar, get_args

from chain.gossip.context import Link
from chain.gossip.events import Event, LinkEvent, LinklessEvent, Tick
from chain.gossip.wire.extension import Extension
from chain.gossip.wire.messages import Message

M = TypeVar("M", bound=Message)
L = TypeVar("L", bound=LinkEvent)
E = TypeVar("E", bound=LinklessEvent)

UNHANDLED: Final[frozenset[type]] = frozenset(
    {
        Extension,  # from a later version; its sender was charged
        Tick,  # the timers have run before it
    }
)


@dataclass(frozen=True, slots=True)
class Handler:
    """A part's handler of a class of messages or events; made by the functions below."""

    kind: type
    function: Callable[..., None]
    expects: Callable[..., bool] | None = None


def on_message(
    kind: type[M],
    function: Callable[[Link, M], None],
    expects: Callable[[Link, M], bool] | None = None,
) -> Handler:
    """Handle a message of a link; `expects` returns whether we requested it."""
    return Handler(kind, function, expects)


def on_link_event(kind: type[L], function: Callable[[Link, L], None]) -> Handler:
    """Handle an event of a link that is open."""
    return Handler(kind, function)


def on_event(kind: type[E], function: Callable[[E], None]) -> Handler:
    """Handle an event of no link that is open."""
    return Handler(kind, function)


class Part:
    """A part of the core: its handlers, and its state for each link. By default it has neither."""

    def handlers(self) -> tuple[Handler, ...]:
        """Return the messages and events that this part handles."""
        return ()

    def opened(self, link: Link) -> None:
        """Note that a link opened."""

    def closed(self, link: Link) -> None:
        """Record that a link closed; it is no longer in `context.links`."""


class Dispatch:
    """The table of all handlers."""

    def __init__(self, handlers: Iterable[Handler]) -> None:
        """Fill the table; every class of `Message` and `Event` must have a handler."""
        table: defaultdict[type, list[Callable[..., None]]] = defaultdict(list)
        self._expects: dict[type, Callable[..., bool]] = {}
        for handler in handlers:
            table[handler.kind].append(handler.function)
            if handler.expects is not None:
                assert handler.kind not in self._expects, (
                    f"two parts expect {handler.kind.__name__}"
                )
                self._expects[handler.kind] = handler.expects
        kinds = (*get_args(Message), *get_args(Event))
        missing = [kind.__name__ for kind in kinds if kind not in table and kind not in UNHANDLED]
        assert not missing, f"no part handles {', '.join(missing)}"
        self._functions = {kind: tuple(table[kind]) for kind in kinds}

    def expects(self, link: Link, message: Message) -> bool:
        """Return whether we requested this message from this link."""
        function = self._expects.get(type(message))
        return function is not None and function(link, message)

    def message(self, link: Link, message: Message) -> None:
        """Pass on a message of a link."""
        for function in self._functions[type(message)]:
            function(link, message)

    def link_event(self, link: Link, event: LinkEvent) -> None:
        """Pass on an event of a link that is open."""
        for function in self._functions[type(event)]:
            function(link, event)

    def event(self, event: LinklessEvent) -> None:
        """Pass on an event of no link that is open."""
        for function in self._functions[type(event)]:
            function(event)
