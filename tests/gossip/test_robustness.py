"""Any behaviour of peers in any order raises nothing, and nothing grows without bound."""

from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from chain.gossip.actions import Close, Dial, Reply, Send
from chain.gossip.blocks.block_download import COPIES_MAX, IN_FLIGHT_PER_LINK_MAX
from chain.gossip.blocks.block_queue import VALIDATING_MAX
from chain.gossip.blocks.compact_download import ATTEMPTS_MAX, PARTIAL_BLOCKS_MAX
from chain.gossip.blocks.serve import REQUESTS_MAX
from chain.gossip.blocks.upload import TURNS_MAX
from chain.gossip.config import config_for
from chain.gossip.events import (
    BadFrame,
    BlocksRead,
    BlockVerdict,
    BlockVerdicts,
    Closed,
    DialFailed,
    DialFailure,
    Dialled,
    Frames,
    HeadersRead,
    HeadersVerdict,
    LinkId,
    RequestAbandoned,
    Requested,
    RequestFinished,
    SeedResolved,
    Token,
    TxOutcome,
    TxVerdict,
    WriteProgress,
)
from chain.gossip.seeds import DnsSeed
from chain.gossip.short_ids import ShortIds
from chain.gossip.wire.compact import (
    BlockTransactions,
    CompactBlock,
    GetBlockTransactions,
    SendCompact,
)
from chain.gossip.wire.frames import encode_frame
from chain.gossip.wire.hello import HelloReply
from chain.gossip.wire.messages import (
    COMPACT_BLOCK,
    WITNESS_BLOCK,
    WITNESS_TX,
    WTX,
    BlockMessage,
    GetData,
    GetHeaders,
    Headers,
    Inv,
    Inventory,
    NotFound,
    TxMessage,
)
from chain.primitives.numbers import Hash32
from chain.simulator.rules import SIMULATION
from tests.builders import KEY, ChainBuilder, coinbase, output_of, pay, spend
from tests.gossip.rig import Rig, peer_address
from tests.gossip.wire.test_frames import messages

BUILDER = ChainBuilder(SIMULATION)
BUILDER.grow(30)
FORK = BUILDER.fork(20)
FORK.grow(35, extra=b"fork")
BLOCKS = BUILDER.blocks + FORK.blocks[10:]
TXS = [
    spend([BUILDER.coinbase_coin(height)], [pay(999_000_000)], key=KEY) for height in range(1, 9)
]
TXS += [
    spend(
        [(output_of(tx), BUILDER.coinbase_coin(1)[1])], [pay(998_000_000)]
    )  # signed for another value: never valid
    for tx in TXS[:4]
]
IDS = [block.id for block in BLOCKS] + [tx.wtxid for tx in TXS] + [tx.txid for tx in TXS]
IDS.append(Hash32(bytes(32)))
SEEDS = (DnsSeed("a.example", 9444), DnsSeed("b.example", 9444), peer_address(1), peer_address(9))


def one_of(things):
    """Return a strategy that picks one; its repr, unlike sampled_from's, does not hold them all."""
    return st.integers(0, len(things) - 1).map(lambda index: things[index])


ids = one_of(IDS)
items = st.lists(
    st.builds(Inventory, st.sampled_from([WTX, WITNESS_TX, WITNESS_BLOCK, COMPACT_BLOCK, 1]), ids),
    max_size=6,
).map(tuple)


@st.composite
def runs(draw):
    """Return consecutive headers, possibly with a gap."""
    blocks = draw(one_of([BUILDER.blocks, FORK.blocks]))
    start = draw(st.integers(0, len(blocks) - 1))
    end = draw(st.integers(start, len(blocks)))
    step = draw(st.sampled_from([1, 1, 1, 2, -1]))
    return Headers(tuple(block.header for block in blocks[start:end:step]))


@st.composite
def bodies(draw):
    """Return a block's bytes, possibly damaged outside the header."""
    raw = bytearray(draw(one_of(BLOCKS)).raw)
    for _ in range(draw(st.integers(0, 2))):
        raw[draw(st.integers(0, len(raw) - 1))] ^= draw(st.integers(1, 255))
    return BlockMessage(bytes(raw[: draw(st.sampled_from([len(raw), len(raw), 81, 100]))]))


@st.composite
def compacts(draw):
    """Return a block's compact form, possibly with a short id of no transaction."""
    block = draw(one_of(BLOCKS))
    whole = draw(st.sampled_from([(), (0,)]))
    message = ShortIds().compact_block(block.header, block.transactions, whole, 1)
    extra = draw(st.sampled_from([(), (), (5,)]))
    return CompactBlock(message.header, 1, message.short_ids + extra, message.prefilled)


@st.composite
def missing_transactions(draw):
    """Return transactions of a block, or of another one."""
    block = draw(one_of(BLOCKS))
    other = draw(st.sampled_from([block, block, BLOCKS[0]]))
    return BlockTransactions(block.id, other.transactions)


likely = st.one_of(
    runs(),
    compacts(),
    missing_transactions(),
    st.builds(SendCompact, st.booleans(), st.sampled_from([2, 2, 1])),
    st.builds(GetBlockTransactions, ids, st.sampled_from([(), (0,), (0, 1)])),
    bodies(),
    st.builds(GetData, items),
    st.builds(Inv, items),
    st.builds(NotFound, items),
    st.builds(GetHeaders, st.lists(ids, max_size=3).map(tuple), ids),
    one_of(TXS).map(TxMessage),
    messages,
)
tokens = st.integers(0, 400).map(Token)
strays = st.one_of(
    st.builds(HeadersVerdict, tokens, ids, st.integers(0, 3), st.none()),
    st.builds(
        BlockVerdicts,
        st.tuples(st.builds(BlockVerdict, tokens, st.sampled_from([(), (None,), (None, None)]))),
    ),
    st.builds(TxVerdict, tokens, st.sampled_from(TxOutcome), st.just("")),
    st.builds(BlocksRead, tokens, st.just((None,))),
    st.builds(HeadersRead, tokens, st.just(())),
    st.builds(DialFailed, tokens, st.sampled_from(DialFailure)),
    st.builds(
        SeedResolved,
        st.sampled_from(SEEDS[:2]),
        st.lists(st.integers(0, 12).map(peer_address), max_size=3).map(tuple),
    ),
)


class Byzantine(RuleBasedStateMachine):
    """Peers that send anything, at any time."""

    @initialize(auto_dial=st.booleans())
    def start(self, auto_dial):
        config = config_for(SIMULATION, agent="/t/", auto_dial=auto_dial)
        self.rig = Rig(config=replace(config, seeds=SEEDS))
        self.links = [self.rig.accept(1), self.rig.dial(2)]
        self.requested = []  # each request's link and token

    @rule(number=st.integers(1, 6), inbound=st.booleans(), flags=st.integers(0, 3))
    def link(self, number, inbound, flags):
        if inbound:
            self.links.append(self.rig.accept(number, flags=flags))

    @rule(which=st.integers(0, 9))
    def dialled(self, which):
        """Let an address that was dialled accept."""
        dials = [action for action in self.rig.actions if isinstance(action, Dial)]
        if dials:
            link = LinkId(20_000 + len(self.links))
            reply = HelloReply(self.rig.hello(), None, 20)
            self.check(self.rig.handle(Dialled(dials[-1 - which % len(dials)].dial, link, reply)))
            self.links.append(link)

    @rule(which=st.integers(0, 9), said=st.lists(likely, max_size=4))
    def say(self, which, said):
        self.check(self.rig.handle(Frames(self.pick(which), tuple(said), 100 * len(said))))

    @rule(
        which=st.integers(0, 9),
        locator=st.lists(ids, max_size=3),
        wanted=st.lists(ids, max_size=20),
    )
    def request(self, which, locator, wanted):
        link = self.pick(which)
        blocks = tuple(Inventory(WITNESS_BLOCK, block_id) for block_id in wanted)
        asked = GetHeaders(tuple(locator), Hash32(bytes(32)))
        for message in (GetData(blocks), asked):
            token = Token(9000 + len(self.requested))
            self.requested.append((link, token))
            self.check(self.rig.handle(Requested(link, token, message, 50)))

    @rule(which=st.integers(0, 99))
    def abandon(self, which):
        """Let a request end, whether it was answered or not."""
        if self.requested:
            link, token = self.requested[-1 - which % len(self.requested)]
            self.check(self.rig.handle(RequestAbandoned(link, token)))
            waiting = self.rig.gossip._serving._requests.get(link, ())
            left = [request for request in waiting if request.http_request == token]
            assert not any(request.wanted or request.headers for request in left)

    @rule(which=st.integers(0, 9), failed=st.booleans())
    def answered(self, which, failed):
        link = self.pick(which)
        sends = [a for a in self.rig.actions if isinstance(a, Send) and a.link == link]
        for send in sends[-3:]:
            if isinstance(send.message, GetData | GetHeaders):
                self.check(self.rig.handle(RequestFinished(link, send.message, failed)))

    @rule(answers=st.booleans())
    def keep_the_ledger_busy(self, answers):
        """Let the ledger's answers wait, or no longer."""
        self.rig.answers = answers

    @rule(which=st.integers(0, 99), count=st.integers(1, 5))
    def answer(self, which, count):
        for _ in range(min(count, len(self.rig.requests))):
            pending = self.rig.requests.pop(which % len(self.rig.requests))
            self.check(self.rig.handle(self.rig.ledger.handle(pending, self.rig.now.unix_s)))

    @rule(which=st.integers(0, 9), queued=st.integers(0, 8_000_000))
    def wrote(self, which, queued):
        self.check(self.rig.handle(WriteProgress(self.pick(which), queued)))

    @rule(which=st.integers(0, 9), bad=st.booleans())
    def end(self, which, bad):
        link = self.pick(which)
        self.check(self.rig.handle(BadFrame(link, "bad") if bad else Closed(link, "gone")))

    @rule(stray=strays)
    def stray(self, stray):
        self.check(self.rig.handle(stray))

    @rule(seconds=st.floats(0.01, 30))
    def wait(self, seconds):
        self.check(self.rig.wait(seconds))

    @rule()
    def mine(self):
        self.rig.ledger.mine(KEY.script, len(self.rig.actions), self.rig.now.unix_s)
        self.check(self.rig.wait(0.01))

    def pick(self, which):
        return self.links[which % len(self.links)] if self.links else LinkId(0)

    def check(self, actions):
        """No message to a link that is closed, none over its cap."""
        closed = set()
        for action in actions:
            if isinstance(action, Send | Reply):
                assert action.link not in closed
                assert encode_frame(action.message)
            if isinstance(action, Close):
                closed.add(action.link)

    @invariant()
    def bounds_hold(self):
        if not hasattr(self, "rig"):
            return
        gossip = self.rig.gossip
        fetch, requests = gossip._block_download, gossip._tx_download.requests
        assert all(len(f.flights) <= IN_FLIGHT_PER_LINK_MAX for f in fetch._fetches.values())
        assert all(count <= COPIES_MAX for count in fetch._requested_from.values())
        flying = sum(len(f.flights) for f in fetch._fetches.values())
        assert flying == sum(fetch._requested_from.values())
        assert all(requests.in_flight(item) <= 1 for item in requests._tracked)
        assert all(count >= 0 for count in requests._in_flight.values())
        open_links = [peer.link for peer in gossip.peers()]
        for table in (fetch._fetches, requests._by_link, gossip._serving._requests):
            assert list(table) == open_links, "a part remembers a link that ended"
        serving = gossip._serving
        assert serving._busy == {link.id: token for token, link in serving._reading.items()}
        assert serving._delayed <= set(open_links) | set(self.links)
        turns = serving._turns
        assert len(turns._held) <= TURNS_MAX
        assert not turns._queued or len(turns._held) == TURNS_MAX, "a turn is lost"
        for link in serving._busy.keys() | turns._held.keys() | turns._queued.keys():
            assert serving._requests[link], "a link without a request is served"
        for link, waiting in serving._requests.items():
            served = link in serving._busy or link in turns._queued or link in serving._delayed
            assert len(waiting) <= REQUESTS_MAX
            assert served or not waiting, "a request hangs"
        arrivals = gossip._block_queue
        here = [*arrivals._queued.values(), *arrivals._validating.values()]
        assert sum(len(a.block.raw) for a in here) == arrivals.size
        assert all(link.id in open_links for queued in here for link in queued.holders)
        assert len(arrivals._validating) == len(arrivals._validating_ids) <= VALIDATING_MAX
        rebuilds = gossip._compact_download._partial_blocks
        assert list(rebuilds) == list(arrivals._reserved)
        assert len(rebuilds) <= PARTIAL_BLOCKS_MAX
        for attempts in rebuilds.values():
            assert 0 < len(attempts) <= ATTEMPTS_MAX
            assert all(link in open_links for link in attempts)
        assert len(gossip._compact_relay._recent) <= 10 >= len(gossip._compact_relay._messages)
        assert all(link.id in open_links for link in gossip._compact_relay._announcers)
        if not arrivals._validating_ids:
            has_block = self.rig.ledger.chain.has_block
            assert not [a for a in arrivals._queued.values() if has_block(a.previous)]

    def teardown(self):
        if hasattr(self, "rig"):
            for link in self.links:
                self.rig.handle(Closed(link, "end"))
            assert len(self.rig.gossip._tx_download.requests) == 0
            assert self.rig.gossip._block_download._requested_from == {}


class OtherByzantine(Byzantine):
    """The same machine with other examples: all of them in one test would take too long."""


WALKS = settings(max_examples=30, stateful_step_count=40, suppress_health_check=list(HealthCheck))
TestByzantine, TestOtherByzantine = Byzantine.TestCase, OtherByzantine.TestCase
TestByzantine.settings = TestOtherByzantine.settings = WALKS


@given(st.lists(likely, max_size=30))
def test_after_any_nonsense_an_honest_peer_still_gives_us_its_chain(said):
    rig = Rig()
    liar, honest = rig.accept(1), rig.accept(2)
    rig.say(liar, *said)
    rig.say(honest, Headers(tuple(block.header for block in FORK.blocks)))
    for _ in range(20):
        fetch = rig.gossip._block_download._fetches.get(honest)
        assert fetch is not None, "the honest peer was closed"
        by_id = {block.id: block for block in FORK.blocks}
        for block_id in list(fetch.flights):
            rig.say(honest, BlockMessage(by_id[block_id].raw))
        if rig.ledger.tip.id == FORK.tip.id:
            return
        rig.wait(2)
    raise AssertionError(f"stuck at {rig.ledger.tip.height}")


def test_a_coinbase_from_a_peer_does_not_raise():
    rig = Rig()
    link = rig.dial()
    tx = coinbase(1, 1)
    rig.say(link, Inv((Inventory(WTX, tx.wtxid),)), TxMessage(tx))
    assert rig.is_open(link)
