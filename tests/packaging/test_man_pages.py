"""The man pages are those of the present commands, and are sound."""

import re
import subprocess
import sys

import pytest
from typer.main import get_command

from chain.settings import variable_names
from scripts.lib import man_pages
from tests.packaging.places import PACKAGING, needs
from wallet.command_line import app as groat_wallet

PAGES = sorted((PACKAGING / "man").glob("*.1"))
DATE = 'missing date, using "": TH'  # a date would change without the page


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return man_pages.man_pages()


def test_the_pages_in_packaging_are_those_of_the_commands(pages):
    there = {page.name: page.read_text() for page in PAGES}
    assert there == pages, "run scripts/man_pages --write"


def test_every_command_has_a_page_with_all_its_flags(pages):
    send = get_command(groat_wallet).commands["send"]
    flags = {flag for option in send.params for flag in option.opts if flag.startswith("-")}
    assert len(flags) >= 12
    shown = pages["groat-wallet-send.1"].replace("\\-", "-")
    assert [flag for flag in flags if f"\\fB{flag}\\fR" not in shown] == []
    assert {"groat.1", "groat-node.1", "groat-network-new.1", "groat-wallet-psbt-sign.1"} < set(
        pages
    )


@pytest.mark.parametrize("command", sorted(man_pages.SERVICES))
def test_every_variable_of_a_page_is_a_setting(command, pages):
    page = pages[f"{command.replace(' ', '-')}.1"]
    named = set(re.findall(r"\bGROAT_[A-Z0-9_]+", page))
    assert named
    assert named <= set(variable_names().values())
    if command == "groat node":
        assert named == set(variable_names().values())


@needs("mandoc")
def test_mandoc_finds_no_fault_in_the_pages():
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", *map(str, PAGES)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert [line for line in done.stdout.splitlines() if DATE not in line] == []


@needs("man", "groff")
@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_man_shows_the_pages_without_warnings(page):
    """Also on a narrow terminal, where long words would not fit."""
    done = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(page)],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANWIDTH": "80"},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


def test_a_wrong_flag_of_the_script_ends_in_one_line(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["man_pages", "--wirte"])
    with pytest.raises(SystemExit, match=r"^usage: scripts/man_pages \[--write\]$"):
        man_pages.main()


def test_the_name_of_a_page_is_the_first_sentence_alone(pages):
    names = {page.split(".SH NAME\n")[1].split("\n")[0] for page in pages.values()}
    assert len(names) == len(pages)
    assert [name for name in names if ". " in name.split(" - ")[-1]] == []
