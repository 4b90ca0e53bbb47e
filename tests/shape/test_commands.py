"""The commands in the pages exist: their scripts, subcommands, flags, modules and test files.

The tutorial's are run, with their output, by tests/wallet/test_tutorial.py.
"""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from chain.cli.commands import app as groat
from wallet.command_line import app as groat_wallet

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
INDENTED = re.compile(r"(?m)^ {4,}(\S.*)$")
QUOTED = re.compile(r"`([^`\n]+)`")
COMMAND = re.compile(
    r"(?:[A-Z_0-9]+=\S+ )*"
    r"(?:scripts/\w+|\.ci/run|\.venv/bin/|groat(?:-wallet)?(?![\w.:])|python -m )"
)
PROGRAMS = {"groat": groat, "groat-wallet": groat_wallet}
PYTEST_FLAGS = {"-m", "-k", "-n", "-s", "--cpu-gate"}
COUNT_MIN = 50  # fewer would mean that the pages are not read right


@dataclass(frozen=True)
class Given:
    """A command as a page gives it."""

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {' '.join(self.words)}"


def words_of(line: str) -> tuple[str, ...]:
    """Return a command's words up to a comment or redirection, without its environment."""
    words = shlex.split(line, comments=True)
    while words and re.match(r"[A-Z_0-9]+=", words[0]):
        del words[0]
    ends = [at for at, word in enumerate(words) if word[:1] in {"<", ">", "|", "&"}]
    return tuple(words[: ends[0]] if ends else words)


def commands() -> list[Given]:
    found = {}
    for page in PAGES:
        text = page.read_text()
        for line in (*INDENTED.findall(text), *QUOTED.findall(text)):
            if COMMAND.match(line) and "::" not in line:
                found[Given(page.name, words_of(line))] = None
    return list(found)


GIVEN = commands()


def problem(words: tuple[str, ...]) -> str | None:
    """Return what is wrong with a command, if anything."""
    first, *rest = words
    program = first.removeprefix(".venv/bin/")
    if program in PROGRAMS:
        return program_problem(get_command(PROGRAMS[program]), rest)
    if first == "python":
        return None if importlib.util.find_spec(rest[1]) else f"there is no module {rest[1]}"
    script = ROOT / first
    if not os.access(script, os.X_OK):
        return f"{first} is not there, or cannot be run"
    if script.name == "node":  # with arguments it is `groat node`
        return program_problem(get_command(groat), ["node", *rest])
    return script_problem(script, rest)


def program_problem(command: Any, words: list[str]) -> str | None:
    """Return the first subcommand or flag that a program does not have."""
    flags = {flag: option for option in command.params for flag in option.opts}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        flag = word.split("=")[0]
        if flag in {"--help", "--json"} | flags.keys():
            takes_value = "=" not in word and not getattr(flags.get(flag), "is_flag", True)
            del rest[: 1 if takes_value else 0]
        elif word.startswith("-") and word != "-":
            return f"{command.name} has no {flag}"
        elif hasattr(command, "commands"):
            part = command.commands.get(word)
            return program_problem(part, rest) if part else f"{command.name} has no {word}"
    return None


def script_problem(script: Path, words: list[str]) -> str | None:
    """Return the first flag that a script does not read, or the first missing test."""
    library = ROOT / "scripts/lib" / f"{script.name}.py"
    text = script.read_text() + (library.read_text() if library.exists() else "")
    for word in words:
        flag = word.split("=")[0]
        known = flag in PYTEST_FLAGS if script.name == "test" else flag in text
        if flag.startswith("-") and not known:
            return f"{script.name} has no {flag}"
        if word.startswith("tests/") and not (ROOT / word).exists():
            return f"there is no {word}"
    return None


def test_the_pages_have_commands():
    assert len(GIVEN) >= COUNT_MIN
    assert {given.words[0] for given in GIVEN} > {"scripts/test", "groat", ".venv/bin/groat-wallet"}


@pytest.mark.parametrize("given", GIVEN, ids=str)
def test_a_command_of_a_page_exists_with_its_flags(given):
    assert problem(given.words) is None


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("scripts/nosuch", "scripts/nosuch is not there, or cannot be run"),
        ("scripts/bench_api --nosuch 1 # why", "bench_api has no --nosuch"),
        ("scripts/test tests/nosuch.py -k x", "there is no tests/nosuch.py"),
        ("scripts/test --nosuch", "test has no --nosuch"),
        ("scripts/node --network regtest --nosuch", "node has no --nosuch"),
        (".venv/bin/groat node --nosuch", "node has no --nosuch"),
        ("groat bench miner --seconds 1 --build=sha --nosuch", "miner has no --nosuch"),
        ("groat bench nosuch > x", "bench has no nosuch"),
        ("groat-wallet -w shop nosuch", "groat-wallet has no nosuch"),
        ("python -m chain.nosuch", "there is no module chain.nosuch"),
    ],
)
def test_a_wrong_command_is_found(line, wrong):
    assert problem(words_of(line)) == wrong


def test_check_names_the_command_that_formats_what_it_refuses(tmp_path):
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    for name in ("scripts/check", "scripts/environment", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    file = tmp_path / "odd.py"
    file.write_text("a  =  1\n")
    done = subprocess.run([scripts / "check"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    hint = "scripts/check: to format the files: "
    [command] = [line for line in done.stderr.splitlines() if line.startswith(hint)]
    subprocess.run(shlex.split(command.removeprefix(hint)), cwd=tmp_path, check=True)
    assert file.read_text() == "a = 1\n"
