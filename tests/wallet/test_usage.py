"""Help, and what the command line says of wrong flags: one line, exit code 2."""

from importlib.metadata import version

import pytest
from typer.testing import CliRunner

from tests.wallet.commands.test_commands import COMMANDS
from wallet.command_line import app


def run(*words):
    return CliRunner().invoke(app, words, env={"COLUMNS": "80"})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["history", "--limit"], "--limit needs a value"),
        (["--network"], "--network needs a value"),
        (["send", "-w"], "-w needs a value"),
        (["psbt", "show", "--node"], "--node needs a value"),
        (["histroy"], "no such command: 'histroy'; did you mean history?"),
        (["psbt", "sgn"], "no such command: 'sgn'; did you mean sign?"),
        (["history", "--limt", "3"], "no such option: --limt; did you mean --limit?"),
        (["--netwrk", "main", "balance"], "did you mean --network?"),
        (["nonsense"], "no such command: 'nonsense'"),
        (["label", "x"], "missing argument: TEXT"),
        (["history", "--limit", "x"], "must be a whole number"),
        (["balance", "--network", "tset"], "choose main, test, devnet, regtest"),
    ],
)
def test_a_wrong_command_line_is_one_line_with_exit_code_2(words, said):
    result = run(*words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""


@pytest.mark.parametrize("words", [[], ["psbt"]])
def test_a_group_without_a_command_shows_its_usage_and_no_empty_error(words):
    result = run(*words)
    assert result.exit_code == 2
    assert "Usage: groat-wallet" in result.output
    assert "(see" not in result.output


def test_version_is_told_without_a_command():
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"groat-wallet {version('groat')}\n")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_80_columns_with_the_common_flags_in_a_short_group_of_their_own(command):
    lines = run(*command.split(), "--help").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    start = lines.index("Common flags:")
    assert 3 <= lines.index("", start) - start <= 7, "a line for each flag"
    assert not any(line.endswith("…") for line in lines)


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        ("psbt sign", "--node"),
        ("decode", "--node"),
        ("decode", "--wallet"),
        ("list", "--wallet"),
        ("history", "--password-fd"),
        ("psbt show", "--password-fd"),
    ],
)
def test_a_flag_without_effect_is_not_in_a_commands_help_but_accepted(command, flag):
    assert flag not in run(*command.split(), "--help").stdout
    argument = [] if command in {"list", "history"} else ["x"]
    result = run(*command.split(), *argument, flag, "3")
    assert "No such option" not in result.stderr
    assert flag not in result.stderr


def test_help_breaks_lines_only_where_the_terminal_ends():
    lines = run("history", "--help").stdout.splitlines()
    first = next(line for line in lines if line.startswith("Payments that a reorganisation"))
    assert len(first.rstrip()) > 70
