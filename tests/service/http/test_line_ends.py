"""Heads whose lines end in a bare LF (RFC 9112, 2.2): read on the API, refused elsewhere."""

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.service.api_process import API_LIMITS
from chain.service.http.line_ends import LineEnds
from tests.service.http.test_guard import GET, LIMITS, PATIENCE_S, run, talk

BODY = b'{"a":\n1}\n\r\n\n'  # a body is nobody's business here
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na\nb\r\n0\r\n\r\n"
LAST = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
API = replace(LIMITS, takes_bare_lf=True, head_s=5.0, body_s=5.0, idle_s=5.0)
HURRIED = replace(LIMITS, takes_bare_lf=True)
PEERS = replace(LIMITS, takes_bare_lf=False)


def bare(request: bytes) -> bytes:
    """Return the request with bare LFs in its head."""
    head, end, body = request.partition(b"\r\n\r\n")
    return (head + end).replace(b"\r\n", b"\n") + body


def bodies(answer: bytes) -> list[bytes]:
    """Return the status and the body of each answer, all of which have one of one line."""
    statuses = [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]]
    lengths = [part.split(b"\r\n\r\n")[1] for part in answer.split(b"HTTP/1.1 ")[1:]]
    return [b" ".join(pair) for pair in zip(statuses, lengths, strict=True)]


async def converse(port: int, *turns: tuple[bytes, bytes]) -> None:
    """Send each part once the part before was answered with 200 and its body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(PATIENCE_S):
            for part, body in turns:
                writer.write(part)
                answer = await reader.readuntil(b"\r\n\r\n")
                assert answer.startswith(b"HTTP/1.1 200 "), part
                assert await reader.readexactly(len(body)) == body
    finally:
        writer.close()
        await writer.wait_closed()


LINE = st.binary(min_size=1, max_size=9).map(lambda line: line.translate(None, b"\r\n") or b"x")
ENDS = st.sampled_from([b"\n", b"\r\n"])


@given(
    st.lists(st.tuples(LINE, ENDS), min_size=1, max_size=5),
    ENDS,
    st.binary(max_size=9),
    st.lists(st.integers(0, 80)),
    st.sampled_from([b"", b"\n", b"\r\n\r\n"]),
)
def test_any_head_in_any_pieces_comes_out_with_crlf_and_what_is_behind_it_as_it_was(
    lines, last, behind, cuts, before
):
    head = b"".join(line + end for line, end in lines) + last
    sent, wanted = before + head + behind, b"".join(line + b"\r\n" for line, _ in lines) + b"\r\n"
    ends, given_, rest = LineEnds(), b"", b""
    pieces = sorted({0, *(cut for cut in cuts if cut < len(sent)), len(sent)})
    for start, end in pairwise(pieces):
        if len(given_) == len(wanted):
            rest += sent[start:end]
            continue
        part, left = ends.take(sent[start:end])
        given_, rest = given_ + part, rest + left
    assert (given_, rest) == (wanted, behind)
    assert ends.has_bare_lf == (b"\n" in (last, *(end for _, end in lines)))


def test_one_head_says_nothing_about_the_next():
    ends = LineEnds()
    assert ends.take(b"a\n\nb\r\n\r\n") == (b"a\r\n\r\n", b"b\r\n\r\n")
    assert ends.has_bare_lf
    assert ends.take(b"b\r\n\r\n") == (b"b\r\n\r\n", b"")
    assert not ends.has_bare_lf


@pytest.mark.net
def test_heads_with_bare_lf_are_read_on_the_api():
    """Alone, one after the other in one read, mixed with others, and byte by byte."""
    ours = [b"200 %d" % len(BODY), b"200 0"]

    async def scenario(listener):
        for first in (POST, bare(POST)):
            for second in (LAST, bare(LAST), LAST.replace(b"1.1\r\n", b"1.1\n")):
                for parts in ([first, second], [first + second], [b"\n\r\n" + first + second]):
                    answer, _ = await talk(listener.port, *parts)
                    assert bodies(answer) == ours, parts
        whole = bare(POST) + bare(LAST)
        answers = await asyncio.gather(
            *(talk(listener.port, whole[:at], whole[at:], every_s=0.01) for at in range(len(whole)))
        )
        assert all(bodies(answer) == ours for answer, _ in answers)

    limits = replace(API, connections_max=200, connections_per_ip_max=200)
    run(scenario, limits)


@pytest.mark.net
def test_heads_with_bare_lf_are_refused_between_peers():
    async def scenario(listener):
        for request in (
            bare(GET),
            bare(POST),
            b"GET / HTTP/1.1\r\nHost: x\n\r\n",
        ):
            answer, _ = await talk(listener.port, request)
            assert answer.startswith(b"HTTP/1.1 400 "), request

    run(scenario, PEERS)


REFUSED = {
    "LF in the head, chunks with CRLF": bare(CHUNKED),
    "one LF in the head": CHUNKED.replace(b"Host: x\r\n", b"Host: x\n"),
    "LF behind a chunk's size": CHUNKED.replace(b"3\r\n", b"3\n"),
    "LF behind a chunk": CHUNKED.replace(b"b\r\n", b"b\n"),
    "LF behind the last chunk": CHUNKED.replace(b"0\r\n\r\n", b"0\n\n"),
    "CR alone": GET.replace(b"\r\n", b"\r"),
    "CR alone behind the request line": GET.replace(b"1.1\r\n", b"1.1\r"),
    "CR alone at the end": GET.replace(b"\r\n\r\n", b"\r\n\rx"),
    "CR in a value": GET.replace(b"Host: x", b"Host: x\ry"),
    "two lengths": bare(POST).replace(b"Host: x", b"Content-Length: 1"),
    "length and chunks": CHUNKED.replace(b"Host: x", b"Content-Length: 1"),
}


@pytest.mark.net
def test_what_two_readers_could_read_in_two_ways_stays_refused():
    async def scenario(listener):
        for name, request in REFUSED.items():
            answer, _ = await talk(listener.port, request)
            assert bodies(answer)[-1].startswith(b"400"), name
            assert b"200" not in answer.replace(b"200 3", b""), name

    run(scenario, API)


@pytest.mark.net
def test_requests_behind_a_chunked_one_are_read_as_they_are():
    async def scenario(listener):
        for parts in (
            [CHUNKED + GET, CHUNKED + LAST],
            [CHUNKED + GET[:-2], GET[-2:] + CHUNKED, LAST],
            [CHUNKED + GET[:20], GET[20:], CHUNKED, LAST],
            [CHUNKED[:-1], CHUNKED[-1:] + GET, CHUNKED, LAST],
        ):
            answer, _ = await talk(listener.port, *parts, every_s=0.02)
            assert bodies(answer) == [b"200 3", b"200 0", b"200 3", b"200 0"], parts
        await converse(
            listener.port,
            (CHUNKED + GET[:20], b"3"),
            (GET[20:], b"0"),
            (bare(POST), b"12"),
        )
        answer, _ = await talk(listener.port, CHUNKED + bare(GET))
        assert bodies(answer)[-1].startswith(b"400"), "in one read, and not worth more code"

    run(scenario, API)


@pytest.mark.net
def test_limits_of_a_head_hold_for_bare_lf_too():
    async def scenario(listener):
        padding = b"X-Pad: " + b"x" * API.head_bytes_max + b"\n"
        for sent in (bare(GET)[:-1] + padding + b"\n", b"\n" * (API.head_bytes_max + 1)):
            answer, _ = await talk(listener.port, sent)
            assert answer.startswith(b"HTTP/1.1 431 ")
        answer, _ = await talk(listener.port, *[b"\n"] * 40, every_s=0.02)
        assert answer.startswith(b"HTTP/1.1 408 ")

    run(scenario, HURRIED)


def test_the_api_takes_bare_lf():
    assert API_LIMITS.takes_bare_lf
