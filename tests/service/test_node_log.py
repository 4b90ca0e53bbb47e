"""The log never fails the node and never floods (H4, F7)."""

import io
import logging
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from chain.service.node_log import (
    LINES_PER_MINUTE_MAX,
    NOT_SHOWN,
    TRACEBACKS_PER_MINUTE_MAX,
    NodeLog,
    _File,
    _Screen,
)


class Log:
    """A node's log into a string and a file, under a clock that is set."""

    def __init__(self, folder: Path, screen: io.TextIOBase | None = None) -> None:
        self.screen = screen or io.StringIO()
        self.path = folder / "node.log"
        self.now = 0.0
        self.file = _File(self.path)
        self.handler = NodeLog(_Screen(self.screen), self.file, clock=lambda: self.now)
        self.logger = logging.Logger("test")
        self.logger.addHandler(self.handler)

    def say(self, text: str, **how: object) -> None:
        self.logger.warning("%s", text, **how)

    @property
    def shown(self) -> list[str]:
        return self.screen.getvalue().splitlines()

    @property
    def filed(self) -> list[str]:
        return self.path.read_text().splitlines()


@pytest.fixture
def log(tmp_path):
    made = Log(tmp_path)
    yield made
    made.handler.close()


def test_a_line_goes_to_both_places_unless_it_is_shown_by_others(log):
    log.say("one")
    log.say("two", extra=NOT_SHOWN)
    assert [line.rpartition(": ")[2] for line in log.shown] == ["one"]
    assert [line.rpartition(": ")[2] for line in log.filed] == ["one", "two"]


@pytest.mark.parametrize(
    ("how", "most"),
    [
        ({}, LINES_PER_MINUTE_MAX),
        ({"exc_info": ValueError("x")}, TRACEBACKS_PER_MINUTE_MAX),
        ({"extra": {"per_minute_max": 1}}, 1),
    ],
    ids=["lines", "tracebacks", "one a minute"],
)
def test_what_repeats_itself_is_cut_short_for_a_minute(log, how, most):
    for number in range(most + 9):
        log.say(f"again {number}", **how)
    log.now = 59.9
    log.say("again and again", **how)
    said = [line for line in log.filed if "again" in line]
    assert len(said) == most
    assert said[-1].endswith("(more like this are left out for a minute)")
    log.logger.warning("of another place")
    assert "of another place" in log.shown[-1]
    log.now = 60.0
    log.say("once more", **how)
    assert "once more" in log.path.read_text()


def test_a_log_file_that_cannot_grow_is_reported_once_and_used_again_later(log, monkeypatch):
    log.say("before")
    full = Path("/dev/full")
    monkeypatch.setattr(log.file, "baseFilename", str(full))
    log.file.stream.close()
    log.file.stream = full.open("w")
    for number in range(5):
        log.say(f"missing {number}")
    assert [line for line in log.shown if "cannot write" in line] == [
        next(line for line in log.shown if line.endswith("/dev/full: No space left on device"))
    ]
    assert len(log.shown) == 7
    monkeypatch.undo()
    log.say("after")
    assert [line.partition("test: ")[2] or line for line in log.filed[:2]] == ["before", "after"]
    assert log.filed[2].endswith(f"5 lines before this one could not be written to {log.path}")


class _Broken(io.StringIO):
    def write(self, _text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize("kind", ["broken", "closed"])
def test_a_standard_error_that_is_gone_has_no_effect(tmp_path, capsys, kind):
    screen = _Broken() if kind == "broken" else io.StringIO()
    log = Log(tmp_path, screen)
    if kind == "closed":
        screen.close()
    for number in range(3):
        log.say(f"line {number}")
    log.handler.close()
    assert [line for line in log.filed if "cannot write to standard error" in line] != []
    assert len(log.filed) == 4
    assert capsys.readouterr().err == ""


def test_a_mistake_in_a_logging_call_has_no_effect(log):
    for _ in range(LINES_PER_MINUTE_MAX + 1):
        log.logger.warning("%d", "no number")
    assert "Traceback" not in log.screen.getvalue()


ENDING = """
import logging, resource, sys
from pathlib import Path
from chain.service.node_log import configure_logging
configure_logging(Path(sys.argv[1]))
logging.warning("before")
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
for _ in range(50):
    logging.warning("x" * 50)
"""


@pytest.mark.net
def test_a_process_whose_log_is_full_ends_without_a_word_of_logging_itself(tmp_path):
    assert resource.RLIMIT_FSIZE is not None
    command = [sys.executable, "-c", ENDING, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    lines = done.stderr.splitlines()
    assert len([line for line in lines if "node.log: File too large" in line]) == 1
    assert len(lines) == 52
