"""Opening links, and watching whether they still live."""

from dataclasses import dataclass
from typing import Final

from chain.gossip.actions import Lane, Pause, Purpose, Resume
from chain.gossip.address import Address
from chain.gossip.context import CODE_SLOW, CODE_TIMEOUT, SECOND_US, Context, Link
from chain.gossip.events import LinkId
from chain.gossip.hello import Hello
from chain.gossip.limits import TRUSTED_FACTOR, Budget
from chain.gossip.messages import Message, Ping, Pong

PING_INTERVAL_S: Final = 20  # below the 60 s after which proxies and NATs forget a connection
PONG_TIMEOUT_S: Final = 60
SILENCE_S_MAX: Final = 90
QUEUED_BYTES_MAX: Final = 2 * 1024 * 1024 + 4_000_000  # a block may always be on its way
QUEUED_BYTES_ALL_MAX: Final = 64 * 1024 * 1024  # of all links together
WRITE_STALL_S_MAX: Final = 60
CLOCKS_MIN: Final = 3  # peers whose clocks are compared with ours
CLOCK_OFF_S_MAX: Final = 600  # Bitcoin: WARN_THRESHOLD of its TimeOffsets
CLOCK_OFF: Final = "our clock is off"  # the trace's kind


@dataclass(slots=True)
class _Life:
    """What tells whether a link lives."""

    ping_nonce: int | None = None
    ping_sent_us: int = 0
    progress_us: int = 0  # when the queue last shrank or was empty
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Opening:
    """What a handshake told of a new link; the fields are those of `Link`."""

    link: LinkId
    address: Address
    purpose: Purpose | None
    nonce: int
    hello: Hello
    seen_as: Address | None = None


class Liveness:
    """Pings, silence, slow readers and budgets of all links."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lives: dict[LinkId, _Life] = {}

    def open(self, opening: Opening) -> Link:
        """Return a new link, which is in `context.links` from now on."""
        context = self._context
        now_us = context.now.mono_us
        trust = 1 if opening.purpose is None else TRUSTED_FACTOR
        factor = context.config.rate_factor * trust
        link = Link(
            id=opening.link,
            address=opening.address,
            purpose=opening.purpose,
            hello=opening.hello,
            nonce=opening.nonce,
            seen_as=opening.seen_as,
            clock_ahead_s=opening.hello.unix_s - context.now.unix_s,
            opened_us=now_us,
            budget=Budget(factor, now_us, context.config.signature_us),
            last_receive_us=now_us,
        )
        context.links[link.id] = link
        self._lives[link.id] = _Life(progress_us=now_us)
        context.later(PING_INTERVAL_S, lambda: self._check(link))
        if link.is_outbound:
            self._compare_clocks()
        return link

    def _compare_clocks(self) -> None:
        """Tell of a clock of ours that most peers we chose contradict; nothing is decided by it."""
        ahead_s = sorted(
            link.clock_ahead_s for link in self._context.links.values() if link.is_outbound
        )
        median_s = ahead_s[len(ahead_s) // 2]
        if len(ahead_s) >= CLOCKS_MIN and abs(median_s) > CLOCK_OFF_S_MAX:
            self._context.trace(CLOCK_OFF, peers_ahead_s=median_s)

    def closed(self, link: Link) -> None:
        """Forget a link."""
        self._lives.pop(link.id, None)

    def received(self, link: Link, message: Message, unasked_bytes: int | None) -> None:
        """Note that a message came, and pause the link if it costs more than its share.

        `unasked_bytes` is None for what we asked for: that costs only time.
        """
        now_us = self._context.now.mono_us
        if unasked_bytes is None:
            link.budget.charge(message, now_us)
        else:
            link.budget.charge_unasked(message, unasked_bytes, now_us)
        self._pause_if_over(link)

    def pong(self, link: Link, pong: Pong) -> None:
        """Take the answer to a ping; any other is ignored, as in Bitcoin."""
        life = self._lives[link.id]
        if life.ping_nonce == pong.nonce:
            took_us = self._context.now.mono_us - life.ping_sent_us
            link.last_ping_us = took_us
            link.ping_us = took_us if link.ping_us is None else min(link.ping_us, took_us)
            life.ping_nonce = None

    def wrote(self, link: Link, queued_bytes: int) -> None:
        """Note how much waits to be written; a link that only piles up is closed."""
        life = self._lives[link.id]
        if queued_bytes < link.queued_bytes or queued_bytes == 0:
            life.progress_us = self._context.now.mono_us
        link.queued_bytes = queued_bytes
        if queued_bytes > QUEUED_BYTES_MAX:
            self._context.close(link, "reads too slowly", CODE_SLOW)
        links = self._context.links.values()
        if sum(link.queued_bytes for link in links) > QUEUED_BYTES_ALL_MAX:
            slowest = max(links, key=lambda link: link.queued_bytes)
            self._context.close(slowest, "reads most slowly of all", CODE_SLOW)

    def ping_all(self) -> None:
        """Ping each link that owes no answer."""
        for link in list(self._context.links.values()):
            self._ping(link, self._lives[link.id])

    def ping_waits_us(self, link: Link) -> int | None:
        """Return for how long a ping has had no answer; None: no ping is open."""
        life = self._lives.get(link.id)
        if life is None or life.ping_nonce is None:
            return None
        return self._context.now.mono_us - life.ping_sent_us

    def _ping(self, link: Link, life: _Life) -> None:
        if life.ping_nonce is None:
            life.ping_nonce = self._context.nonce(b"ping")
            life.ping_sent_us = self._context.now.mono_us
            self._context.send(link, Ping(life.ping_nonce), Lane.CONTROL)

    def _pause_if_over(self, link: Link) -> None:
        life = self._lives[link.id]
        wait_us = link.budget.wait_us(self._context.now.mono_us)
        if wait_us and not life.paused:
            life.paused = True
            self._context.emit(Pause(link.id))
            self._context.later(wait_us / SECOND_US, lambda: self._resume(link))

    def _resume(self, link: Link) -> None:
        life = self._lives.get(link.id)
        if life is None:
            return
        life.paused = False
        self._pause_if_over(link)
        if not life.paused:
            self._context.emit(Resume(link.id))

    def _check(self, link: Link) -> None:
        """Every ping interval: is it still there? Then ask again."""
        context, life = self._context, self._lives.get(link.id)
        if life is None:
            return
        now_us = context.now.mono_us
        life_signs = {
            "silent": not life.paused and now_us - link.last_receive_us > SILENCE_S_MAX * SECOND_US,
            "no pong": not life.paused
            and life.ping_nonce is not None
            and now_us - life.ping_sent_us > PONG_TIMEOUT_S * SECOND_US,
            "stopped reading": link.queued_bytes > 0
            and now_us - life.progress_us > WRITE_STALL_S_MAX * SECOND_US,
        }
        for why, holds in life_signs.items():
            if holds:
                context.close(link, why, CODE_TIMEOUT)
                return
        self._ping(link, life)
        context.later(PING_INTERVAL_S, lambda: self._check(link))
