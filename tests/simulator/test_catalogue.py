"""Every scenario holds at its small size; a failing one can be replayed and made smaller."""

import json

import pytest
from typer.testing import CliRunner

from chain.cli.commands import app
from chain.simulator.scenarios import catalogue
from chain.simulator.scenarios.catalogue import (
    CATALOGUE,
    ScenarioEntry,
    ScenarioRequest,
    play,
    play_all,
)
from chain.simulator.scenarios.outcome import Findings, Size

QUICK = {  # under a second each or so
    "nat": CATALOGUE["nat"].small,
    "sync": Size(6, 600),
    "clocks": CATALOGUE["clocks"].small,
    "censorship": Size(6, 0),
    "byzantine": CATALOGUE["byzantine"].small,
}
LENGTHY = [name for name, entry in CATALOGUE.items() if QUICK.get(name) != entry.small]


@pytest.mark.parametrize("name", QUICK)
def test_what_must_hold_holds(name):
    outcome = play(name, QUICK[name])
    assert outcome.holds, outcome


@pytest.mark.slow
@pytest.mark.parametrize("name", LENGTHY)
def test_what_must_hold_in_longer_runs_holds(name):
    outcome = play(name, CATALOGUE[name].small)
    assert outcome.holds, outcome


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 12))
def test_no_mutated_message_makes_a_node_fail(seed):
    outcome = play("byzantine", Size(20, 10, seed))
    assert outcome.holds, outcome


def fails_from_ten_nodes_on(size: Size) -> Findings:
    found = Findings()
    found.at_most("nodes", size.nodes, 9)
    return found


def test_a_failing_run_is_shrunk_to_the_smallest_that_fails(monkeypatch):
    listed = ScenarioEntry(fails_from_ten_nodes_on, Size(100, 8), Size(50, 8), Size(3, 1))
    monkeypatch.setitem(catalogue.CATALOGUE, "odd", listed)
    *_, last = play_all("odd", ScenarioRequest(None, None, 7, small=False, shrinks=True))
    assert (last.nodes, last.blocks, last.seed, last.holds) == (12, 1, 7, False)


def test_a_replayed_run_is_the_same():
    assert play("byzantine", Size(10, 3, 5)) == play("byzantine", Size(10, 3, 5))


@pytest.mark.parametrize(
    ("flags", "status", "said"),
    [
        ("--scenario byzantine --small --json --nodes 10 --blocks 2", 0, '"holds": true'),
        ("--scenario weather", 2, "no scenario is called weather"),
        ("--scenario nat --nodes 3", 2, "nat takes 20 to 1024 nodes"),
        ("--scenario nat --plot x.svg", 2, "--plot and --scenario exclude each other"),
        ("--small", 2, "--small needs --scenario NAME"),
        ("--shrink", 2, "--shrink needs --scenario NAME"),
        ("--blocks 0", 2, "--blocks: must be 1 or more without --scenario"),
    ],
)
def test_the_command_runs_scenarios_and_says_what_it_cannot(flags, status, said):
    done = CliRunner().invoke(app, ["simulate", *flags.split()])
    assert done.exit_code == status, done.output
    assert said in done.output
    if status == 0:
        assert json.loads(done.stdout)["scenario"] == "byzantine"


@pytest.fixture(scope="module")
def _matplotlib():
    """Importing it takes most of a test's time."""
    for module in ("matplotlib.figure", "matplotlib.backends.backend_svg"):
        pytest.importorskip(module)


@pytest.mark.usefixtures("_matplotlib")
def test_blocks_that_spread_are_drawn(tmp_path):
    file = tmp_path / "spread.svg"
    done = CliRunner().invoke(
        app, ["simulate", "--nodes", "5", "--blocks", "1", "--plot", str(file)]
    )
    assert done.exit_code == 0, done.output
    assert "<svg" in file.read_text()


@pytest.mark.usefixtures("_matplotlib")
def test_a_file_that_cannot_be_written_is_named(tmp_path):
    file = tmp_path / "no" / "spread.svg"
    done = CliRunner().invoke(
        app, ["simulate", "--nodes", "5", "--blocks", "1", "--plot", str(file)]
    )
    assert done.exit_code == 2, "before the simulation, not after it"
    assert "there is no folder" in done.output
