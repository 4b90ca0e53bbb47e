"""Tests wait for events long enough for a busy machine: how long is in tests/patience.py."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
SIMULATED = {"gossip", "simulator"}  # folders whose clock is simulated
PAUSE_S_MAX = 1  # of a wait for what must not come
EVENT_S_MIN = 20  # of a wait for what must come
WAITING = {"get", "join", "result", "settimeout", "timeout", "wait", "wait_for", "wait_until"}
KEYWORDS = {"timeout", "timeout_s"}
WAITS_MIN = 40  # fewer would mean that the test does not find them


def waits(tree: ast.AST) -> Iterator[tuple[int, float]]:
    """Yield the line and the seconds of each wait that has a number for them."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        given = [keyword.value for keyword in node.keywords if keyword.arg in KEYWORDS]
        if waited_for(node) in WAITING:
            given += node.args[-1:]
        for value in given:
            if isinstance(value, ast.Constant) and type(value.value) in {int, float}:
                yield node.lineno, value.value


def waited_for(node: ast.Call) -> str:
    """Return the name of the function, or of the one that it calls in a thread."""
    function = node.func
    if isinstance(function, ast.Attribute) and function.attr == "to_thread":
        function = node.args[0]
    return ast.unparse(function).rpartition(".")[2]


def test_a_wait_is_short_for_what_must_not_come_and_long_for_what_must():
    found, wrong = 0, []
    for path in sorted(TESTS.rglob("*.py")):
        if path.relative_to(TESTS).parts[0] in SIMULATED:
            continue
        for line, seconds in waits(ast.parse(path.read_text())):
            found += 1
            if PAUSE_S_MAX < seconds < EVENT_S_MIN:
                wrong.append(f"{path.relative_to(TESTS)}:{line} waits {seconds} s")
    assert wrong == [], "use PATIENCE_S"
    assert found >= WAITS_MIN


@pytest.mark.parametrize(
    ("call", "seconds"),
    [
        ("done.wait(5)", [5]),
        ("await asyncio.to_thread(done.wait, 5)", [5]),
        ("asyncio.wait_for(task, 5.0)", [5.0]),
        ("wait_until(lambda: held, 'what', timeout_s=5)", [5]),
        ("subprocess.run(command, timeout=5)", [5]),
        ("asyncio.timeout(PATIENCE_S)", []),
        ("asyncio.sleep(5)", []),
    ],
)
def test_a_wait_with_a_number_of_seconds_is_found(call, seconds):
    assert [found for _, found in waits(ast.parse(f"async def f(): {call}"))] == seconds
