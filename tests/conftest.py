"""What every test shares: hypothesis profiles, the gate on time, the folder of test vectors."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, find, settings
from hypothesis import strategies as st

from chain.service.debug_log import set_active
from tests.cpu_gate import excess, processor_time
from tests.migrated import upgrade_by_copy

_SLOW_MACHINE = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("quick", max_examples=30, derandomize=True, **_SLOW_MACHINE)
settings.register_profile("ci", max_examples=200, derandomize=True, **_SLOW_MACHINE)
settings.register_profile("deep", max_examples=5000, **_SLOW_MACHINE)
_PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "quick")
settings.load_profile(_PROFILE)

# Modules and collected tests are some million objects that all stay: looking through them for
# garbage, again and again, took a twentieth of the run.
_GARBAGE_THRESHOLDS = (20_000, 20, 20)
gc.set_threshold(*_GARBAGE_THRESHOLDS)

_DEFAULT = Path(__file__).resolve().parents[2] / "shared" / "vectors"


def pytest_addoption(parser: pytest.Parser) -> None:
    help_text = "fail a test that takes more processor time, if it is not marked slow or bench"
    parser.addoption("--cpu-gate", type=float, metavar="SECONDS", help=help_text)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Make what counts for no test, and leave what is there out of every later collection."""
    if session.config.getoption("--cpu-gate") is not None:
        find(st.text(), lambda _: True)  # hypothesis's table of Unicode, once in a new clone
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fail a test that passed but took long; more examples than in a quick run may take longer."""
    started = processor_time()
    result = yield
    is_meant_long = any(item.get_closest_marker(mark) for mark in ("slow", "bench"))
    limit_s = item.config.getoption("--cpu-gate")
    if limit_s is not None and _PROFILE == "quick" and not is_meant_long:
        too_long = excess(processor_time() - started, limit_s)
        if too_long:
            pytest.fail(too_long, pytrace=False)
    return result


@pytest.fixture(scope="session", autouse=True)
def _own_data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a test runs without --datadir, in this process or another, stays out of the user's."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _migrated_once() -> Iterator[None]:
    """New databases are copies of one that was migrated; see tests/migrated.py."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("chain.ledger.ledger.upgrade", upgrade_by_copy)
        yield


@pytest.fixture
def debug_log_off() -> Iterator[None]:
    """No debug category is on before and after the test; the test may turn some on."""
    set_active(())
    yield
    set_active(())


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The folder of public test vectors; without it the test is skipped."""
    folder = Path(os.environ.get("GROAT_VECTORS", _DEFAULT))
    if not folder.is_dir():
        pytest.skip("no test vectors: set GROAT_VECTORS to their folder")
    return folder
