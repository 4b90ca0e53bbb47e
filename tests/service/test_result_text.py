"""What import, check and simulate print: words and tables, no Python, the verdict last."""

import dataclasses

import pytest

from chain.cli.command_output import show
from chain.cli.result_text import (
    check_lines,
    export_lines,
    import_lines,
    scenario_lines,
    scenarios_verdict,
    simulation_lines,
)
from chain.ledger.offline.checking import CheckResult
from chain.simulator.scenarios.catalogue import ScenarioResult
from chain.simulator.simulate import Report

TIP = "ab" * 32
IMPORT = {
    "blocks": 1234,
    "transactions": 2_000_000,
    "seconds": 61.27,
    "transactions_per_second": 32642.4,
    "tip": TIP,
    "height": 1234,
    "refused": 0,
    "first_refusal": None,
    "waiting": 0,
}


def checked(**values):
    found = dataclasses.asdict(CheckResult(height=3, blocks=3, transactions=4, coins=5, **values))
    found["supply_grains"] = found.pop("supply")
    return found


def test_a_value_that_is_missing_is_a_dash(capsys):
    show({"first_refusal": None, "waiting": 0, "is_syncing": False}, as_json=False)
    lines = ["first refusal  -", "waiting        0", "is syncing     no"]
    assert capsys.readouterr().out.splitlines() == lines


def test_an_import_says_what_it_took_and_its_verdict_last():
    assert list(import_lines(IMPORT)) == [
        "imported 1,234 blocks, 2,000,000 transactions, in 61.3 s (32,642 transactions/s)",
        "height            1,234",
        f"tip               {TIP}",
        "every block of the file is in the ledger",
    ]
    nothing = list(import_lines(IMPORT | {"blocks": 0, "refused": 1}))
    assert nothing == [
        "nothing imported: the file has no new block that is valid",
        "height            1,234",
        f"tip               {TIP}",
    ]
    again = list(import_lines(IMPORT | {"blocks": 0}))
    assert again[0] == "nothing imported: the file has no block that the ledger lacks"
    assert len(again) == len(nothing)
    assert "left out 1 block, whose parents are missing" in list(
        import_lines(IMPORT | {"waiting": 1})
    )
    assert next(iter(export_lines({"blocks": 1, "height": 1, "tip": TIP}))) == "exported 1 block"


def test_a_check_ends_with_its_verdict_and_names_problems():
    lines = list(check_lines(checked(supply=150_000_001)))
    assert lines[0] == "replayed 3 blocks, 4 transactions"
    assert "supply            1.50000001 GROAT" in lines
    assert lines[-1] == "the ledger is sound"
    damaged = list(check_lines(checked(problems=["a", "b\x1b"], problem_count=5)))
    assert damaged[-3] == "problem: a"
    assert "\x1b" not in damaged[-2]
    assert damaged[-1] == "and 3 more"
    assert "the ledger is sound" not in damaged


@pytest.mark.parametrize(
    ("converged", "last"),
    [
        (True, "all nodes are on one chain at the end"),
        (False, "the nodes do not agree at the end"),
    ],
)
def test_a_simulation_is_a_table_with_units_and_a_verdict(converged, last):
    numbers = {field.name: 1 for field in dataclasses.fields(Report)}
    report = Report(**numbers | {"converged": converged, "trace": TIP, "coverage": 0.5})
    lines = list(simulation_lines(dataclasses.asdict(report)))
    assert lines[-1] == last
    assert "reached           50.0% of the nodes" in lines
    assert "delay of a block  p50 1 ms, p90 1 ms, p99 1 ms" in lines


def test_a_scenario_has_a_line_for_each_figure_and_broken_requirement():
    result = ScenarioResult("nat", 20, 1, 7, holds=False, broken=["too slow"], figures={"a": 1.5})
    assert list(scenario_lines(dataclasses.asdict(result))) == [
        "nat: FAILED (20 nodes, 1 block, seed 7)",
        "  broken: too slow",
        "  a  1.5",
    ]
    whole = dataclasses.replace(result, holds=True, broken=[], figures={})
    assert list(scenario_lines(dataclasses.asdict(whole))) == [
        "nat: holds (20 nodes, 1 block, seed 7)"
    ]
    assert scenarios_verdict(["a"], []) == "the scenario holds"
    assert scenarios_verdict(["a", "b"], []) == "all 2 runs hold"
    assert scenarios_verdict(["a", "b"], ["b"]) == "1 of 2 runs failed: b"
