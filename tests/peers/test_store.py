"""peers.json: whole or as before, and never a reason not to start."""

import asyncio
import json
import os
import resource
import stat
from pathlib import Path

import pytest

from chain.service.peers import store
from chain.service.peers.store import FILE_NAME, PeersFile, StoreError
from tests.peers.nodes import running

SAVED = PeersFile(bytes(range(32)), {"addresses": b"\x00\xff" * 100})


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    store.save(tmp_path, SAVED)
    assert store.load(tmp_path) == SAVED
    store.save(tmp_path, PeersFile(SAVED.secret, {}))
    assert store.load(tmp_path) == PeersFile(SAVED.secret, {})
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_without_a_file_there_is_a_new_secret(tmp_path: Path) -> None:
    one, two = store.load(tmp_path), store.load(tmp_path)
    assert one.saved == {}
    assert len(one.secret) == 32
    assert one.secret != two.secret


def test_the_secret_is_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store.save(tmp_path, SAVED)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600
    assert SAVED.secret.hex() not in repr(SAVED)


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        json.dumps({"version": 2, "secret": "00" * 32, "saved": {}}).encode(),
        json.dumps({"version": 1, "secret": "00" * 31, "saved": {}}).encode(),
        json.dumps({"version": 1, "secret": "zz" * 32, "saved": {}}).encode(),
        json.dumps({"version": 1, "secret": "00" * 32, "saved": []}).encode(),
        json.dumps({"version": 1, "secret": "00" * 32, "saved": {"addresses": 1}}).encode(),
        json.dumps({"version": 1, "secret": "00" * 32, "saved": {"addresses": "a"}}).encode(),
        json.dumps({"version": 1, "secret": "00" * 32, "saved": {"addresses": "é"}}).encode(),
        b"[" * 100_000,
    ],
)
def test_a_damaged_file_is_told_from_a_good_one(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(damage)
    with pytest.raises(StoreError):
        store.load(tmp_path)


@pytest.mark.net
def test_a_node_starts_with_a_damaged_file_and_replaces_it(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"damaged")

    async def main() -> bytes:
        async with running(tmp_path):
            pass
        return store.load(tmp_path).secret

    secret = asyncio.run(main())
    assert asyncio.run(main()) == secret, "a node's secret is its own for ever"


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    store.save(tmp_path, SAVED)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))  # so that the new one cannot be written
    try:
        with pytest.raises(OSError, match=FILE_NAME):
            store.save(tmp_path, PeersFile())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert store.load(tmp_path) == SAVED
