"""Block files: reading, writing, import in any order, and verdicts block by block."""

import io
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.consensus.genesis import genesis_block
from chain.consensus.params import DEVNET, REGTEST
from chain.ledger.ledger import Ledger
from chain.ledger.offline import importing as importing_module
from chain.ledger.offline.blockfile import FRAME_BYTES_MAX, BlockFileError, read_frames, write_frame
from chain.ledger.offline.exporting import export_blocks
from chain.ledger.offline.importing import MALFORMED, import_blocks, import_verdicts
from chain.ledger.reader import open_reader
from chain.primitives.block import Block
from tests.ledger.chains import (
    NOW,
    bad_spend,
    feed,
    grow_busy,
    mature_chain,
    memory_ledger,
    tables,
    url_of,
)


def clock():
    return NOW


def framed(raws):
    stream = io.BytesIO()
    for raw in raws:
        write_frame(stream, raw, REGTEST)
    stream.seek(0)
    return stream


def file_of(blocks):
    return framed(block.raw for block in blocks)


@given(st.lists(st.binary(max_size=300)), st.integers(0, 9))
def test_frames_come_back_as_they_were_written(raws, zeros):
    data = framed(raws).getvalue() + bytes(zeros)
    assert list(read_frames(io.BytesIO(data), REGTEST)) == raws


@given(st.binary(max_size=40))
def test_any_bytes_are_frames_or_a_block_file_error(data):
    try:
        frames = list(read_frames(io.BytesIO(data), REGTEST))
    except BlockFileError:
        return
    assert framed(frames).getvalue() in data.replace(b"\0" * len(data), b"") or not frames


def test_a_stream_is_read_no_further_than_asked():
    stream = framed([b"one", b"two"])
    frames = read_frames(stream, REGTEST)
    assert next(frames) == b"one"
    assert stream.tell() == 11


class _ByteByByte(io.RawIOBase):
    """Returns one byte per read, as pipes may."""

    def __init__(self, data):
        self.data = io.BytesIO(data)

    def read(self, size=-1):
        return self.data.read(min(size, 1))


def test_a_pipe_that_gives_little_at_a_time_is_read_whole():
    data = framed([b"one", b"three"]).getvalue()
    assert list(read_frames(_ByteByByte(data), REGTEST)) == [b"one", b"three"]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (DEVNET.magic + b"\x01\0\0\0x", "byte 0: d4e9b6c7 is not the magic of network 'regtest'"),
        (b"\0\0" + REGTEST.magic[:2], "byte 2: the last block is truncated by 2 bytes"),
        (REGTEST.magic + b"\x05\0", "truncated by 2 bytes"),
        (REGTEST.magic + b"\x05\0\0\0abcd", "truncated by 1 byte"),
        (REGTEST.magic + b"\x05\0\0\0abc", "truncated by 2 bytes"),
        (REGTEST.magic + (FRAME_BYTES_MAX + 1).to_bytes(4, "little"), "is too long"),
    ],
)
def test_a_broken_file_says_where(data, told):
    with pytest.raises(BlockFileError, match=told):
        list(read_frames(io.BytesIO(data), REGTEST))


def test_export_and_import_give_the_same_ledger(tmp_path, ledger):
    chain = mature_chain(101)
    stale = chain.fork(0)
    grow_busy(chain, 5, seed=1)
    stale.grow(2, extra=b"stale")
    one = Ledger(url_of(tmp_path), REGTEST, verify_threads=1)
    feed(one, [*chain.blocks, *stale.blocks])
    reader = open_reader(url_of(tmp_path))
    stream = io.BytesIO()
    exported = export_blocks(reader, REGTEST, stream)
    assert (exported.blocks, exported.height, exported.tip) == (106, 106, chain.tip.id)
    assert stream.getvalue() == file_of(chain.blocks).getvalue()
    assert exported.size == len(stream.getvalue())
    stream.seek(0)
    seen = []
    result = import_blocks(ledger, stream, clock, seen.append)
    assert (result.blocks, result.height, result.tip) == (106, 106, chain.tip.id)
    assert result.transactions == sum(len(block.transactions) for block in chain.blocks)
    assert (result.refused, result.first_refusal, result.orphaned) == (0, None, 0)
    assert result.transactions_per_second > 0
    assert [now.blocks for now in seen] == list(range(1, 107))
    assert tables(ledger) == tables(one)
    reader.close()
    one.close()


def test_an_export_in_many_snapshots_is_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("chain.ledger.offline.exporting._SNAPSHOT_BYTES", 1_000)
    chain = mature_chain(30)
    ledger = Ledger(url_of(tmp_path), REGTEST, verify_threads=1)
    feed(ledger, chain.blocks)
    reader = open_reader(url_of(tmp_path))
    stream, heights = io.BytesIO(), []
    other = chain.fork(10)
    other.grow(11, extra=b"other")

    def reorganise_once(height):
        if not heights and height > 0:
            feed(ledger, other.blocks)
        heights.append(height)

    exported = export_blocks(reader, REGTEST, stream, reorganise_once)
    assert len(heights) > 3
    assert (exported.tip, exported.height) == (other.tip.id, 31)
    stream.seek(0)
    copy = memory_ledger()
    assert import_blocks(copy, stream, clock).tip == other.tip.id
    copy.close()
    reader.close()
    ledger.close()


@pytest.mark.parametrize("seed", range(4))
def test_blocks_that_come_before_their_parents_wait(ledger, seed):
    chain = mature_chain(60)
    shuffled = [genesis_block(REGTEST), *chain.blocks]
    random.Random(seed).shuffle(shuffled)
    result = import_blocks(ledger, file_of(shuffled), clock)
    assert (result.blocks, result.tip, result.orphaned) == (60, chain.tip.id, 0)


def test_blocks_whose_parent_never_comes_are_counted(ledger):
    chain = mature_chain(10)
    result = import_blocks(ledger, file_of([*chain.blocks[:4], *chain.blocks[5:]]), clock)
    assert (result.height, result.orphaned) == (4, 5)


def test_waiting_blocks_are_bounded_and_what_came_before_is_kept(ledger, monkeypatch):
    monkeypatch.setattr(importing_module, "ORPHAN_BYTES_MAX", 1_000)
    chain = mature_chain(20)
    with pytest.raises(BlockFileError, match="of blocks without parents"):
        import_blocks(ledger, file_of([*chain.blocks[:4], *chain.blocks[5:]]), clock)
    assert ledger.tip.height == 4
    feed(ledger, chain.blocks)
    assert ledger.tip.id == chain.tip.id


def test_an_import_leaves_out_what_breaks_a_rule(ledger):
    chain = mature_chain(101)
    fork = chain.fork(0)
    bad = fork.add([bad_spend(fork)], fees=0)
    after = fork.add()
    good = chain.add()
    raws = [*(block.raw for block in chain.blocks[:-1]), bad.raw, after.raw, b"x", bytes(100)]
    result = import_blocks(ledger, framed([*raws, good.raw, good.raw]), clock)
    assert (result.blocks, result.tip, result.refused) == (102, good.id, 3)
    assert result.orphaned == 1, "the zeros are a header whose parent is unknown"
    assert result.first_refusal.startswith(bad.id[::-1].hex() + ": block-script-verify-flag-failed")


@pytest.mark.parametrize("wrong_times", [1, 2])
def test_a_block_is_its_childs_parent_though_its_header_came_before_with_a_wrong_body(
    ledger, wrong_times
):
    chain = mature_chain(6)
    block = chain.blocks[3]
    wrong = Block(block.header, [*block.transactions, *block.transactions])
    file = [*chain.blocks[:3], *[wrong] * wrong_times, *chain.blocks[3:]]
    result = import_blocks(ledger, file_of(file), clock)
    assert (result.blocks, result.refused, result.orphaned) == (6, wrong_times, 0)


def test_verdicts_are_one_a_block_and_go_on_after_a_refusal(ledger):
    chain = mature_chain(101)
    fork = chain.fork(0)
    main = chain.add()
    bad = fork.add([bad_spend(fork)], fees=0)
    child = fork.add()
    grandchild = fork.add()
    file = framed(
        [
            genesis_block(REGTEST).raw,
            *(block.raw for block in chain.blocks),
            grandchild.raw,
            b"no block",
            bad.raw,
            child.raw,
            child.raw,
            bad.raw,
            grandchild.raw,
            main.raw,
        ]
    )
    verdicts = list(import_verdicts(ledger, file, clock))
    assert [(v.accepted, v.height) for v in verdicts[:103]] == [(True, n) for n in range(103)]
    assert [verdict.reason for verdict in verdicts[103:]] == [
        "prev-blk-not-found",
        MALFORMED,
        None,  # a side branch with no more work is only stored
        "bad-prevblk",  # its parent fails in the reorganisation that it sets off
        "duplicate-invalid",
        "duplicate-invalid",
        "bad-prevblk",
        None,
    ]
    assert {(verdict.height, verdict.tip) for verdict in verdicts[103:]} == {(102, main.id)}
