"""The counters of gossip events in /metrics."""

import re
from pathlib import Path

import chain.gossip
from chain.gossip.peers import links
from chain.service.api.metrics import GOSSIP_KINDS
from tests.api.harness import RecordingPeers

_TRACE = re.compile(r"\btrace\(\s*(\"[^\"]+\"|[A-Z_]+)")


def test_each_gossip_event_is_counted_by_its_kind_and_unknown_kinds_are_one(on_node):
    traced = {"link opened": 3, "dial failed: self": 1, "dial failed: x": 1, "a": 2, "b": 5}

    class Peers(RecordingPeers):
        counts = traced

    async def scenario(node):
        lines = (await node.get("/metrics")).text.splitlines()
        assert 'groat_gossip_events_total{kind="link opened"} 3.0' in lines
        assert 'groat_gossip_events_total{kind="link closed"} 0.0' in lines
        assert 'groat_gossip_events_total{kind="dial failed"} 2.0' in lines
        assert 'groat_gossip_events_total{kind="other"} 7.0' in lines
        found = [line for line in lines if line.startswith("groat_gossip_events_total")]
        assert len(found) == len(GOSSIP_KINDS) + 1

    on_node(scenario, peers=Peers())


def test_the_table_of_kinds_names_what_the_core_traces():
    folder = Path(chain.gossip.__file__).parent
    text = "".join(path.read_text() for path in folder.rglob("*.py"))
    named = {getattr(links, kind, kind.strip('"')) for kind in _TRACE.findall(text)}
    assert named | {"dial failed"} == set(GOSSIP_KINDS)
