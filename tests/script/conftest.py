"""The folder of script vectors: the default run goes without it, the slow run does not."""

import os
from pathlib import Path

import pytest

_DEFAULT = Path(__file__).resolve().parents[3] / "shared" / "vectors"


@pytest.fixture
def script_vectors(request: pytest.FixtureRequest) -> Path:
    """Vectors for the engine; a slow test without them fails, any other is skipped."""
    folder = Path(os.environ.get("GROAT_VECTORS", _DEFAULT)) / "script"
    if not folder.is_dir():
        reason = f"no script vectors in {folder}: set GROAT_VECTORS to the folder that has them"
        if request.node.get_closest_marker("slow"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder
