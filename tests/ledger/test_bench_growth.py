"""The benchmark of growth runs to its end: it writes rows by hand, which the schema may outgrow."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "lib" / "bench_growth.py"


@pytest.mark.slow
def test_the_benchmark_of_growth_gives_every_figure_for_each_size():
    command = [sys.executable, str(SCRIPT), "--headers", "40", "--rounds", "1", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    figures = json.loads(done.stdout)
    assert figures.pop("headers") == [40]
    slopes = {name for name in figures if name.endswith("_bytes_a_header")}
    assert len(slopes) == 6
    assert all(len(values) == 1 for values in figures.values())
    assert {"start_cpu_s", "deep_getheaders_us", "ahead_header_us", "node_rss_mb"} <= set(figures)
