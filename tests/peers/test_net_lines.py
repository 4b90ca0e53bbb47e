"""Lines about peers in the log."""

import pytest

from chain.gossip.wire.address import Address
from chain.service.peers.net_lines import (
    DIAL_FAILURES_MAX,
    REPEATED_AFTER_S,
    DialFailureLines,
)

PEER = Address(bytes([192, 0, 2, 1]), 9444)
LINE = "cannot connect to 192.0.2.1:9444: "


def test_why_a_peer_cannot_be_dialled_is_said_again_when_it_changes_or_after_a_while(
    caplog,
) -> None:
    caplog.set_level("INFO")
    lines = DialFailureLines()
    for at_s, why in enumerate(["busy", "busy", "unreachable", "unreachable", "busy"]):
        lines.log(PEER, why, at_s)
    lines.log(PEER, "busy", 4 + REPEATED_AFTER_S - 1)
    lines.log(PEER, "busy", 4 + REPEATED_AFTER_S)
    said = [LINE + why for why in ("busy", "unreachable", "busy", "busy")]
    assert caplog.messages == said


@pytest.mark.parametrize(("others", "lines_of_peer"), [(-1, 1), (0, 2)])
def test_what_was_said_of_addresses_is_bounded(caplog, others: int, lines_of_peer: int) -> None:
    caplog.set_level("INFO")
    lines = DialFailureLines()
    lines.log(PEER, "busy", 0)
    for number in range(DIAL_FAILURES_MAX + others):
        lines.log(Address(number.to_bytes(4), 1), "busy", 1)
    lines.log(PEER, "busy", 2)
    assert caplog.messages.count(LINE + "busy") == lines_of_peer
