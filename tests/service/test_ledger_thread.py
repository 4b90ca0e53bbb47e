"""One call after the other, on one thread."""

import asyncio
import threading
from contextlib import contextmanager

import pytest

from chain.service.ledger_thread import (
    IDLE_CALLS_MAX,
    OVERTAKING_MAX,
    QUEUED_CALLS_MAX,
    LedgerBusyError,
    LedgerThread,
)
from tests.patience import PATIENCE_S


@pytest.fixture
def thread():
    running = LedgerThread()
    yield running
    running.stop()


def test_calls_run_in_order_on_one_other_thread(thread):
    async def go():
        names = await asyncio.gather(
            *(thread.call(lambda: threading.current_thread().name) for _ in range(20))
        )
        return set(names)

    assert asyncio.run(go()) == {"ledger"}
    seen: list[int] = []
    last = [thread.submit(lambda n=n: seen.append(n)) for n in range(100)][-1]
    last.result(PATIENCE_S)
    assert seen == list(range(100))


def test_an_error_goes_to_the_caller_and_to_whoever_watches():
    errors: list[BaseException] = []
    watched = LedgerThread(errors.append)

    def fail():
        raise KeyError("x")

    with pytest.raises(KeyError):
        watched.submit(fail).result(PATIENCE_S)
    assert watched.submit(lambda: 7).result(PATIENCE_S) == 7
    watched.stop()
    assert [type(error) for error in errors] == [KeyError]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_an_error_that_ends_threads_goes_to_the_caller_and_the_thread_goes_on(thread, kind):
    def fail():
        raise kind

    with pytest.raises(kind):
        thread.submit(fail).result(PATIENCE_S)
    assert thread.submit(lambda: 7).result(PATIENCE_S) == 7


def test_the_queue_is_bounded(thread):
    go_on = threading.Event()
    begun = threading.Event()

    def wait():
        begun.set()
        go_on.wait(PATIENCE_S)

    first = thread.submit(wait)
    begun.wait(PATIENCE_S)
    queued = [thread.submit(lambda: None) for _ in range(QUEUED_CALLS_MAX)]
    with pytest.raises(LedgerBusyError, match=str(QUEUED_CALLS_MAX)):
        thread.submit(lambda: None)
    go_on.set()
    first.result(PATIENCE_S)
    queued[-1].result(PATIENCE_S)


def test_stop_finishes_what_is_queued():
    thread = LedgerThread()
    results = [thread.submit(lambda n=n: n) for n in range(50)]
    thread.stop()
    assert [r.result(0) for r in results] == list(range(50))


def test_a_call_that_may_wait_is_made_after_all_others_that_are_queued(thread):
    async def go():
        go_on, begun, order = threading.Event(), threading.Event(), []

        def wait():
            begun.set()
            go_on.wait(PATIENCE_S)

        thread.submit(wait)
        await asyncio.to_thread(begun.wait, PATIENCE_S)
        calls = [
            call(lambda number=number: order.append(number))
            for number, call in enumerate(
                [thread.call_when_idle, thread.call, thread.call_when_idle, thread.call]
            )
        ]
        tasks = [asyncio.ensure_future(call) for call in calls]
        await asyncio.sleep(0)
        assert thread.queued_calls == len(tasks)
        go_on.set()
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(go()) == [1, 3, 0, 2]


@contextmanager
def held(thread):
    """Keep the thread in a call, so that what is submitted meanwhile is queued."""
    go_on, begun = threading.Event(), threading.Event()

    def wait():
        begun.set()
        go_on.wait(PATIENCE_S)

    thread.submit(wait)
    assert begun.wait(PATIENCE_S)
    try:
        yield
    finally:
        go_on.set()


def test_a_call_that_may_wait_does_not_wait_for_ever(thread):
    """Peers may send so much that the ledger is never idle."""
    order = []
    with held(thread):
        calls = [thread.submit(lambda: order.append("idle"), when_idle=True) for _ in range(2)]
        calls += [
            thread.submit(lambda: order.append("block")) for _ in range(2 * OVERTAKING_MAX + 1)
        ]
    for call in calls:
        call.result(PATIENCE_S)
    blocks = ["block"] * OVERTAKING_MAX
    assert order == [*blocks, "idle", *blocks, "idle", "block"]


def test_calls_that_may_wait_leave_room_for_the_others(thread):
    with held(thread):
        for _ in range(IDLE_CALLS_MAX):
            last = thread.submit(lambda: None, when_idle=True)
        with pytest.raises(LedgerBusyError, match=f"{IDLE_CALLS_MAX} .* idle"):
            thread.submit(lambda: None, when_idle=True)
        for _ in range(QUEUED_CALLS_MAX - IDLE_CALLS_MAX):
            thread.submit(lambda: None)
        with pytest.raises(LedgerBusyError, match=str(QUEUED_CALLS_MAX)):
            thread.submit(lambda: None)
    last.result(PATIENCE_S)


def test_stop_finishes_calls_that_may_wait_and_skips_cancelled_ones():
    thread, made = LedgerThread(), []
    with held(thread):
        calls = [
            thread.submit(lambda number=number: made.append(number), when_idle=True)
            for number in range(4)
        ]
        assert calls[1].cancel()
        stopping = threading.Thread(target=thread.stop)
        stopping.start()
    stopping.join(PATIENCE_S)
    assert not stopping.is_alive()
    assert made == [0, 2, 3]


def test_a_cancelled_caller_does_not_stop_the_thread(thread):
    async def go():
        task = asyncio.ensure_future(thread.call(lambda: 1))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await thread.call(lambda: 2)

    assert asyncio.run(go()) == 2


def test_a_patient_call_waits_for_a_place_in_a_full_queue(thread):
    async def go():
        go_on = threading.Event()
        begun = threading.Event()

        def wait():
            begun.set()
            go_on.wait(PATIENCE_S)

        thread.submit(wait)
        await asyncio.to_thread(begun.wait, PATIENCE_S)
        for _ in range(QUEUED_CALLS_MAX):
            thread.submit(lambda: None)
        with pytest.raises(LedgerBusyError):
            await thread.call(lambda: 1)
        patient = asyncio.ensure_future(thread.call_patiently(lambda: 7))
        await asyncio.sleep(0)
        assert not patient.done()
        go_on.set()
        return await asyncio.wait_for(patient, PATIENCE_S)

    assert asyncio.run(go()) == 7
