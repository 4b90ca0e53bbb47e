"""setban, listbanned and clearbanned, with Core's fields, numbers and words."""

import pytest

from chain.gossip import bans as limits
from chain.service.api.rpc.net.bans import BAN_S
from tests.api.harness import NOW, RecordingPeers

ALREADY = {"code": -23, "message": "Error: IP/Subnet already banned"}
INVALID = {"code": -30, "message": "Error: Invalid IP/Subnet"}
PAST = {"code": -8, "message": "Error: Absolute timestamp is in the past"}
NEVER = {
    "code": -30,
    "message": "Error: Unban failed. Requested address/subnet was not previously manually banned.",
}
LAST = (1 << 63) - 1


def until(banned):
    return {ban["address"]: ban["banned_until"] for ban in banned}


def test_a_ban_is_set_listed_and_lifted(on_node):
    changes = []

    class Peers(RecordingPeers):
        def bans_changed(self):
            changes.append(True)

    async def scenario(node):
        assert await node.rpc("listbanned") == []
        assert await node.rpc("setban", "192.0.2.7", "add") is None
        assert await node.rpc("setban", "192.0.2.7/24", "add", 60) is None
        assert await node.rpc("listbanned") == [
            {
                "address": "192.0.2.0/24",
                "ban_created": NOW,
                "banned_until": NOW + 60,
                "ban_duration": 60,
                "time_remaining": 60,
            },
            {
                "address": "192.0.2.7/32",
                "ban_created": NOW,
                "banned_until": NOW + BAN_S,
                "ban_duration": BAN_S,
                "time_remaining": BAN_S,
            },
        ]
        assert len(changes) == 2
        assert await node.rpc("setban", "192.0.2.9/255.255.255.0", "remove") is None
        assert list(until(await node.rpc("listbanned"))) == ["192.0.2.7/32"]
        assert await node.rpc("clearbanned") is None
        assert await node.rpc("listbanned") == []
        assert len(changes) == 4

    on_node(scenario, peers=Peers())


def test_times_of_a_ban(on_node):
    async def scenario(node):
        for number, (arguments, ends) in enumerate(
            (
                ([], NOW + BAN_S),
                ([0], NOW + BAN_S),
                ([-5], NOW + BAN_S),
                ([None, False], NOW + BAN_S),
                ([1], NOW + 1),
                ([NOW + 1, True], NOW + 1),
                ([LAST], LAST),
                ([LAST, True], LAST),
            )
        ):
            assert await node.rpc("setban", f"192.0.2.{number}", "add", *arguments) is None
            assert until(await node.rpc("listbanned"))[f"192.0.2.{number}/32"] == ends
        for time in (NOW - 1, 0, -1, -LAST):
            assert await node.rpc_error("setban", "192.0.3.1", "add", time, True) == PAST
        for time in (LAST + 1, -LAST - 2):
            error = {"code": -1, "message": "JSON integer out of range"}
            assert await node.rpc_error("setban", "192.0.3.1", "add", time) == error
        assert await node.rpc("setban", "192.0.3.1", "add", NOW, True) is None, (
            "and is over at once"
        )
        assert "192.0.3.1/32" not in until(await node.rpc("listbanned"))

    on_node(scenario)


def test_what_is_banned_already(on_node):
    async def scenario(node):
        await node.rpc("setban", "10.0.0.0/8", "add")
        for covered in (
            "10.0.0.0/8",
            "10.9.9.9/8",
            "10.0.0.0",
            "10.255.255.255",
            "::ffff:10.1.1.1",
        ):
            assert await node.rpc_error("setban", covered, "add") == ALREADY, covered
        assert await node.rpc_error("setban", "10.0.0.1", "add", 1, True) == ALREADY, "before times"
        for other in ("10.0.0.0/9", "10.0.0.1/32", "0.0.0.0/0", "11.0.0.0/9", "::/0"):
            assert await node.rpc("setban", other, "add") is None, other
        assert await node.rpc_error("setban", "8.8.8.8", "add") == ALREADY

    on_node(scenario)


def test_what_was_never_banned_and_what_cannot_be(on_node):
    async def scenario(node):
        await node.rpc("setban", "127.0.0.0/24", "add")
        for other in ("127.0.0.1", "127.0.0.0/25", "::1"):
            assert await node.rpc_error("setban", other, "remove") == NEVER
        for text in ("127.0.0.1/42", "", "/", "localhost", "[::1]:1", "::1/129", "9" * 5000):
            for command in ("add", "remove"):
                assert await node.rpc_error("setban", text, command) == INVALID, text
        for command in ("", "ADD", "onetry"):
            error = await node.rpc_error("setban", "127.0.0.1", command)
            assert error["code"] == -1
            assert error["message"].startswith("setban subnet command [bantime] [absolute]\n")

    on_node(scenario)


def test_a_ban_that_is_over_may_be_set_again(on_node):
    now = [NOW]

    async def scenario(node):
        await node.rpc("setban", "127.0.0.1", "add", 10)
        now[0] = NOW + 9
        assert await node.rpc_error("setban", "127.0.0.1", "add") == ALREADY
        now[0] = NOW + 10
        assert await node.rpc_error("setban", "127.0.0.1", "remove") == NEVER
        assert await node.rpc("setban", "127.0.0.1", "add") is None
        (ban,) = await node.rpc("listbanned")
        assert (ban["ban_created"], ban["ban_duration"]) == (NOW + 10, BAN_S)

    on_node(scenario, clock=lambda: now[0])


def test_bans_have_a_number_that_they_do_not_exceed(on_node, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "BANS_MAX", 2)

    async def scenario(node):
        for host in ("192.0.2.1", "192.0.2.2"):
            await node.rpc("setban", host, "add")
        error = await node.rpc_error("setban", "192.0.2.3", "add")
        assert error == {"code": -1, "message": "at most 10000 bans at a time"}
        await node.rpc("setban", "192.0.2.1", "remove")
        assert await node.rpc("setban", "192.0.2.3", "add") is None

    on_node(scenario)
