"""What a peer may have had a hand in reaches a log as one harmless line (H30)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.gossip.wire.hello import AGENT_BYTES_MAX, decode_hello
from chain.primitives.encoding import DecodeError
from chain.printable import CHARACTERS_MAX, printable
from tests.gossip.rig import Rig


@given(st.text(max_size=300))
def test_a_peers_text_forges_no_log_line_and_moves_no_cursor(text: str) -> None:
    shown = printable(text)
    assert len(shown) <= CHARACTERS_MAX + 3
    assert all(char.isprintable() for char in shown)


def test_what_is_printable_stays() -> None:
    assert printable("groat:0.1.0 é") == "groat:0.1.0 é"
    assert printable("a\x1b[31m\r\n\u202eb") == "a?[31m ?b"
    assert printable("x" * (CHARACTERS_MAX + 1)) == "x" * CHARACTERS_MAX + "..."


@pytest.mark.parametrize(
    ("agent", "is_taken"),
    [
        ("a" * AGENT_BYTES_MAX, True),
        ("a" * (AGENT_BYTES_MAX + 1), False),
        ("<script>", True),  # the explorer escapes it
        ("a\nb", False),
        ("\x1b[2J", False),
    ],
)
def test_an_agent_is_short_and_printable_or_its_hello_is_refused(
    agent: str, is_taken: bool
) -> None:
    data = Rig().hello(agent=agent).encode()
    if is_taken:
        assert decode_hello(data).agent == agent
    else:
        with pytest.raises(DecodeError):
            decode_hello(data)
