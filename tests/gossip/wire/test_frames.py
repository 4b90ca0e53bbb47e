"""Messages and frames: encoding round-trips, and invalid bytes raise DecodeError only."""

import re
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.gossip.wire.address import Address, encode_address, read_address
from chain.gossip.wire.compact import (
    BlockTransactions,
    CompactBlock,
    GetBlockTransactions,
    SendCompact,
)
from chain.gossip.wire.extension import Extension
from chain.gossip.wire.frames import (
    FRAME_HEADER_BYTES,
    FrameDecoder,
    classes_by_type,
    decode_frames,
    encode_frame,
    frame_name,
)
from chain.gossip.wire.hello import Hello, HelloReply, decode_hello, decode_reply
from chain.gossip.wire.messages import (
    ADDRESSES_MAX,
    HEADERS_MAX,
    INVENTORY_MAX,
    WTX,
    Addresses,
    AddressRecord,
    BlockMessage,
    Bye,
    FeeFilter,
    GetAddresses,
    GetData,
    GetHeaders,
    Headers,
    Inv,
    Inventory,
    Message,
    NotFound,
    Ping,
    Pong,
    TxMessage,
    is_bulk,
    is_request,
)
from chain.primitives.block import Header
from chain.primitives.encoding import DecodeError, compact_size
from chain.primitives.numbers import Hash32
from tests.builders import ChainBuilder
from tests.primitives.strategies import transactions

hashes = st.binary(min_size=32, max_size=32).map(Hash32)
uint32 = st.integers(0, (1 << 32) - 1)
uint64 = st.integers(0, (1 << 64) - 1)
addresses = st.builds(
    Address,
    st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16)),
    st.integers(0, 65535),
)
items = st.lists(st.builds(Inventory, uint32, hashes), max_size=5).map(tuple)
headers = st.builds(
    Header, st.integers(-(1 << 31), (1 << 31) - 1), hashes, hashes, uint32, uint32, uint32
)
hellos = st.builds(
    Hello,
    magic=st.binary(min_size=4, max_size=4),
    version=st.integers(0, 65535),
    version_min=st.integers(0, 65535),
    identity=hashes,
    services=uint64,
    nonce=uint64,
    unix_s=st.integers(-(1 << 63), (1 << 63) - 1),
    height=uint32,
    flags=st.integers(0, 65535),
    agent=st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=64),
    listen=st.none() | addresses,
)
positions = st.sets(st.integers(0, 300), max_size=8).map(sorted).map(tuple)


@st.composite
def compacts(draw):
    """Return any compact block: some short ids, and whole transactions between them."""
    short_ids = draw(st.lists(st.integers(0, (1 << 48) - 1), max_size=5))
    whole = draw(st.lists(transactions, min_size=0 if short_ids else 1, max_size=3))
    count = len(short_ids) + len(whole)
    at = sorted(draw(st.permutations(range(count)))[: len(whole)])
    prefilled = tuple(zip(at, whole, strict=True))
    return CompactBlock(draw(headers), draw(uint64), tuple(short_ids), prefilled)


records = st.builds(AddressRecord, addresses, uint32, st.integers(0, 1 << 20))
BY_KIND = {
    BlockMessage: st.binary(min_size=81, max_size=200).map(BlockMessage),
    SendCompact: st.builds(SendCompact, st.booleans(), uint64),
    CompactBlock: compacts(),
    GetBlockTransactions: st.builds(GetBlockTransactions, hashes, positions),
    BlockTransactions: st.builds(
        BlockTransactions, hashes, st.lists(transactions, max_size=3).map(tuple)
    ),
    FeeFilter: st.builds(FeeFilter, uint64),
    GetData: st.builds(GetData, items),
    GetHeaders: st.builds(GetHeaders, st.lists(hashes, max_size=101).map(tuple), hashes),
    Headers: st.builds(Headers, st.lists(headers, max_size=4).map(tuple)),
    Inv: st.builds(Inv, items),
    NotFound: st.builds(NotFound, items),
    Ping: st.builds(Ping, uint64),
    Pong: st.builds(Pong, uint64),
    TxMessage: st.builds(TxMessage, transactions),
    Addresses: st.builds(Addresses, st.lists(records, max_size=4).map(tuple)),
    Bye: st.builds(Bye, st.integers(0, 65535), st.integers(0, 86_400)),
    GetAddresses: st.builds(GetAddresses),
}
messages = st.one_of(*BY_KIND.values())
KINDS = set(get_args(Message)) - {Extension}
PROTOCOL_PAGE = Path(__file__).resolve().parents[3] / "docs" / "protocol.md"


@pytest.mark.parametrize("kind", sorted(KINDS, key=lambda kind: kind.type))
def test_every_kind_of_message_is_tried_here(kind):
    assert kind in BY_KIND, f"{kind.__name__} has no strategy in BY_KIND"


@pytest.mark.parametrize("missing", ["type", "name", "bytes_max", "encode", "decode"])
def test_what_a_class_of_messages_lacks_is_named(missing):
    had = {name: getattr(Ping, name) for name in ("type", "name", "bytes_max", "encode", "decode")}
    del had[missing]
    with pytest.raises(AssertionError, match=f"^GetWeather has no {missing}$"):
        classes_by_type([Pong, type("GetWeather", (), had)])


def test_two_classes_of_messages_with_one_type_are_named():
    with pytest.raises(AssertionError, match=r"^GetWeather has the type of Pong: 19$"):
        classes_by_type([Ping, Pong, type("GetWeather", (Pong,), {})])


@pytest.mark.parametrize("kind", sorted(KINDS, key=lambda kind: kind.type))
def test_every_kind_of_message_has_a_frame_of_its_own(kind):
    with pytest.raises(
        DecodeError, match="at most"
    ):  # an unknown type would be skipped, or refused
        FrameDecoder().feed((kind.bytes_max + 1).to_bytes(4, "little") + bytes([kind.type]))
    assert frame_name(kind.type) == kind.name


@pytest.mark.parametrize("kind", sorted(KINDS, key=lambda kind: kind.type))
def test_every_kind_of_message_is_in_the_table_of_the_protocol(kind):
    rows = re.findall(r"(?m)^\| (\d.*) \|$", PROTOCOL_PAGE.read_text())
    cells = [cell.strip() for row in rows for cell in row.split("|")]
    pairs = pairwise(cells)
    named = {
        (number, name.partition(":")[0])
        for numbers, names in pairs
        for number, name in zip(numbers.split(", "), names.split(", "), strict=False)
    }
    row = (str(kind.type), kind.name)
    assert row in named, f"docs/protocol.md has no row for {' '.join(row)}"


@given(st.lists(messages, max_size=5), st.randoms(use_true_random=False))
def test_a_stream_cut_anywhere_gives_the_messages_back(sent, random):
    data = b"".join(map(encode_frame, sent))
    decoder, got, at = FrameDecoder(), [], 0
    while at < len(data):
        step = random.randint(1, 50)
        got += decoder.feed(data[at : at + step])
        at += step
    decoder.finish()
    assert got == sent


@given(messages, st.data())
def test_damaged_frames_give_a_message_or_a_decode_error(message, data):
    frame = bytearray(encode_frame(message))
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(frame)))
    try:
        decode_frames(bytes(frame[:cut]))
    except DecodeError:
        return


@given(st.binary(max_size=300))
def test_any_bytes_give_messages_or_a_decode_error(data):
    for decode in (decode_frames, decode_hello, decode_reply):
        try:
            decode(data)
        except DecodeError:
            continue


@given(hellos, st.none() | addresses, st.integers(0, 65535))
def test_a_hello_comes_back(hello, seen, interval_s):
    assert decode_hello(hello.encode()) == hello
    reply = HelloReply(hello, seen, interval_s)
    assert decode_reply(reply.encode()) == reply
    assert len(reply.encode()) <= 512


@pytest.mark.parametrize(
    ("type_number", "limit"),
    [
        (2, 4_000_000),
        (3, 4_000_000),
        (4, 262_144),
        (5, 8),
        (10, 50_033),
        (11, 36_003),
        (12, 3269),
        (13, 162_003),
        (14, 36_003),
        (17, 36_003),
        (18, 8),
        (19, 8),
        (20, 9),
        (21, 400_000),
        (28, 65_536),
        (128, 6),
        (129, 0),
        (200, Extension.bytes_max),
    ],
)
def test_a_length_over_the_cap_is_refused_before_its_payload(type_number, limit):
    decoder = FrameDecoder()
    assert decoder.feed(limit.to_bytes(4, "little") + bytes([type_number]))[:1] in (
        [],
        [GetAddresses()],
    )
    with pytest.raises(DecodeError, match="at most"):
        FrameDecoder().feed((limit + 1).to_bytes(4, "little") + bytes([type_number]))


@pytest.mark.parametrize("type_number", [0, 1, 6, 15, 22, 127])
def test_an_unknown_type_below_128_ends_the_stream(type_number):
    with pytest.raises(DecodeError, match="unknown"):
        FrameDecoder().feed(bytes(4) + bytes([type_number]))


def test_an_unknown_type_from_128_is_skipped_but_seen():
    frame = (3).to_bytes(4, "little") + bytes([200]) + b"new"
    assert decode_frames(frame + encode_frame(Ping(1))) == [Extension(200, 3), Ping(1)]


def test_a_body_must_end_with_a_frame():
    with pytest.raises(DecodeError, match="unfinished"):
        decode_frames(encode_frame(Ping(1))[:-1])


@pytest.mark.parametrize(
    ("message", "limit"),
    [
        (Inv((Inventory(WTX, Hash32(bytes(32))),)), INVENTORY_MAX),
        (GetData((Inventory(WTX, Hash32(bytes(32))),)), INVENTORY_MAX),
        (Headers((ChainBuilder().add().header,)), HEADERS_MAX),
        (GetHeaders((Hash32(bytes(32)),), Hash32(bytes(32))), 101),
    ],
)
def test_lists_have_a_bound(message, limit):
    field = next(name for name in ("items", "headers", "locator") if hasattr(message, name))
    whole = type(message)(**{field: getattr(message, field) * limit} | _rest(message))
    assert type(message).decode(whole.encode()) == whole
    longer = type(message)(**{field: getattr(message, field) * (limit + 1)} | _rest(message))
    with pytest.raises(DecodeError, match="at most"):
        type(message).decode(longer.encode())


def test_addresses_have_a_bound():
    record = AddressRecord(Address(bytes(4), 1), 0, 0)
    longer = Addresses((record,) * (ADDRESSES_MAX + 1))
    with pytest.raises(DecodeError, match="at most"):
        Addresses.decode(longer.encode())


def test_address_kinds_that_we_do_not_know_are_skipped():
    onion = (5).to_bytes(4, "little") + b"\x01" + bytes([4, 32]) + bytes(32) + b"\x20\x8d"
    record = AddressRecord(Address(b"\x01\x02\x03\x04", 8333), 7, 1)
    known = Addresses((record,)).encode()[1:]
    assert Addresses.decode(compact_size(2) + onion + known) == Addresses((record,))


def test_ipv4_inside_ipv6_is_ipv4():
    mapped = Address(bytes(10) + b"\xff\xff\x7f\x00\x00\x01", 80)
    assert mapped == Address(b"\x7f\x00\x00\x01", 80)
    assert str(mapped) == "127.0.0.1:80"
    assert read_address(encode_address(mapped), 0) == (mapped, 8)


def test_an_agent_is_short_and_printable():
    hello = decode_hello(_hello_bytes(b"x" * 64))
    assert hello.agent == "x" * 64
    for agent in (b"x" * 65, b"\x1b[31m", b"\xc3\xa9", b"a\n"):
        with pytest.raises(DecodeError, match="agent"):
            decode_hello(_hello_bytes(agent))


def test_what_a_dialler_asks_by_request_is_headers_and_blocks_only():
    block, tx = Inventory(0x40000002, Hash32(bytes(32))), Inventory(WTX, Hash32(bytes(32)))
    assert is_request(GetHeaders((), Hash32(bytes(32))))
    assert is_request(GetData((block,)))
    assert not is_request(GetData((block, tx)))
    assert not is_request(Ping(1))
    assert is_bulk(BlockMessage(bytes(81)))
    assert not is_bulk(GetData((tx,)))


def test_frames_are_as_written_down():
    assert encode_frame(Ping(0x0102)) == bytes.fromhex("08000000120201000000000000")
    assert FRAME_HEADER_BYTES == 5


def _rest(message: object) -> dict[str, object]:
    return {"stop": Hash32(bytes(32))} if isinstance(message, GetHeaders) else {}


def _hello_bytes(agent: bytes) -> bytes:
    head = bytes(4 + 2 + 2 + 32 + 8 + 8 + 8 + 4 + 2)
    return head + bytes([len(agent)]) + agent + b"\x00"
