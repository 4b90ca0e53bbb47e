"""A data directory of any name works for every command, and is nobody else's."""

import json
import os
import subprocess
import sys

import pytest

from chain.consensus.params import REGTEST
from chain.service import offline
from chain.settings import load_settings
from tests.builders import ChainBuilder
from tests.end_to_end.processes import CLEAN, NodeProcess

SOMEBODY = "bcrt1q6rz28mcfaxtmd6v789l9rrlrusdprr9pz3cppk"
NAMES = [
    "what?1",
    "what?2",
    "a#b",
    "100%",
    "a%20b",
    "a b",
    "a&b=c",
    "?mode=memory&cache=shared",
    "file:x",
    ":memory:",
    "caf\u00e9 \u2615 \u8336",
    "-x",
    "~x~",
    "'\"\\`$(x);*[a]",
    "a+b@c:d",
    os.fsdecode(b"not-utf8-\xff"),
]


@pytest.fixture(scope="module")
def block_file(tmp_path_factory):
    chain = ChainBuilder()
    chain.grow(2)
    path = tmp_path_factory.mktemp("blocks") / "blocks.dat"
    frames = (REGTEST.magic + len(b.raw).to_bytes(4, "little") + b.raw for b in chain.blocks)
    path.write_bytes(b"".join(frames))
    return path


@pytest.mark.parametrize("name", NAMES)
def test_what_is_imported_into_an_odd_folder_is_in_it_and_nowhere_else(tmp_path, name, block_file):
    datadir = tmp_path / "home" / name
    settings = load_settings({"network": "regtest", "datadir": datadir})
    assert offline.import_file(settings, str(block_file))["blocks"] == 2
    assert offline.export_file(settings, str(datadir / "out.dat"))["blocks"] == 2
    assert (datadir / "out.dat").read_bytes() == block_file.read_bytes()
    found = offline.check(settings)
    assert (found["height"], found["problem_count"]) == (2, 0)
    assert [each.name for each in (tmp_path / "home").iterdir()] == [name]
    assert (datadir / "regtest" / "ledger.sqlite").stat().st_size > 0


def test_two_folders_that_differ_behind_a_question_mark_have_each_their_ledger(
    tmp_path, block_file
):
    one, two = (
        load_settings({"network": "regtest", "datadir": tmp_path / name})
        for name in ("what?1", "what?2")
    )
    assert offline.import_file(one, str(block_file))["blocks"] == 2
    assert offline.import_file(two, str(block_file))["blocks"] == 2  # none was there before


@pytest.mark.net
@pytest.mark.slow
def test_a_node_in_an_odd_folder_is_mined_for_by_its_cookie(tmp_path):
    node = NodeProcess(tmp_path / "a?1#b%20&\u8336 ;'c").start()
    try:
        where = ["--network", "regtest", "--datadir", str(node.folder)]
        mined = groat(
            "mine", "--node", node.api, "--address", SOMEBODY, "--blocks", "1", "--json",
            "--cookie", str(node.folder / "regtest" / ".cookie"),
        )  # fmt: skip
        assert mined["accepted"]
        status = groat("status", *where, "--api", node.api.removeprefix("http://"), "--json")
        assert status["height"] == 1
        files = (node.folder / "regtest").glob("ledger.sqlite*")
        sizes = {file.name: file.stat().st_size for file in files}
        assert node.rpc("getblockchaininfo")["size_on_disk"] == sum(sizes.values())
        exported = groat("export", str(tmp_path / "out.dat"), *where, "--json")
        assert exported["blocks"] == 1
    finally:
        assert node.stop() == 0
    assert groat("check", *where, "--json")["height"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([node.folder.name, "out.dat"])


def groat(*arguments: str) -> dict:
    """Run `groat` and return the last line of its output."""
    done = subprocess.run(
        [sys.executable, "-m", "chain", *arguments],
        check=False, capture_output=True, text=True, env=CLEAN, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
