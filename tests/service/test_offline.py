"""Files that import and export read and write."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from chain.cli.commands import app
from chain.consensus.params import REGTEST
from chain.service import offline
from chain.settings import load_settings
from tests.builders import ChainBuilder
from tests.end_to_end.processes import wait_until
from tests.ledger.chains import grow_busy, mature_chain
from tests.patience import PATIENCE_S


@pytest.fixture
def settings(tmp_path):
    return load_settings({"network": "regtest", "datadir": str(tmp_path / "data")})


@pytest.fixture
def block_file(tmp_path):
    chain = ChainBuilder()
    chain.grow(5)
    path = tmp_path / "blocks.dat"
    path.write_bytes(b"".join(frame(block.raw) for block in chain.blocks))
    return path


def frame(raw: bytes) -> bytes:
    return REGTEST.magic + len(raw).to_bytes(4, "little") + raw


def test_what_was_imported_is_exported_byte_for_byte(settings, block_file, tmp_path):
    done = offline.import_file(settings, str(block_file))
    assert list(done) == [
        "blocks",
        "transactions",
        "seconds",
        "tip",
        "height",
        "refused",
        "first_refusal",
        "waiting",
        "stored",
        "transactions_per_second",
    ]
    assert (done["blocks"], done["height"], done["refused"]) == (5, 5, 0)
    out = tmp_path / "out.dat"
    assert offline.export_file(settings, str(out))["blocks"] == 5
    assert out.read_bytes() == block_file.read_bytes()
    assert list(tmp_path.glob(".*")) == []


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def forked_file(tmp_path, first):
    """A branch, a longer one from its fork, spends in both, and a block that pays too much."""
    trunk = mature_chain()
    short, long = trunk.fork(0), trunk.fork(0)
    grow_busy(short, 3, seed=1)
    grow_busy(long, 5, seed=2)
    long.add(fees=1)
    blocks = [*trunk.blocks, *short.blocks[len(trunk.blocks) :], *long.blocks[len(trunk.blocks) :]]
    path = tmp_path / "forked.dat"
    path.write_bytes(b"".join(frame(block.raw) for block in blocks[first:]))
    return path


@pytest.mark.parametrize("first", [0, 1])
def test_a_file_can_be_verified_and_nothing_stored(settings, tmp_path, temporary, first):
    path = forked_file(tmp_path, first)
    before = sorted(tmp_path.rglob("*"))
    verified = offline.import_file(settings, str(path), verify_only=True)
    verdicts = list(offline.verdicts(settings, str(path), verify_only=True))
    assert sorted(tmp_path.rglob("*")) == before
    assert list(temporary.iterdir()) == []
    imported = offline.import_file(settings, str(path))
    assert (verified.pop("stored"), imported.pop("stored")) == (False, True)
    if not first:
        assert (verified.pop("unverified"), imported["blocks"] - verified["blocks"]) == (3, 3)
        del imported["blocks"], verified["blocks"]
    for times in ("seconds", "transactions_per_second"):
        del verified[times], imported[times]
    assert verified.pop("unverified", 0) == 0
    assert verified == imported
    other = replace(settings, folder=tmp_path / "o", database=tmp_path / "o" / "ledger.sqlite")
    assert verdicts == list(offline.verdicts(other, str(path)))


def shown_by_verification(path, *flags) -> tuple[int, list[str]]:
    where = ["--network", "regtest", "--datadir", str(path.parent / "data")]
    done = CliRunner().invoke(app, ["import", "--verify-only", *where, *flags, str(path)])
    assert not (path.parent / "data").exists()
    return done.exit_code, done.output.splitlines()


def test_a_verification_says_if_all_blocks_are_valid(block_file, temporary):
    code, lines = shown_by_verification(block_file)
    assert code == 0
    assert lines[0].startswith("verified 5 blocks of the best chain, in ")
    assert lines[-1] == "every block of the file is valid; nothing was stored"
    assert list(temporary.iterdir()) == []


def reordered(block_file, name, change):
    """A copy with other frames."""
    frames, raw = [], block_file.read_bytes()
    while raw:
        size = 8 + int.from_bytes(raw[4:8], "little")
        frames.append(raw[:size])
        raw = raw[size:]
    path = block_file.with_name(name)
    path.write_bytes(b"".join(change(frames)))
    return path


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda frames: frames[1:], "not verified: 4 blocks whose parents are missing; "),
        (lambda frames: [*frames, *upon_refused()], "not verified: 2 blocks whose parents are mi"),
        (lambda _: [], "verified 0 blocks of the best chain"),
        (lambda frames: [*frames, off_the_best_chain()], "not verified: 1 block off the best"),
        (lambda frames: [*frames, off_the_best_chain(fees=1)], "not verified: 1 block off the "),
        (lambda frames: [*frames, tip_that_pays_too_much()], "groat: 1 block refused, first "),
    ],
)
def test_a_verification_fails_unless_each_block_was_verified(block_file, temporary, change, line):
    code, lines = shown_by_verification(reordered(block_file, "other.dat", change))
    assert code == 1
    assert any(one.startswith(line) for one in lines), lines
    assert not any(one.startswith("every block") for one in lines)


def off_the_best_chain(**how) -> bytes:
    """The frame of a block beside the third of the five."""
    return frame(trunk_of(2).add(extra=b"other", **how).raw)


def upon_refused() -> list[bytes]:
    """A block with a wrong Merkle root, and two built on it."""
    chain = trunk_of(5)
    refused, *upon = [frame(block.raw) for block in chain.grow(3)]
    return [refused[:-1] + bytes([refused[-1] ^ 1]), *upon]


def tip_that_pays_too_much() -> bytes:
    return frame(trunk_of(5).add(fees=1).raw)


def trunk_of(blocks: int) -> ChainBuilder:
    chain = ChainBuilder()
    chain.grow(blocks)
    return chain


def test_a_verification_has_no_database(block_file):
    code, lines = shown_by_verification(block_file, "--database", "sqlite:////tmp/x.sqlite")
    assert (code, lines) == (2, ["groat: --verify-only stores nothing: leave out --database"])


@pytest.mark.parametrize("command", [["import", "--verify-only"], ["bench", "import"]])
def test_a_command_asked_to_end_deletes_its_temporary_folder(block_file, temporary, command):
    flags = ["--network", "regtest", "-"]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen(
        [sys.executable, "-m", "chain", *command, *flags],
        env=environment,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdin.write(block_file.read_bytes())
        process.stdin.flush()
        wait_until(lambda: list(temporary.glob("*/ledger.sqlite")), "a temporary ledger")
        process.terminate()
        assert process.wait(PATIENCE_S) == 128 + signal.SIGTERM
        assert process.stderr.read() == b""
    assert list(temporary.iterdir()) == []


def test_what_an_import_says_has_its_tip_on_one_line(block_file, tmp_path):
    where = ["--network", "regtest", "--datadir", str(tmp_path / "data")]
    shown = CliRunner().invoke(app, ["import", str(block_file), *where]).stdout
    assert re.search(r"^tip +[0-9a-f]{64}$", shown, re.MULTILINE), shown
    assert re.search(r"^height +5$", shown, re.MULTILINE), shown


def test_an_export_follows_links_and_feeds_pipes(settings, block_file, tmp_path):
    offline.import_file(settings, str(block_file))
    target, link, pipe = tmp_path / "target", tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(target)
    offline.export_file(settings, str(link))
    assert link.is_symlink()
    assert target.read_bytes() == block_file.read_bytes()

    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    offline.export_file(settings, str(pipe))
    reader.join(PATIENCE_S)
    assert got == [block_file.read_bytes()]
    assert pipe.is_fifo()


def test_an_export_to_a_full_device_names_it(settings, block_file):
    offline.import_file(settings, str(block_file))
    with pytest.raises(OSError, match="No space left") as caught:
        offline.export_file(settings, "/dev/full")
    assert caught.value.filename == "/dev/full"


def test_an_export_that_fails_leaves_no_part_of_a_file(settings, block_file, tmp_path):
    offline.import_file(settings, str(block_file))
    [ledger] = (tmp_path / "data").rglob("ledger.sqlite")
    with closing(sqlite3.connect(ledger)) as database, database:
        database.execute("UPDATE blocks SET raw = substr(raw, 1, 100) WHERE rowid = 3")
    where = ["--network", "regtest", "--datadir", str(tmp_path / "data")]
    assert CliRunner().invoke(app, ["export", str(tmp_path / "out.dat"), *where]).exit_code == 1
    assert list(tmp_path.glob("*out.dat*")) == []


def test_an_export_overwrites_a_file_only_when_forced(settings, block_file, tmp_path):
    offline.import_file(settings, str(block_file))
    out, link = tmp_path / "diary.txt", tmp_path / "link"
    out.write_bytes(b"dear diary")
    link.symlink_to(out)
    where = ["--network", "regtest", "--datadir", str(tmp_path / "data")]
    for name in (out, link):
        done = CliRunner().invoke(app, ["export", str(name), *where])
        assert (done.exit_code, done.stderr) == (
            2,
            f"groat: {name} exists: --force replaces it, or choose another name\n",
        )
    assert out.read_bytes() == b"dear diary"
    assert list(tmp_path.glob(".*")) == []
    assert CliRunner().invoke(app, ["export", str(out), "--force", *where]).exit_code == 0
    assert out.read_bytes() == block_file.read_bytes()
    out.write_bytes(b"")  # as mktemp leaves it
    offline.export_file(settings, str(out))
    assert out.read_bytes() == block_file.read_bytes()


def test_a_plot_overwrites_a_file_only_when_forced(tmp_path):
    out = tmp_path / "diary.svg"
    out.write_bytes(b"dear diary")
    done = CliRunner().invoke(app, ["simulate", "--plot", str(out)])
    assert (done.exit_code, done.stderr.startswith(f"groat: {out} exists: --force")) == (2, True)
    assert out.read_bytes() == b"dear diary"


def test_an_export_that_fails_leaves_the_old_file_and_names_it(settings, block_file, tmp_path):
    offline.import_file(settings, str(block_file))
    folder = tmp_path / "none"
    with pytest.raises(OSError, match="none"):
        offline.export_file(settings, str(folder / "out.dat"))
    assert not folder.exists()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("loop", "Too many levels of symbolic links"),
        ("loop/out", "Too many levels of symbolic links"),
        ("full", "No space left on device"),
    ],
)
def test_an_export_that_fails_names_the_file_that_was_asked_for(
    settings, block_file, tmp_path, name, why
):
    """Python 3.11 has no OSError for a loop of links, and a device's has no name."""
    offline.import_file(settings, str(block_file))
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "full").symlink_to("/dev/full")
    where = ["--network", "regtest", "--datadir", str(tmp_path / "data")]
    done = CliRunner().invoke(app, ["export", str(tmp_path / name), "--force", *where])
    assert (done.exit_code, done.stderr) == (1, f"groat: {tmp_path / name}: {why}\n")


def test_two_exports_to_one_file_do_not_write_to_the_same(settings, block_file, tmp_path):
    """Else the second cuts what the first has written, and may end before it writes it again."""
    offline.import_file(settings, str(block_file))
    out = tmp_path / "out.dat"
    with offline._created(str(out), force=False) as second:
        second.write(b"half")
        offline.export_file(settings, str(out))
        second.write(b" and half")
        second.flush()
        assert out.read_bytes() == block_file.read_bytes()
        out.unlink()
    assert out.read_bytes() == b"half and half"
    assert list(tmp_path.glob(".*")) == []


def test_verdicts_come_one_a_block(settings, block_file):
    lines = list(offline.verdicts(settings, str(block_file)))
    assert [(line["accepted"], line["reason"], line["height"]) for line in lines] == [
        (True, None, height) for height in range(1, 6)
    ]


def test_a_check_of_a_good_ledger_finds_no_problem(settings, block_file):
    offline.import_file(settings, str(block_file))
    found = offline.check(settings)
    assert (found["height"], found["problem_count"]) == (5, 0)
    assert found["supply_grains"] == 5 * REGTEST.subsidy_start


def test_a_timed_import_leaves_no_ledger_behind(settings, block_file):
    done = offline.bench_import(replace(settings), str(block_file))
    assert done["blocks"] == 5
    assert not settings.folder.exists()


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (b"CREATE TABLE history", b"CREATE TABLE hi\xf3tory"),
        (b"CREATE TABLE chain", b"CREATE TABLE chai\xee"),
        (b"CREATE TABLE blocks", b"CREATE\x00TABLE blocks"),
        (b"PRIMARY KEY (script, number", b"PRIMARY KEY (script, nu\xedber"),
        (b"SQLite format 3", b"SQLite format 2"),
    ],
)
def test_a_damaged_schema_is_one_line_for_every_command(
    settings, block_file, tmp_path, right, wrong
):
    offline.import_file(settings, str(block_file))
    file = settings.folder / "ledger.sqlite"
    data = file.read_bytes()
    assert right in data
    file.write_bytes(data.replace(right, wrong))
    where = ["--network", "regtest", "--datadir", str(tmp_path / "data")]
    for command in (["export", str(tmp_path / "out")], ["import", str(block_file)], ["check"]):
        done = CliRunner().invoke(app, [*command, *where])
        assert (done.exit_code, done.stderr.count("\n")) == (1, 1), done.output
        assert done.stderr.startswith("groat: "), done.stderr
        assert "Traceback" not in done.output
    assert not (tmp_path / "out").exists()
