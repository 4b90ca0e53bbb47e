"""The pipeline's table of states: every transition is taken, and no other is possible."""

import os
from collections.abc import Iterator
from contextlib import closing

import pytest

from chain.consensus.params import REGTEST
from chain.ledger import chain_tip as chain_tip_module
from chain.ledger import pipeline as pipeline_module
from chain.ledger.errors import DatabaseFailedError
from chain.ledger.ledger import Ledger
from chain.ledger.pipeline import TRANSITIONS, Event, Pipeline, State
from tests.ledger.chains import NOW, bad_spend, mature_chain, memory_ledger, url_of

_TRUNK = 101
_RUN = 4  # empty blocks upon it

WITH_TRANSACTION = {State.VERIFYING, State.CHANGING}


@pytest.fixture(scope="module")
def chain():
    """The trunk, and a few blocks on top."""
    builder = mature_chain(_TRUNK)
    builder.grow(_RUN)
    return builder


@pytest.fixture(scope="module")
def wrong(chain):
    """A block on the trunk with a wrong signature, and two on top."""
    fork = chain.fork(_RUN)
    return [fork.add([bad_spend(fork)], fees=0, extra=b"bad"), *fork.grow(2, extra=b"later")]


@pytest.fixture
def visited(monkeypatch):
    """The transitions that any ledger made."""
    seen = set()
    go = Pipeline._on

    def note(pipeline, event):
        seen.add((pipeline.state, event))
        go(pipeline, event)
        assert pipeline.state is State.CLOSED or (
            pipeline._writer.is_busy == (pipeline.state is State.WRITING)
        )

    monkeypatch.setattr(Pipeline, "_on", note)
    return seen


def opened(folder, blocks):
    """A ledger on disk with `blocks`."""
    folder.mkdir()
    ledger = Ledger(url_of(folder), REGTEST, verify_threads=2)
    for verdict in ledger.add_blocks(blocks, NOW):
        verdict.result()
    return ledger


def until(ledger, state, blocks) -> Iterator[object]:
    """Add blocks until the pipeline is in `state`; then close the ledger."""
    for block in blocks:
        if ledger._pipeline.state is state:
            ledger.close()
        yield block
    raise AssertionError(f"{state} was never seen")


def closing_runs(chain):
    """Blocks that lead to each state, and how many rows make a batch then."""
    trunk, first, second, third = chain.blocks[:_TRUNK], *chain.blocks[_TRUNK : _TRUNK + 3]
    side = chain.fork(_RUN).add(extra=b"side")
    return {
        State.READY: (trunk, [first], 10**6),
        State.CONNECTING: (trunk, [first, second], 10**6),
        State.WRITING: (trunk, [first, second], 1),
        State.CHANGING: ([*trunk, first], [side, second], 10**6),
        State.VERIFYING: ([*trunk, first], [side, second, third], 10**6),
    }


@pytest.mark.skipif(
    "GROAT_COMPILED_BLOCKS" in os.environ, reason="runs are read before they are connected"
)
def test_every_way_in_the_table_is_gone_and_no_other(tmp_path, monkeypatch, chain, wrong, visited):
    trunk, later = chain.blocks[:_TRUNK], chain.blocks[_TRUNK:]
    side = chain.fork(_RUN).add(extra=b"side")
    monkeypatch.setattr(chain_tip_module, "BATCH_ROWS_MAX", 1)
    with closing(opened(tmp_path / "written", trunk)) as ledger:
        errors = [v.error is None for v in ledger.add_blocks([*wrong, *later], NOW)]
        assert errors == [False] * 3 + [True] * _RUN
    monkeypatch.setattr(chain_tip_module, "BATCH_ROWS_MAX", 10**6)
    with closing(opened(tmp_path / "changed", [*trunk, later[0]])) as ledger:
        assert all(v.error is None for v in ledger.add_blocks([side, *later[1:]], NOW))
    for number, (state, (before, blocks, rows)) in enumerate(closing_runs(chain).items()):
        monkeypatch.setattr(chain_tip_module, "BATCH_ROWS_MAX", 10**6)
        ledger = opened(tmp_path / str(number), before)
        monkeypatch.setattr(chain_tip_module, "BATCH_ROWS_MAX", rows)
        with pytest.raises(DatabaseFailedError, match="is closed"):
            list(ledger.add_blocks(until(ledger, state, blocks), NOW))
        ledger.close()  # a second time
        assert not ledger.is_usable
    assert visited == set(TRANSITIONS)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_what_is_not_in_the_table_cannot_happen(ledger, state, event):
    pipeline = ledger._pipeline
    pipeline.state = state
    if (state, event) in TRANSITIONS:
        pipeline._on(event)
        assert pipeline.state is TRANSITIONS[state, event]
    else:
        with pytest.raises(AssertionError, match=f"{event.name} in {state.name}"):
            pipeline._on(event)
        assert pipeline.state is state


def test_what_must_never_happen_is_no_row():
    def sources(event):
        return {before for before, what in TRANSITIONS if what is event}

    assert sources(Event.COMMIT) == {State.CHANGING}, "no commit while a signature is under way"
    assert State.WRITING not in sources(Event.BEGIN), "one thread at a time has the connection"
    assert sources(Event.HAND_OVER) == {State.CONNECTING}
    assert sources(Event.END) == {State.READY}, "a call ends with everything committed"
    assert {after for (before, _), after in TRANSITIONS.items() if before is State.CLOSED} == {
        State.CLOSED
    }
    for (before, event), after in TRANSITIONS.items():
        if (before in WITH_TRANSACTION) and (after not in WITH_TRANSACTION):
            assert event in {Event.COMMIT, Event.CLOSE}, "a transaction ends in a commit"


def test_one_call_after_the_other(chain):
    with closing(memory_ledger()) as ledger:
        verdicts = ledger.add_blocks(chain.blocks[:3], NOW, pipelined=False)
        next(verdicts)
        for other in (
            lambda: ledger.add_block(chain.blocks[1], NOW),
            lambda: ledger.invalidate(ledger.tip),
            lambda: ledger.mark_precious(ledger.tip),
        ):
            with pytest.raises(AssertionError, match="START in"):
                other()
        assert [verdict.error for verdict in verdicts] == [None, None]
        assert ledger.tip.id == chain.blocks[2].id


def test_headers_may_come_between_verdicts_but_not_while_blocks_are_unverified(chain, monkeypatch):
    monkeypatch.setattr(pipeline_module, "UNVERIFIED_BLOCKS_MAX", 4)
    blocks, headers = chain.blocks[:3], [block.header for block in chain.blocks]
    with closing(memory_ledger()) as ledger:
        verdicts = ledger.add_blocks(blocks, NOW, pipelined=False)
        assert ledger.tree.get(next(verdicts).block.id) == ledger.tip
        assert ledger.add_headers(headers, NOW).added == len(headers) - 1
        assert [verdict.error for verdict in verdicts] == [None, None]
        assert ledger.tip.id == blocks[-1].id
    with closing(memory_ledger()) as ledger:
        verdicts = ledger.add_blocks(chain.blocks, NOW)
        next(verdicts)
        with pytest.raises(AssertionError, match="while signatures are pending"):
            ledger.add_headers(headers, NOW)
        assert [verdict.error for verdict in verdicts] == [None] * (len(chain.blocks) - 1)


def test_reads_are_answered_between_verdicts(tmp_path, monkeypatch, chain):
    monkeypatch.setattr(chain_tip_module, "BATCH_ROWS_MAX", 1)
    with closing(Ledger(url_of(tmp_path), REGTEST, verify_threads=1)) as ledger:
        for verdict in ledger.add_blocks(chain.blocks, NOW):
            assert ledger.blocks([verdict.block.id], 0)[0] == verdict.block.raw
            assert ledger.get(bytes(36)) is None
