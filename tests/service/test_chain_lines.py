"""What the node says of the chain, of a sync and of missing peers: bounded, and complete."""

import logging
import sys
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from chain.gossip.actions import Trace
from chain.gossip.peers.links import INBOUND, LINK_CLOSED, LINK_OPENED
from chain.node.node import ChainStateUpdate, MovedBlock
from chain.primitives.address import p2wpkh_address
from chain.service.chain_lines import NO_PEERS_S, TIP_INTERVAL_S, ChainLines, PeerLines, SyncLines
from chain.service.node_log import NodeLog, _File, _Screen
from chain.service.peers.net_lines import INBOUND_LINES_PER_MINUTE_MAX, log_link
from chain.service.process import _may_be_alone, warn_of_unused_flags
from chain.settings import load_settings
from tests.builders import ChainBuilder

MAIN_ADDRESS = p2wpkh_address(bytes(20), "groat")


@pytest.fixture
def said(caplog):
    """Return a function that gives the lines since its last call."""
    caplog.set_level(logging.INFO)

    def take():
        lines = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return lines

    return take


class World:
    """A chain's lines with a clock of their own."""

    def __init__(self):
        self.now_s = 100.0
        self.is_syncing = False
        self.lines = ChainLines(lambda: self.is_syncing, lambda: self.now_s)

    def update(self, height, connected, disconnected=0):
        [block] = ChainBuilder().grow(1)
        tip = SimpleNamespace(height=height, id=block.id)
        moved = MovedBlock(id=block.id, time=block.header.time, tx_count=2)
        self.lines.on_update(
            ChainStateUpdate(
                view=SimpleNamespace(tip=tip),
                connected=(moved,) * connected,
                disconnected=(moved,) * disconnected,
            )
        )
        return block.id[::-1].hex()


def test_a_new_tip_has_its_height_id_and_transactions(said):
    tip = World().update(1241, 1)
    assert said() == [f"new tip 1,241 {tip}: 2 transactions"]


def test_tips_in_a_hurry_are_counted_and_none_is_lost(said):
    world = World()
    world.update(1, 1)
    for height in range(2, 12):
        world.update(height, 1)
    assert len(said()) == 1
    world.lines.flush_if_due()
    assert said() == []
    world.now_s += TIP_INTERVAL_S
    world.lines.flush_if_due()
    [line] = said()
    assert line.startswith("10 new blocks, tip 11 ")
    assert line.endswith(": 20 transactions")
    world.update(12, 1)
    world.lines.flush()  # the node stops
    assert said()[0].startswith("new tip 12 ")
    world.lines.flush()
    assert said() == []


def test_a_reorganisation_always_has_a_line_with_its_fork(said):
    world = World()
    world.update(1260, 1)
    said()
    world.update(1311, 71, 20)
    assert said()[0] == "reorganisation: 20 blocks disconnected, 71 connected, fork at 1,240"
    world.is_syncing = True
    world.update(1310, 0, 1)  # an invalidated block
    assert said() == ["reorganisation: 1 block disconnected, 0 connected, fork at 1,310"]


def test_blocks_of_a_sync_have_no_line_each(said):
    world = World()
    world.is_syncing = True
    for height in range(1, 100):
        world.update(height, 1)
    assert said() == []
    world.is_syncing = False
    tip = world.update(100, 1)
    assert said() == [f"new tip 100 {tip}: 2 transactions"]


@dataclass
class State:
    height: int
    headers: int


def test_a_sync_has_its_rate_and_what_is_left_and_an_end(said):
    lines = SyncLines(State(0, 0), 0.0)
    lines.report(State(1000, 3000), 2.0, is_behind=True)
    lines.report(State(1000, 3000), 4.0, is_behind=True)  # nothing moved
    lines.report(State(3000, 3000), 6.0, is_behind=False)
    lines.report(State(3001, 3001), 8.0, is_behind=False)
    assert said() == [
        "syncing: block 1,000 of 3,000 (33 %), 500 blocks/s, about 4 s left",
        "in sync: block 3,000",
    ]


def test_missing_peers_are_named_ever_more_seldom(said):
    lines, told_s = PeerLines(0.0), []
    for now_s in range(20_000):
        lines.report(0, now_s)
        told_s += [now_s] * len(said())
    waits = [later - earlier for earlier, later in zip([0, *told_s], told_s, strict=False)]
    assert waits == [*NO_PEERS_S, *NO_PEERS_S[-1:] * (len(waits) - len(NO_PEERS_S))]
    assert len(waits) > len(NO_PEERS_S)
    lines.report(1, 20_000)
    lines.report(0, 20_000 + NO_PEERS_S[0])
    assert said() == ["no peers: name one with --peer HOST:PORT, or a seed with --seed"]


def test_who_has_named_a_seed_is_not_told_to_name_one(said):
    PeerLines(0.0, has_places=True).report(0, NO_PEERS_S[0])
    assert said() == ["no peers yet: none of the named peers and seeds has led to one"]


def test_who_has_lost_the_last_peer_is_told_so_and_when(said):
    lines = PeerLines(0.0, has_places=True)
    lines.report(1, 100)
    lines.report(0, 100 + 2 * NO_PEERS_S[0])
    [line] = said()
    assert line.startswith("no peers: the last one left about")


@pytest.mark.parametrize(
    ("flags", "may_be"),
    [
        ({"network": "regtest"}, True),
        ({"network": "devnet"}, False),
        ({"network": "devnet", "mine": p2wpkh_address(bytes(20), "dgroat")}, True),
        ({"network": "main", "mine_alone": True, "mine": MAIN_ADDRESS}, True),
        ({"network": "main", "mine_alone": True}, False),
        ({"network": "main"}, False),
    ],
)
def test_a_node_that_mines_alone_is_not_told_that_it_has_no_peers(flags, may_be):
    assert _may_be_alone(load_settings(flags)) is may_be


@pytest.mark.parametrize(
    ("flags", "unused"),
    [
        ({"mine_alone": True}, ["--mine-alone"]),
        ({"mine_alone": True, "mine_threads": 2}, ["--mine-alone", "--mine-threads"]),
        ({"mine_alone": True, "mine_threads": 2, "mine": MAIN_ADDRESS}, []),
        ({}, []),
    ],
)
def test_a_flag_of_mining_without_an_effect_is_said_at_the_start(caplog, flags, unused):
    warn_of_unused_flags(load_settings({"network": "main", **flags}))
    problem = "has no effect: without --mine ADDRESS this node does not mine"
    assert caplog.messages == [f"{flag} {problem}" for flag in unused]


def trace(kind, way, number=1):
    fields = {"connection_type": way, "address": f"192.0.2.1:{number}", "agent": "a\x1b[2J"}
    return Trace(kind, tuple((fields | {"height": 1234, "why": "no pong"}).items()))


def test_a_peer_that_comes_or_goes_is_named_with_why(said):
    log_link(trace(LINK_OPENED, "manual"))
    log_link(trace(LINK_CLOSED, INBOUND))
    first, second = said()
    assert first.startswith("peer connected: 192.0.2.1:1 (manual, a")
    assert first.endswith(", block 1,234)")
    assert "\x1b" not in first
    assert second == "peer disconnected: 192.0.2.1:1 (inbound): no pong"


def test_peers_that_come_and_go_cannot_flood_the_log(tmp_path):
    log = NodeLog(_File(tmp_path / "node.log"), clock=lambda: 0.0)
    logger = logging.getLogger("chain.service.peers.net_lines")
    logger.addHandler(log)
    before = logger.level
    logger.setLevel(logging.INFO)
    try:
        for number in range(1000):
            log_link(trace(LINK_OPENED, INBOUND, number))
            log_link(trace(LINK_CLOSED, INBOUND, number))
        log_link(trace(LINK_OPENED, "manual"))
    finally:
        logger.removeHandler(log)
        logger.setLevel(before)
        log.close()
    lines = (tmp_path / "node.log").read_text().splitlines()
    assert len(lines) == INBOUND_LINES_PER_MINUTE_MAX + 1
    assert "manual" in lines[-1], "another one's place is not taken"


def test_quiet_leaves_warnings_on_the_screen_and_everything_in_the_file(tmp_path, capsys):
    screen = _Screen(sys.stderr)
    screen.setLevel(logging.WARNING)
    log = NodeLog(screen, _File(tmp_path / "node.log"))
    for level in (logging.INFO, logging.WARNING):
        log.emit(logging.LogRecord("x", level, __file__, level, "line %d", (level,), None))
    log.close()
    assert "line 30" in capsys.readouterr().err
    text = (tmp_path / "node.log").read_text()
    assert "line 20" in text
    assert "line 30" in text
