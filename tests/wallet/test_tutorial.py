"""docs/tutorial.md is true: every command in it runs, in order, and prints what it says.

What differs from run to run (ids, addresses, times, words, fees by a few grains) is compared by its
shape. `python -m tests.wallet.test_tutorial` writes the real output of a new run into the document.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pytest

from tests.end_to_end.processes import CLEAN, NodeProcess

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "tutorial.md"
NODE_URL = "http://127.0.0.1:39445"  # what the document says; the test's node takes a free port
USUAL_P2P = "127.0.0.1:39444"
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
SHAPES = [
    (r"cHNidP[A-Za-z0-9+/=]+", "PSBT"),
    (r"\b[0-9a-f]{64}(:\d+)?\b", "TXID"),
    (r"\bbcrt1q[a-z0-9]+\b", "ADDRESS"),
    (r"tpub[A-Za-z0-9]+", "TPUB"),
    (r"\[[0-9a-f]{8}/", "[FINGERPRINT/"),
    (r"#[a-z0-9]{8}\b", "#CHECKSUM"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", "DATE"),
    (r"(?m)^ *(?:[a-z]+ ){11}[a-z]+$", "WORDS"),
    (r"[-+]?\d+\.\d{8}\b", "AMOUNT"),
    (r"(127\.0\.0\.1|0\.0\.0\.0):\d+", "HOST"),
    (r"[─━]+", "-"),
    (r"[ \t]+", " "),
]


CUT_LINES_MIN = 10  # so many like the one before are an ellipsis in the document


@dataclass
class Step:
    """One command of the document and the lines below it."""

    command: str
    output: str


def steps(text):
    found = []
    for block in BLOCK.findall(text):
        for part in re.split(r"(?m)^\$ ", block)[1:]:
            command, _, output = part.partition("\n")
            found.append(Step(command, output))
    return found


def shape(output):
    for pattern, name in SHAPES:
        output = re.sub(pattern, name, output)
    lines = [line.strip() for line in output.strip().splitlines()]
    shown = []
    for _, alike in groupby(lines, lambda line: line.rstrip(",")):
        first, *others = alike
        shown += [first, "..."] if len(others) >= CUT_LINES_MIN else [first, *others]
    return shown


class Reader:
    """Somebody who types the document's commands into a shell, and says y when asked."""

    def __init__(self, folder):
        self.folder = folder
        self.node = NodeProcess(folder / "groat-tutorial")
        programs = folder / "bin"
        programs.mkdir()
        for name, module in (("groat", "chain"), ("groat-wallet", "wallet")):
            program = programs / name
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
            program.chmod(0o755)
        self.variables = folder / "variables"
        path = f"{programs}{os.pathsep}{CLEAN['PATH']}"
        more = {"PATH": path, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "PWD": str(folder)}
        self.environment = CLEAN | more
        self.variables.write_text("")

    def run(self, command):
        if command.startswith("groat node"):
            self.node.start()
            with self.variables.open("a") as file:
                file.write(f"export GROAT_WALLET_NODE={self.node.api}/api\n")
            return "".join(self.node.output)
        command = command.replace(NODE_URL, self.node.api)
        script = f"set -a; . {self.variables}; exec 2>&1\n{command}\n"
        script += f"code=$?; export -p > {self.variables}; exit $code"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self.environment,
            input="y\n",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (command, done.stdout)
        assert "Traceback" not in done.stdout
        output = done.stdout.replace("[y/N] ", "[y/N] y\n").replace(str(self.folder), "~")
        return "\n".join(line.rstrip() for line in output.splitlines())


@contextmanager
def reading(folder):
    reader = Reader(folder)
    try:
        yield reader
    finally:
        reader.node.stop()


@pytest.mark.net
@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("bash") and shutil.which("curl")), reason="no bash or curl")
def test_every_command_of_the_tutorial_does_what_it_says(tmp_path):
    documented = steps(DOCUMENT.read_text())
    assert len(documented) > 20
    with reading(tmp_path) as reader:
        for step in documented:
            assert shape(reader.run(step.command)) == shape(step.output), step.command


def test_the_tutorial_says_how_to_remove_all_that_it_leaves_behind():
    text = DOCUMENT.read_text()
    commands = [step.command for step in steps(text)]
    made = {name for command in commands for name in re.findall(r"> (\S+)", command)}
    made |= set(re.findall(r"\$PWD/([\w-]+)", text))
    for command in commands:
        if command.startswith("rm ") and "$" not in command:
            made -= set(command.split())
    assert made == {"groat-tutorial", "payment.psbt", "signed.psbt"}
    (removed,) = re.findall(r"```sh\nrm -r (.*)\n", text)
    assert set(removed.split()) == made
    names = set(re.findall(r"\b([A-Z_]+)=", "\n".join(commands)))
    (unset,) = re.findall(r"\nunset (.*)\n", text)
    assert set(unset.split()) == names


def test_what_the_tutorial_leaves_in_a_clone_is_ignored_by_git():
    ignored = set((ROOT / ".gitignore").read_text().split())
    assert {"groat-tutorial/", "*.psbt"} <= ignored


def record(text, reader):
    """Return the document with the output of a new run."""

    def block(match):
        lines = ["```console"]
        for step in steps(match[0]):
            output = reader.run(step.command).strip("\n")
            for port, usual in ((reader.node.p2p, USUAL_P2P), (reader.node.api, NODE_URL)):
                output = output.replace(port or usual, usual)
            lines += [f"$ {step.command}", *([output] if output else [])]
        return "\n".join([*lines, "```"])

    return BLOCK.sub(block, text)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name, reading(Path(name)) as at_work:
        DOCUMENT.write_text(record(DOCUMENT.read_text(), at_work))
