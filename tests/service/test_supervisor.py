"""No task and no thread of the process ends unseen (F5)."""

import asyncio
import errno
import gc
import itertools
import logging
import threading
from collections.abc import Awaitable, Callable

import pytest

from chain.errors import ShownError
from chain.ledger.errors import DatabaseFailedError
from chain.service import supervisor as supervisor_module
from chain.service.supervisor import EndedError, Supervisor, described, restarted
from tests.patience import PATIENCE_S

Body = Callable[[Supervisor], Awaitable[None]]


def supervised(body: Body) -> list[BaseException]:
    """Run `body` under a supervisor and return what it failed the process with."""
    failures: list[BaseException] = []

    async def main() -> None:
        supervisor = Supervisor(failures.append)
        with supervisor.watching():
            async with asyncio.timeout(PATIENCE_S):
                await body(supervisor)

    asyncio.run(main())
    return failures


async def until(holds: Callable[[], object]) -> None:
    while not holds():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


async def broken() -> None:
    raise ValueError("two\nlines")


async def over() -> None:
    return


@pytest.mark.parametrize(
    ("job", "kind", "text"),
    [(broken, ValueError, "ValueError: two ("), (over, EndedError, "the job ended")],
)
def test_a_required_job_that_ends_ends_the_process_and_is_reported_once(caplog, job, kind, text):
    async def body(supervisor: Supervisor) -> None:
        async with supervisor.required("the job", job()):
            await until(lambda: caplog.records)

    failures = supervised(body)
    assert [type(error) for error in failures] == [kind]
    [record] = caplog.records
    assert record.getMessage().startswith(f"the job failed: {text}")
    assert record.levelno == logging.CRITICAL
    assert (record.exc_info is not None) == (kind is ValueError), "a bug is shown with its place"


def test_a_required_job_that_somebody_cancels_is_seen_too():
    async def body(supervisor: Supervisor) -> None:
        async with supervisor.required("the job", asyncio.sleep(99)):
            [task] = [task for task in asyncio.all_tasks() if task.get_name() == "the job"]
            task.cancel()
            await asyncio.wait({task})
            await asyncio.sleep(0)

    [error] = supervised(body)
    assert isinstance(error, EndedError)


def test_a_job_is_cancelled_at_the_end_of_its_block_which_is_no_failure():
    ended: list[bool] = []

    async def job() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def body(supervisor: Supervisor) -> None:
        async with supervisor.required("the job", job()), supervisor.restarting("another", job):
            await asyncio.sleep(0.01)

    assert supervised(body) == []
    assert ended == [True, True]


def test_a_job_that_fails_while_it_is_cancelled_is_seen():
    async def job() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise OSError(errno.ENOSPC, "No space left on device")

    async def body(supervisor: Supervisor) -> None:
        async with supervisor.required("the job", job()):
            await asyncio.sleep(0.01)

    assert [type(error) for error in supervised(body)] == [OSError]


def test_a_kept_job_is_restarted_with_a_growing_pause_and_logged_in_one_line(caplog, monkeypatch):
    monkeypatch.setattr(supervisor_module, "PAUSE_S_MIN", 0.01)
    monkeypatch.setattr(supervisor_module, "PAUSE_S_MAX", 0.04)
    started: list[float] = []

    async def job() -> None:
        started.append(asyncio.get_running_loop().time())
        if len(started) < 7:
            raise OSError(errno.ENOSPC, "No space left on device", "/x/y")
        await asyncio.Event().wait()

    async def body(supervisor: Supervisor) -> None:
        async with supervisor.restarting("saving", job):
            await until(lambda: len(started) == 7)

    assert supervised(body) == []
    pauses = [later - earlier for earlier, later in itertools.pairwise(started)]
    assert all(pause >= 0.009 for pause in pauses)
    assert sum(pauses) >= 0.01 + 0.02 + 4 * 0.04 - 0.01
    [record] = caplog.records
    assert record.getMessage().startswith("saving failed: /x/y: No space left on device; ")


@pytest.mark.parametrize("error", [DatabaseFailedError("x"), AssertionError("x"), MemoryError("x")])
def test_what_leaves_no_way_on_is_fatal_in_a_kept_job_too(error):
    async def job() -> None:
        raise error

    async def body(supervisor: Supervisor) -> None:
        async with supervisor.restarting("saving", job):
            await asyncio.sleep(0.01)

    assert supervised(body) == [error]


def test_restarting_leaves_nothing_behind_when_it_is_cancelled():
    async def main() -> int:
        task = asyncio.create_task(restarted("job", asyncio.Event().wait))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        return len(asyncio.all_tasks())

    assert asyncio.run(main()) == 1


def test_a_thread_that_dies_ends_the_process():
    before = threading.excepthook

    async def body(supervisor: Supervisor) -> None:
        thread = threading.Thread(target=lambda: 1 // 0, name="miner-0")
        thread.start()
        await asyncio.to_thread(thread.join)
        await asyncio.sleep(0)

    assert [type(error) for error in supervised(body)] == [ZeroDivisionError]
    assert threading.excepthook is before


def test_a_failure_in_a_callback_or_a_forgotten_task_is_logged(caplog):
    async def body(_supervisor: Supervisor) -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: 1 // 0)
        task = asyncio.create_task(broken())
        await asyncio.wait({task})
        del task
        gc.collect()

    assert supervised(body) == []
    assert [type(record.exc_info[1]) for record in caplog.records] == [
        ZeroDivisionError,
        ValueError,
    ]


def test_a_failed_accept_is_one_short_line_a_minute(caplog):
    async def body(_supervisor: Supervisor) -> None:
        loop = asyncio.get_running_loop()
        error = OSError(errno.EMFILE, "Too many open files")
        context = {"message": "accept() out of resource", "exception": error, "socket": object()}
        loop.call_exception_handler(context)

    assert supervised(body) == []
    [record] = caplog.records
    assert record.getMessage() == "cannot accept connections just now: Too many open files"
    assert record.exc_info is None
    assert record.per_minute_max == 1


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.ENOSPC, "No space", "/x"), "/x: No space"),
        (OSError("odd"), "odd"),
        (ShownError("what\nand more"), "what"),
        (ValueError(), "ValueError: ValueError"),
    ],
)
def test_an_error_is_described_in_one_line(error, text):
    assert described(error) == text
