"""What every test shares: hypothesis profiles and the folder of public test vectors."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

_SLOW_MACHINE = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("quick", max_examples=30, derandomize=True, **_SLOW_MACHINE)
settings.register_profile("ci", max_examples=200, derandomize=True, **_SLOW_MACHINE)
settings.register_profile("deep", max_examples=5000, **_SLOW_MACHINE)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

_DEFAULT = Path(__file__).resolve().parents[2] / "shared" / "vectors"


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The folder of public test vectors; without it the test is skipped."""
    folder = Path(os.environ.get("GROAT_VECTORS", _DEFAULT))
    if not folder.is_dir():
        pytest.skip("no test vectors: set GROAT_VECTORS to their folder")
    return folder
