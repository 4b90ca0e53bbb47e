"""Every message and event has a handler; handlers are called in the order of the parts."""

from typing import get_args

import pytest

from chain.gossip.dispatch import UNHANDLED, Dispatch, Handler, on_event, on_message
from chain.gossip.events import Event, Frames, Tick, TxVerdict
from chain.gossip.wire.extension import Extension
from chain.gossip.wire.frames import _BY_TYPE
from chain.gossip.wire.messages import GetData, Headers, Inv, Message, NotFound, Ping, TxMessage
from tests.gossip.rig import Rig

KINDS = [*get_args(Message), *get_args(Event)]


@pytest.fixture(scope="module")
def gossip():
    return Rig().gossip


@pytest.fixture(scope="module")
def handled(gossip):
    return {handler.kind for part in gossip._parts for handler in part.handlers()} | {Frames}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_message_and_event_has_a_part_that_handles_it(kind, handled):
    assert (kind in handled) != (kind in UNHANDLED), f"no part handles {kind.__name__}"


def test_whatever_frames_decode_to_has_an_entry_in_the_table(gossip):
    """The table's assertions are about the parts, at construction: no peer can reach one."""
    decoded = {kind for number in range(256) if (kind := _BY_TYPE.get(number))} | {Extension}
    assert decoded <= gossip._dispatch._functions.keys()


def test_what_nobody_handles_is_an_extension_and_the_passing_of_time():
    assert {Extension, Tick} == UNHANDLED


@pytest.mark.parametrize("kind", [Ping, GetData, TxVerdict], ids=lambda kind: kind.__name__)
def test_a_message_or_event_without_a_handler_is_named(kind, handled):
    others = [Handler(other, print) for other in handled if other is not kind]
    with pytest.raises(AssertionError, match=f"^no part handles {kind.__name__}$"):
        Dispatch(others)


def test_handlers_of_the_same_message_are_called_in_the_order_in_which_they_were_given(handled):
    called = []
    dispatch = Dispatch(
        [
            on_message(Inv, lambda link, message: called.append(("first", link, message))),
            on_message(Inv, lambda link, message: called.append(("second", link, message))),
            on_event(Tick, called.append),
            *(Handler(kind, print) for kind in handled - {Inv}),
        ]
    )
    dispatch.message("a link", Inv(()))
    assert called == [("first", "a link", Inv(())), ("second", "a link", Inv(()))]


def test_only_one_part_may_say_whether_a_message_was_requested(handled):
    one = on_message(Ping, print, expects=lambda _link, _message: True)
    others = [Handler(kind, print) for kind in handled]
    dispatch = Dispatch([one, *others])
    assert dispatch.expects("a link", Ping(1))
    assert not dispatch.expects("a link", Inv(()))
    with pytest.raises(AssertionError, match="two parts expect Ping"):
        Dispatch([one, one, *others])


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        (Headers, ["HeaderSync"]),
        (GetData, ["Serving", "CompactRelay", "TxRelay"]),
        (NotFound, ["BlockDownload", "TxDownload"]),
        (TxMessage, ["TxDownload"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_message_goes_to_these_parts_in_this_order(kind, parts, gossip):
    found = [type(p).__name__ for p in gossip._parts for h in p.handlers() if h.kind is kind]
    assert found == parts
