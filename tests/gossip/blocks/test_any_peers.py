"""A download from peers that deliver, deliver in part, say that they have nothing, or go."""

from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from itertools import count
from random import Random

import pytest

from chain.gossip.actions import Action, Send
from chain.gossip.blocks import block_download as block_download_module
from chain.gossip.blocks import block_queue as block_queue_module
from chain.gossip.events import Closed, LinkId, RequestFinished
from chain.gossip.wire.messages import BlockMessage, GetData, NotFound
from tests.gossip.rig import Rig, chain

BLOCKS = 80
SMALL_BYTES = 400  # of a block with a coinbase and half a payment
STEPS_MAX = 400
ENDS = ["all", "all", "all", "some", "not found", "failed", "gone"]


class Download:
    """A rig that wants a chain, and the requests that its peers have not answered."""

    def __init__(self, source: Random) -> None:
        self.source = source
        self.rig = Rig()
        self.blocks = chain().grow(BLOCKS)
        self._raw = {block.id: block.raw for block in self.blocks}
        self._numbers = count(1)
        self._requests: defaultdict[LinkId, deque[GetData]] = defaultdict(deque)
        for opens in (self.rig.dial, self.rig.dial, self.rig.accept):
            self.open(opens)

    @property
    def is_done(self) -> bool:
        return self.rig.ledger.tip.id == self.blocks[-1].id

    def open(self, opens: Callable[[int], LinkId]) -> None:
        """Open a link to a peer with all blocks, or with some."""
        link = opens(next(self._numbers))
        has = self.source.choice([BLOCKS // 4, BLOCKS // 2, BLOCKS, BLOCKS, BLOCKS])
        self._note(self.rig.say_headers(link, self.blocks[:has]))

    def step(self) -> None:
        """Let time pass, and let one peer end a request in some way."""
        self._note(self.rig.wait(self.source.choice([0, 0, 0.1, 1, 5])))
        waiting = [link for link, asked in self._requests.items() if asked]
        waiting = [link for link in waiting if self.rig.is_open(link)]
        if not waiting or self.source.random() < 0.05:
            self.open(self.rig.accept)
            return
        link = self.source.choice(waiting)
        self._end(link, self._requests[link].popleft(), self.source.choice(ENDS))

    def check_scan(self) -> None:
        """Check that no block is missing where the plan is not scanned again."""
        download, queue = self.rig.gossip._block_download, self.rig.gossip._block_queue
        if download._losses_seen == queue.losses:
            assert all(map(download._is_coming, download._plan[: download._scan_start]))

    def _end(self, link: LinkId, request: GetData, how: str) -> None:
        if how == "gone":
            self._note(self.rig.handle(Closed(link, "gone")))
            return
        messages = [BlockMessage(self._raw[item.id]) for item in request.items]
        if how == "some":
            messages = self.source.sample(messages, len(messages) // 2) + messages[:1]
        if how in {"all", "some"}:
            self._note(self.rig.say(link, *messages))
        elif how == "not found":
            self._note(self.rig.say(link, NotFound(request.items[:1])))
        self._note(self.rig.handle(RequestFinished(link, request, failed=how == "failed")))

    def _note(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Send) and isinstance(action.message, GetData):
                self._requests[action.link].append(action.message)


@pytest.mark.parametrize("seed", range(20))
def test_every_block_is_fetched_in_the_end(monkeypatch, seed):
    monkeypatch.setattr(block_download_module, "WINDOW_BLOCKS", 24)
    monkeypatch.setattr(block_download_module, "REQUEST_BLOCKS_MAX", 4)
    monkeypatch.setattr(block_queue_module, "QUEUED_BYTES_MAX", 10 * SMALL_BYTES)
    download, steps = Download(Random(seed)), 0
    while not download.is_done:
        download.step()
        download.check_scan()
        steps += 1
        assert steps < STEPS_MAX, "the download stalled"


def test_requested_blocks_are_taken_whatever_comes_between_them():
    rig = Rig()
    link = rig.accept()
    blocks = chain().grow(6)
    rig.say_headers(link, blocks[:5])
    first, *others, last = blocks
    sent = [first, first, last, *others, first]
    rig.say(link, *(BlockMessage(block.raw) for block in sent))
    assert rig.ledger.tip.id == last.id
    assert rig.is_open(link)
    [peer] = rig.gossip.peers()
    assert peer.in_flight == ()
