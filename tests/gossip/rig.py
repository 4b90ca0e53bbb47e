"""One gossip core on a light ledger, with a clock and peers played by the test."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from random import Random

from chain.consensus.params import Params
from chain.gossip.actions import (
    Action,
    Close,
    Dial,
    ReadBlocks,
    ReadHeaders,
    Send,
    ValidateBlocks,
    ValidateHeaders,
    ValidateTx,
)
from chain.gossip.bans import Bans
from chain.gossip.config import Config, config_for
from chain.gossip.events import Accepted, Dialled, Event, Frames, LinkId, ManualAdded, Now, Tick
from chain.gossip.gossip import Gossip, SavedState
from chain.gossip.wire.address import Address
from chain.gossip.wire.frames import encode_frame
from chain.gossip.wire.hello import Hello, HelloReply
from chain.gossip.wire.messages import Headers, Message
from chain.primitives.block import Block, Header
from chain.primitives.numbers import SECOND_US
from chain.simulator.light import LightNode
from chain.simulator.rules import SIMULATION, START_S
from chain.simulator.universe import Universe
from tests.builders import ChainBuilder

SECRET = bytes(range(32))
QUESTIONS = (ValidateHeaders, ValidateBlocks, ValidateTx, ReadBlocks, ReadHeaders)


def peer_address(number: int) -> Address:
    """Return a public address in its own group."""
    return Address(bytes([20 + number // 256, number % 256, 0, 1]), 9444)


class Rig:
    """Passes events to the core, answers its ledger requests, and records its actions."""

    def __init__(
        self,
        *,
        params: Params = SIMULATION,
        config: Config | None = None,
        saved: SavedState | None = None,
        answers: bool = True,
        secret: bytes = SECRET,
        bans: Bans | None = None,
    ) -> None:
        self.params = params
        self.universe = Universe(params)
        self.ledger = LightNode(self.universe)
        self.config = config or config_for(params, agent="/test/", auto_dial=False)
        self.gossip = Gossip(
            self.config,
            Random(1),
            secret,
            self.ledger.chain,
            self.ledger.pool,
            saved or SavedState(),
            bans=bans,
        )
        self.answers = answers
        self.mono_us = 0
        self.start_s = START_S + 3600
        self.actions: list[Action] = []
        self.requests: list[Action] = []
        self._links = count(1)
        self.handle(Tick())

    @property
    def now(self) -> Now:
        return Now(self.mono_us, self.start_s + self.mono_us // SECOND_US)

    def handle(self, *events: Event) -> list[Action]:
        """Pass events to the core, answer its ledger requests, and return all actions."""
        done: list[Action] = []
        queue = list(events)
        while queue:
            actions = self.gossip.handle(queue.pop(0), self.now)
            done += actions
            requests_now = [action for action in actions if isinstance(action, QUESTIONS)]
            if self.answers:
                queue += [
                    self.ledger.handle(question, self.now.unix_s) for question in requests_now
                ]
            else:
                self.requests += requests_now
        self.actions += done
        return done

    def answer_next(self) -> list[Action]:
        """Answer the oldest ledger request, with `answers` false; return the actions."""
        return self.handle(self.ledger.handle(self.requests.pop(0), self.now.unix_s))

    def wait(self, seconds: float) -> list[Action]:
        """Let time pass, with a Tick at each deadline of the core."""
        end_us = self.mono_us + int(seconds * SECOND_US)
        done: list[Action] = []
        while True:
            due_us = self.gossip.next_deadline()
            if due_us is None or due_us > end_us:
                break
            self.mono_us = max(due_us, self.mono_us)
            done += self.handle(Tick())
        self.mono_us = end_us
        return done

    def hello(self, **changes: object) -> Hello:
        """Return the hello of another node of this network."""
        hello = replace(self.gossip.hello(), nonce=next(self._links) + 1_000_000, listen=None)
        return replace(hello, **changes)  # type: ignore[arg-type]

    def accept(self, number: int = 1, **changes: object) -> LinkId:
        """Let peer `number` dial us; return its link."""
        link = LinkId(next(self._links))
        self.handle(Accepted(link, peer_address(number), self.hello(**changes)))
        return link

    def dial(self, number: int = 1, **changes: object) -> LinkId:
        """Dial peer `number` at the user's request; return its link."""
        actions = self.handle(ManualAdded(peer_address(number)))
        dial = next(action for action in actions if isinstance(action, Dial))
        link = LinkId(next(self._links))
        self.handle(Dialled(dial.dial, link, HelloReply(self.hello(**changes), None, 20)))
        return link

    def say(self, link: LinkId, *messages: Message) -> list[Action]:
        """Let a peer send messages."""
        size = sum(len(encode_frame(message)) for message in messages)
        return self.handle(Frames(link, tuple(messages), size))

    def say_headers(self, link: LinkId, blocks: Sequence[Block | Header]) -> list[Action]:
        headers = tuple(block.header if isinstance(block, Block) else block for block in blocks)
        return self.say(link, Headers(headers))

    def is_open(self, link: LinkId) -> bool:
        return any(peer.link == link for peer in self.gossip.peers())


def sent(actions: Sequence[Action], kind: type, link: LinkId | None = None) -> list:
    """Return the messages of one kind that were sent, to one link or to any."""
    return [
        action.message
        for action in actions
        if isinstance(action, Send)
        and isinstance(action.message, kind)
        and link in (None, action.link)
    ]


def sent_to(actions: Sequence[Action], kind: type) -> list[LinkId]:
    """Return the links to which messages of a kind were sent."""
    return [a.link for a in actions if isinstance(a, Send) and isinstance(a.message, kind)]


def closed(actions: Sequence[Action]) -> list[LinkId]:
    return [action.link for action in actions if isinstance(action, Close)]


def chain(params: Params = SIMULATION) -> ChainBuilder:
    """Return a builder whose blocks are older than the rig's clock."""
    return ChainBuilder(params)
