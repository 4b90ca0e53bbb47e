"""Suspecting the peers that we chose of not telling us the best chain.

When no block comes for long, one more peer is dialled than there are slots, and the worst one goes
(Bitcoin: stale tip check). Who stays behind our own chain is asked for its headers, and goes if it
has nothing better (Bitcoin: ConsiderEviction).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from chain.gossip.actions import Purpose
from chain.gossip.context import CODE_TIMEOUT, SECOND_US, Context, Link
from chain.gossip.dialling import Dialling
from chain.gossip.headersync import HeaderSync

if TYPE_CHECKING:
    from chain.gossip.events import LinkId

CHECK_INTERVAL_S: Final = 30.0
STALE_SPACINGS: Final = 3  # without a block for so many times the spacing, the tip is stale
STALE_S_MIN: Final = 60
BEHIND_S_MAX: Final = 20 * 60  # Bitcoin: CHAIN_SYNC_TIMEOUT
CHALLENGE_S: Final = 120  # Bitcoin: HEADERS_RESPONSE_TIME
JUDGED_AFTER_S: Final = 60  # a link younger than this may not have told yet what it has


@dataclass(slots=True)
class _Behind:
    """What a link has to show, since when, and when it was asked for it."""

    since_us: int
    work: int  # that we had then, and that it has to show
    challenged_us: int | None = None


class StaleTip:
    """Watches the tip and the outbound links that the address book chose."""

    def __init__(self, context: Context, dialling: Dialling, headers: HeaderSync) -> None:
        self._context = context
        self._dialling = dialling
        self._headers = headers
        self._tip_us = 0
        self._behind: dict[LinkId, _Behind] = {}

    def start(self) -> None:
        """Watch from now on."""
        self._tip_us = self._context.now.mono_us
        self._context.later(CHECK_INTERVAL_S, self._check)

    def closed(self, link: Link) -> None:
        """Forget a link."""
        self._behind.pop(link.id, None)

    def tip_changed(self) -> None:
        """Note that a block came."""
        self._tip_us = self._context.now.mono_us

    def _check(self) -> None:
        context = self._context
        spacing_s = context.config.params.spacing_s
        limit_us = max(STALE_SPACINGS * spacing_s, STALE_S_MIN) * SECOND_US
        is_stale = context.now.mono_us - self._tip_us > limit_us
        self._dialling.extra = 1 if is_stale else 0
        chosen = [link for link in context.links.values() if link.purpose is Purpose.FULL]
        if len(chosen) > context.config.outbound_max:
            self._drop_worst(chosen)
        for link in list(context.links.values()):
            if link.is_outbound and not link.is_manual:
                self._judge(link)
        context.later(CHECK_INTERVAL_S, self._check)

    def _drop_worst(self, chosen: list[Link]) -> None:
        """Close the link that knows of the least work, of equals the youngest."""
        horizon_us = self._context.now.mono_us - JUDGED_AFTER_S * SECOND_US
        if all(link.opened_us < horizon_us for link in chosen):
            worst = min(chosen, key=lambda link: (_work(link), -link.opened_us))
            self._context.close(worst, "one outbound link too many")

    def _judge(self, link: Link) -> None:
        """Close a link that does not reach in time what we have, not even when asked."""
        context = self._context
        now_us = context.now.mono_us
        behind = self._behind.get(link.id)
        if behind is None or _work(link) >= behind.work:
            self._behind[link.id] = _Behind(now_us, context.chain.tip.chain_work)
        elif behind.challenged_us is None:
            if now_us - behind.since_us > BEHIND_S_MAX * SECOND_US:
                behind.challenged_us = now_us
                self._headers.ask(link)
        elif now_us - behind.challenged_us > CHALLENGE_S * SECOND_US:
            context.close(link, "its chain has less work than ours", CODE_TIMEOUT)


def _work(link: Link) -> int:
    return 0 if link.best_known is None else link.best_known.chain_work
