"""What the tests start ends with them, and what they store stays out of the user's folders."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chain.settings import load_settings
from tests.patience import PATIENCE_S

_PARENT = """
import signal, subprocess, sys, time
from tests.postgresql_server import end_with_us
signal.signal(signal.SIGINT, signal.SIG_DFL)  # what a shell starts behind it ignores SIGINT
child = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL)
end_with_us(child.pid)
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="waits by Linux's pidfd_open")
def test_a_server_of_the_tests_ends_when_they_are_terminated():
    with subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE) as parent:
        pid = int(parent.stdout.readline())
        child = os.pidfd_open(pid)
        parent.send_signal(signal.SIGTERM)
        parent.wait(PATIENCE_S)
    ready, _, _ = select.select([child], [], [], PATIENCE_S)
    os.close(child)
    assert ready


def test_a_test_without_a_datadir_does_not_use_the_users():
    assert not load_settings({}).folder.is_relative_to(Path.home() / ".local")
