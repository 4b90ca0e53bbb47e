"""A wrong flag of either command ends in one plain line; an empty value is never taken."""

import pytest
import typer

from chain.commands import app as groat
from chain.usage import Command
from wallet.__main__ import app as wallet

APPS = {
    "groat": typer.main.get_command(groat),
    "groat-wallet": typer.main.get_command(wallet),
}
MAY_BE_EMPTY = {"label"}


def commands_of(group, *path):
    """Yield every command below a group, with its path."""
    yield path, group
    for name, command in getattr(group, "commands", {}).items():
        yield from commands_of(command, *path, name)


def options_with_values():
    for app_name, app in APPS.items():
        for path, command in commands_of(app):
            for option in command.params:
                if option.param_type_name == "option" and not getattr(option, "is_flag", False):
                    yield app_name, path, max(option.opts, key=len), option.name


@pytest.fixture
def lines_of(capfd):
    """Return a function that runs a command, and gives its exit code and lines of errors."""

    def run(app_name, *words):
        with pytest.raises(SystemExit) as ended:
            APPS[app_name].main(list(words), prog_name=app_name)
        return ended.value.code, capfd.readouterr().err.splitlines()

    return run


def test_every_option_with_an_empty_value_is_refused_by_name(lines_of, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checked = 0
    for app_name, path, flag, name in options_with_values():
        if name in MAY_BE_EMPTY:
            continue
        for words in ([flag, ""], [f"{flag}="]):
            code, [line] = lines_of(app_name, *path, *words)
            assert code == 2, (path, words)
            assert f"{flag} is empty: give it a value, or leave it out" in line, (path, words)
        checked += 1
    assert checked > 150
    assert list(tmp_path.iterdir()) == []


def test_every_command_has_the_class_that_looks_for_empty_values():
    for app_name, app in APPS.items():
        for path, command in commands_of(app):
            assert isinstance(command, Command) or hasattr(command, "commands"), (app_name, path)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["groat", "node", "--mine-threads", "x"], "'--mine-threads': must be a whole number"),
        (["groat", "node", "--nosuch"], "No such option: --nosuch"),
        (["groat", "bench", "miner", "--seconds", "x"], "'--seconds': must be a number"),
        (["groat", "simulate", "--nodes", "1"], "'--nodes'"),
        (["groat", "export"], "'FILE'"),
        (["groat", "nosuch"], "nosuch"),
        (["groat-wallet", "history", "--limit", "x"], "'--limit': must be a whole number"),
        (["groat-wallet", "history", "--limit", "0"], "'--limit'"),
        (["groat-wallet", "psbt", "nosuch"], "nosuch"),
    ],
)
def test_a_wrong_flag_is_one_line_in_plain_words(lines_of, words, line):
    code, [text] = lines_of(*words)
    assert code == 2
    assert line in text
    assert text.startswith(f"{words[0]}: ")
    assert text.endswith(" --help)")
    for word in ("Input should", "Value error", "unable to"):
        assert word not in text
