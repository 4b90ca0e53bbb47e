"""Output that nobody can take, or nobody wants, ends a command in one line at most."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.processes import CLEAN

FULL = Path("/dev/full")
COMMANDS = [["chain", "version"], ["wallet", "--help"], ["chain"]]
MORE = [
    ["chain", "--help"],
    ["chain", "--version"],
    ["chain", "node", "--help"],
    ["chain", "simulate", "--nodes", "2", "--blocks", "1"],
    ["wallet"],
    ["wallet", "psbt", "--help"],
    ["wallet", "psbt"],
]
ALL = [*COMMANDS, *(pytest.param(command, marks=pytest.mark.slow) for command in MORE)]


def run(command: list[str], **how) -> subprocess.CompletedProcess[str]:
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": CLEAN} | how
    command = [sys.executable, "-m", *command]
    return subprocess.run(command, check=False, text=True, timeout=60, **how)


@pytest.mark.parametrize("command", ALL, ids=" ".join)
def test_a_full_output_is_told_in_one_line(command):
    with FULL.open("w") as full:
        done = run(command, stdout=full)
    name = {"chain": "groat", "wallet": "groat-wallet"}[command[0]]
    assert done.stderr.startswith(f"{name}: ")
    assert done.stderr.endswith("No space left on device\n")
    assert len(done.stderr.splitlines()) == 1
    assert done.returncode == 1


@pytest.mark.parametrize(
    "flags", [[], pytest.param(["--json"], marks=pytest.mark.slow)], ids=" ".join
)
def test_a_full_output_that_is_not_buffered_is_named_too(flags):
    command = ["chain", "network", "show", "regtest", *flags]
    with FULL.open("w") as full:
        done = run(command, stdout=full, env=CLEAN | {"PYTHONUNBUFFERED": "1"})
    assert done.stderr == "groat: standard output: No space left on device\n"
    assert done.returncode == 1


@pytest.mark.parametrize("command", ALL, ids=" ".join)
def test_a_reader_that_has_enough_is_told_nothing(command):
    reader, writer = os.pipe()
    os.close(reader)
    done = run(command, stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("command", ALL, ids=" ".join)
def test_a_closed_output_takes_everything(command):
    done = run(command, preexec_fn=close_all)
    assert done.returncode in {0, 2}  # 2: without arguments, help is what usage errors show


def close_all() -> None:
    for descriptor in (0, 1, 2):
        os.close(descriptor)


def test_a_full_error_output_too_ends_without_more():
    with FULL.open("w") as full:
        assert run(["chain", "version"], stdout=full, stderr=full).returncode == 1


def test_no_file_takes_the_number_of_a_closed_stream(tmp_path):
    code = (
        "import os, sys\n"
        "from chain.standard_streams import standard_streams\n"
        "with standard_streams('x'):\n"
        f"    file = open({str(tmp_path / 'ledger')!r}, 'wb')\n"
        "    print('text'); print('text', file=sys.stderr); os.write(1, b'text')\n"
        "    file.write(bytes([file.fileno()]))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=CLEAN, preexec_fn=close_all)
    [number] = (tmp_path / "ledger").read_bytes()
    assert number > 2
