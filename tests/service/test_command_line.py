"""What the command line loads, and when; how it ends."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chain.consensus.params import REGTEST
from chain.simulator.choices import SCENARIOS
from chain.simulator.scenarios.catalogue import CATALOGUE
from tests.builders import ChainBuilder

CTRL_D = b"\x04"
_HEAVY = {"sqlalchemy", "alembic", "fastapi", "httpx", "llvmlite", "chain.simulator.simulate"}


def test_help_and_wrong_settings_wait_for_no_part_of_the_node_to_load():
    code = "import sys, chain.cli.commands; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert "typer" in loaded
    assert not _HEAVY & set(loaded)


def test_the_help_names_every_scenario():
    assert tuple(CATALOGUE) == SCENARIOS


def test_a_reader_that_has_enough_ends_a_command_without_a_word(tmp_path):
    [block] = ChainBuilder().grow(1)
    file = tmp_path / "blocks.dat"
    file.write_bytes(REGTEST.magic + len(block.raw).to_bytes(4, "little") + block.raw)
    command = [sys.executable, "-m", "chain", "import", "--verdicts", str(file)]
    command += ["--network", "regtest", "--datadir", str(tmp_path)]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, check=False, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize(
    ("words", "prompt"),
    [
        (("chain", "network", "new", "village"), "Seconds between blocks [60]: "),
        (("chain", "rpc", "--network", "regtest", "--user", "a", "uptime"), "RPC password: "),
        (("wallet", "--network", "regtest", "create"), "assword: "),
        (("wallet", "--network", "regtest", "restore"), "Words: "),
    ],
)
def test_ctrl_c_at_a_prompt_ends_quietly_with_130(tmp_path, words, prompt):
    code, said = answered(tmp_path, words, prompt, None)
    assert code == 130
    assert said.partition(prompt)[2].replace("^C", "").strip() == ""


@pytest.mark.parametrize(
    ("words", "prompt", "problem"),
    [
        (("chain", "network", "new", "village"), "[60]: ", "groat: no answer: the input ended"),
        (("chain", "rpc", "--user", "a", "uptime"), "RPC password: ", "groat: --user needs a"),
    ],
)
def test_the_end_of_input_at_a_prompt_is_said_in_the_programs_words(
    tmp_path, words, prompt, problem
):
    code, said = answered(tmp_path, words, prompt, CTRL_D)
    assert code == 2
    assert problem in said
    assert "Aborted" not in said


@pytest.mark.parametrize("package", ["chain", "wallet"])
def test_ctrl_c_while_a_command_loads_ends_it_quietly(package):
    """The signal comes when typer is looked for, of which every command is made."""
    code = (
        "import os, runpy, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'typer':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "sys.argv = ['command', '--help']\n"
        f"runpy.run_module({package!r}, run_name='__main__', alter_sys=True)\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def heed_ctrl_c():
    """What a shell starts behind it ignores SIGINT, and so would what that starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def answered(folder, words, prompt, key):
    """Press a key (None: Ctrl-C) at a prompt on a terminal; return exit code and output."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", *words]
    with subprocess.Popen(
        command,
        stdin=follower,
        stdout=follower,
        stderr=follower,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path.cwd()), "GROAT_DATADIR": str(folder)},
        start_new_session=True,  # getpass would ask on the terminal of the tests
        preexec_fn=heed_ctrl_c,  # noqa: PLW1509 - it takes no lock
    ) as process:
        os.close(follower)
        said = b""
        while prompt.encode() not in said:
            said += os.read(leader, 1000)
        if key is None:
            process.send_signal(signal.SIGINT)
        else:
            os.write(leader, key)
        try:
            while part := os.read(leader, 1000):
                said += part
        except OSError:  # Linux reports the end so
            pass
        os.close(leader)
    return process.returncode, said.decode()
