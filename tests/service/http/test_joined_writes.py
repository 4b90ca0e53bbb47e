"""A reply's head and body leave together, and no more is kept than a small reply."""

import asyncio

import pytest

from chain.service.http.joined_writes import JOINED_BYTES_MAX, JoinedWrites


class Memory(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self):
        super().__init__()
        self.sent = []
        self.closed = False

    def write(self, data):
        self.sent.append(data)

    def get_write_buffer_size(self):
        return 0

    def is_closing(self):
        return self.closed

    def close(self):
        self.closed = True


def joined(scenario):
    async def run():
        under = Memory()
        await scenario(under, JoinedWrites(under, asyncio.get_running_loop()))

    asyncio.run(run())


def test_what_is_written_in_one_turn_leaves_in_one_piece_and_in_its_order():
    async def scenario(under, transport):
        transport.write(b"head ")
        transport.write(b"body")
        assert (under.sent, transport.get_write_buffer_size()) == ([], 9)
        await asyncio.sleep(0)
        assert (under.sent, transport.get_write_buffer_size()) == ([b"head body"], 0)
        transport.write(b"next")
        transport.flush()
        await asyncio.sleep(0)
        assert under.sent == [b"head body", b"next"]

    joined(scenario)


def test_more_than_a_small_reply_is_never_kept():
    async def scenario(under, transport):
        transport.write(b"head")
        transport.write(bytes(JOINED_BYTES_MAX))
        assert list(map(len, under.sent)) == [4 + JOINED_BYTES_MAX]
        transport.write(b"\1" * (JOINED_BYTES_MAX + 1))
        assert len(under.sent) == 2

    joined(scenario)


@pytest.mark.parametrize("is_lost", [False, True])
def test_the_last_words_are_sent_before_the_end_unless_the_connection_is_lost(is_lost):
    async def scenario(under, transport):
        transport.write(b"refused")
        under.closed = is_lost
        transport.close()
        await asyncio.sleep(0)
        assert (under.sent, transport.is_closing()) == ([] if is_lost else [b"refused"], True)

    joined(scenario)
