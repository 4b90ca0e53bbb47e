"""The gate of the default run fails a test that takes long, and no other."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOYS = """
import time
import pytest


def work():
    began = time.process_time()
    while time.process_time() - began < 0.2:
        pass


def test_works_long():
    work()


@pytest.mark.slow
def test_is_marked():
    work()


@pytest.fixture
def long_made():
    work()


def test_has_a_long_fixture(long_made):
    pass


def test_waits():
    time.sleep(0.1)


def test_fails_of_itself():
    work()
    raise LookupError("its own failure")
"""


@pytest.mark.net
def test_only_a_test_that_works_long_itself_fails_at_the_gate(tmp_path):
    toys = tmp_path / "test_toys.py"
    toys.write_text(TOYS)
    assert outcomes(toys, "--cpu-gate=0.02") == {
        "test_works_long": "failed of its time",
        "test_is_marked": "passed",
        "test_has_a_long_fixture": "passed",
        "test_waits": "passed",
        "test_fails_of_itself": "failed",
    }
    assert outcomes(f"{toys}::test_works_long") == {"test_works_long": "passed"}


def outcomes(toys: object, *options: str) -> dict[str, str]:
    """Run a file of tests in a pytest of its own, and return how each ended."""
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    command += ["-c", str(ROOT / "pyproject.toml"), "-m", "", "-rA", *options, str(toys)]
    environment = {
        k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "HYPOTHESIS_"))
    }
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    ended = {}
    for line in done.stdout.splitlines():
        word, _, rest = line.partition(" ")
        if word in {"PASSED", "FAILED"} and "::" in rest:
            name, _, why = rest.partition("::")[2].partition(" - ")
            of_time = why.startswith(("Failed: the test took", "the test took"))
            ended[name] = word.lower() + (" of its time" if of_time else "")
    assert ended, done.stdout + done.stderr
    return ended
