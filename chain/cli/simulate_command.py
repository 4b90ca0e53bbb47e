"""`groat simulate`: a network of many nodes in one thread."""

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from chain.cli.command_flags import Force, Json
from chain.cli.command_output import (
    EXIT_FAILED,
    EXIT_USAGE,
    failing,
    show_result,
    working,
    write_error,
)
from chain.cli.result_text import scenario_lines, scenarios_verdict, simulation_lines
from chain.primitives.numbers import counted
from chain.regular_file import refuse_to_overwrite
from chain.simulator.choices import NODES_MAX, SCENARIOS

if TYPE_CHECKING:
    from chain.simulator.scenarios.catalogue import ScenarioRequest


def _scenarios(incomplete: str) -> list[str]:
    return [name for name in (*SCENARIOS, "all") if name.startswith(incomplete)]


def simulate(  # noqa: PLR0913
    *,
    nodes: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=2,
            max=NODES_MAX,
            help=f"How many, 2 to {NODES_MAX}; default 20, or the scenario's.",
        ),
    ] = None,
    blocks: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            max=100_000,
            help="How many are mined; default 20, or the scenario's.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Equal seeds give equal runs.")] = 1,
    scenario: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"One of {', '.join(SCENARIOS)}, or all.",
            autocompletion=_scenarios,
        ),
    ] = None,
    small: Annotated[
        bool, typer.Option("--small", help="The scenario's small size: a few seconds.")
    ] = False,
    shrink: Annotated[
        bool, typer.Option("--shrink", help="If one fails, look for a smaller run that fails.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Plot how blocks spread.")
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Simulate a network of many nodes in one thread, and show how blocks spread.

    With --scenario, run one with faults or an attack, and show whether its requirements hold.
    """
    from chain.simulator.plot import draw_spread
    from chain.simulator.scenarios.catalogue import ScenarioRequest
    from chain.simulator.simulate import simulate as run_simulation

    if scenario is not None:
        if plot is not None:
            raise typer.BadParameter("--plot and --scenario exclude each other")
        _play(
            scenario,
            ScenarioRequest(nodes, blocks, seed, small=small, shrinks=shrink),
            as_json=as_json,
        )
        return
    if small or shrink:
        raise typer.BadParameter(f"--{'small' if small else 'shrink'} needs --scenario NAME")
    if blocks == 0:
        raise typer.BadParameter("--blocks: must be 1 or more without --scenario")
    if plot is not None:
        _check_plot(plot, force=force)
    nodes, blocks = nodes or 20, blocks or 20
    with working(f"simulating {counted(nodes, 'node')}, {counted(blocks, 'block')}"):
        report, spread_ms = run_simulation(nodes, blocks, seed)
    if plot is not None:
        with failing():
            draw_spread(spread_ms, plot)
    show_result(dataclasses.asdict(report), simulation_lines, as_json=as_json)
    if not report.converged:
        raise typer.Exit(EXIT_FAILED)


def _check_plot(plot: Path, *, force: bool) -> None:
    """Refuse a file that cannot be written, before the simulation takes its time."""
    if not plot.absolute().parent.is_dir():
        raise typer.BadParameter(f"--plot: there is no folder {plot.absolute().parent}")
    with failing():
        refuse_to_overwrite(plot, force=force)


def _play(names: str, request: "ScenarioRequest", *, as_json: bool) -> None:
    """Run one scenario or all, one line or table for each; fail if any fails."""
    from chain.simulator.scenarios.catalogue import ScenarioError, play_all

    played: list[str] = []
    failed: list[str] = []
    try:
        outcomes = play_all(names, request)
        while True:
            with working(f"simulating {names}, run {len(played) + 1}"):
                outcome = next(outcomes, None)
            if outcome is None:
                break
            show_result(dataclasses.asdict(outcome), scenario_lines, as_json=as_json)
            played.append(outcome.scenario)
            if not outcome.holds:
                failed.append(outcome.scenario)
    except ScenarioError as error:
        write_error(error)
        raise typer.Exit(EXIT_USAGE) from None
    if not as_json:
        sys.stdout.write(scenarios_verdict(played, failed) + "\n")
    if failed:
        raise typer.Exit(EXIT_FAILED)
