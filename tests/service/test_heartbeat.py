"""The node's heartbeat as other processes read it."""

import json

import pytest

from chain.service.heartbeat import Heartbeat, decode_heartbeat

SAID = Heartbeat(beat=3, started_at=7, peers=2, gossip_events={"link opened": 4})


def test_a_heartbeat_is_read_as_it_was_written():
    assert decode_heartbeat(SAID.encode()) == SAID


@pytest.mark.parametrize(
    "changed",
    [
        {"gossip_events": {"link opened": "4"}},
        {"gossip_events": {"link opened": None}},
        {"gossip_events": ["link opened"]},
        {"peers": "2"},
        {"new in a later release": 1},
    ],
)
def test_a_heartbeat_that_is_damaged_or_of_another_release_has_no_contents(changed):
    row = json.loads(SAID.encode()) | changed
    assert decode_heartbeat(json.dumps(row).encode()) == Heartbeat()


def test_a_heartbeat_of_an_earlier_release_without_gossip_events_is_read():
    row = json.loads(SAID.encode())
    del row["gossip_events"]
    assert decode_heartbeat(json.dumps(row).encode()).peers == SAID.peers
