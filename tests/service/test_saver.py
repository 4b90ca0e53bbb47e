"""A file that is kept in step with what it is made of, though the disk is full for a while (F5)."""

import asyncio
import os
import threading

import pytest

from chain.service import saver as saver_module
from chain.service.saver import Saver
from tests.patience import PATIENCE_S


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(saver_module, "RETRY_S_MIN", 0.002)
    monkeypatch.setattr(saver_module, "RETRY_S_MAX", 0.01)


async def until(holds):
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


def test_a_save_that_failed_is_tried_again_without_another_change(tmp_path, caplog):
    caplog.set_level("INFO")
    path = tmp_path / "full" / "mempool.dat"  # there is no such folder yet

    async def main() -> None:
        saver = Saver(path, lambda: lambda: b"pool")
        running = asyncio.create_task(saver.run())
        saver.note_change()
        await until(lambda: caplog.records)
        await asyncio.sleep(0.05)
        await asyncio.to_thread(path.parent.mkdir)
        await until(path.exists)
        await until(lambda: len(caplog.records) == 2)
        running.cancel()

    asyncio.run(main())
    assert path.read_bytes() == b"pool"
    assert [record.getMessage() for record in caplog.records] == [
        f"cannot save {path}: No such file or directory",
        f"{path} is saved again",
    ]


def test_the_newest_content_is_what_a_late_save_writes(tmp_path):
    contents = [b"old"]
    path = tmp_path / "full" / "peers.json"

    async def main() -> None:
        saver = Saver(path, lambda: lambda: contents[-1])
        running = asyncio.create_task(saver.run())
        saver.note_change()
        await asyncio.sleep(0.01)
        contents.append(b"new")
        await asyncio.to_thread(path.parent.mkdir)
        await until(path.exists)
        running.cancel()

    asyncio.run(main())
    assert path.read_bytes() == b"new"


def test_the_last_save_waits_for_one_that_goes_on_and_does_not_fail_on_a_full_disk(tmp_path):
    path = tmp_path / "mempool.dat"
    begun, go_on = threading.Event(), threading.Event()
    contents = iter([b"first", b"last"])

    def content() -> bytes:
        data = next(contents)
        if data == b"first":
            begun.set()
            go_on.wait(PATIENCE_S)
        return data

    async def main() -> None:
        saver = Saver(path, lambda: content)
        running = asyncio.create_task(saver.run())
        saver.note_change()
        await asyncio.to_thread(begun.wait, PATIENCE_S)
        running.cancel()
        last = asyncio.create_task(asyncio.to_thread(saver.save_now))
        go_on.set()
        await last

    asyncio.run(main())
    assert path.read_bytes() == b"last"
    assert os.listdir(tmp_path) == ["mempool.dat"]  # noqa: PTH208

    async def nowhere() -> None:
        Saver(tmp_path / "gone" / "x", lambda: lambda: b"").save_now()

    asyncio.run(nowhere())
