"""`groat bench`: the speed of this machine."""

import dataclasses
import time
from typing import Annotated

import typer

from chain.cli.command_flags import File, Json, Threads
from chain.cli.command_output import failing, show
from chain.errors import UsageError
from chain.help_text import COMMON_FLAGS
from chain.near_names import did_you_mean
from chain.network_file import network_names
from chain.settings import load_settings
from chain.usage import Command, Group

bench_app = typer.Typer(cls=Group, no_args_is_help=True, help="Measure speed on this machine.")


def _builds(incomplete: str) -> list[str]:
    from chain.mining.builds import BUILDS

    return [build.name for build in BUILDS if build.name.startswith(incomplete)]


def _check_build(name: str) -> None:
    """Raise UsageError if there is no build of this name; one may still not run here."""
    from chain.mining.builds import BUILDS

    names = [build.name for build in BUILDS]
    if name not in names:
        near = did_you_mean(name, names)
        raise UsageError(f"--build {name[:100]!r} is not one of {', '.join(names)}{near}")


@bench_app.command(cls=Command, name="import")
def bench_import(
    *,
    file: File,
    network: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE.toml",
            help="The network of the file's blocks.",
            autocompletion=network_names,
            rich_help_panel=COMMON_FLAGS,
        ),
    ] = "regtest",
    as_json: Json = False,
) -> None:
    """Time the import of a block file, with full validation, into a new ledger on disk."""
    with failing():
        settings = load_settings({"network": network})
    from chain.service import offline

    with failing():
        show(offline.bench_import(settings, file), as_json=as_json)


@bench_app.command(cls=Command, name="miner")
def bench_miner_(
    *,
    threads: Threads = 1,
    seconds: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, max=3600, help="For how long.")
    ] = 3.0,
    build: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="avx512, sha, avx2, plain; default the machine's fastest.",
            autocompletion=_builds,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Time the nonce search, and compare with hashlib: a plain loop and one from the midstate."""
    from chain.mining.bench import bench_miner
    from chain.mining.kernel import best_kernel, checked_kernel

    with failing():
        if build is not None:
            _check_build(build)
        started = time.perf_counter()
        kernel = best_kernel() if build is None else checked_kernel(build)
        ready_s = time.perf_counter() - started  # compiled, and checked against hashlib
        figures = dataclasses.asdict(bench_miner(kernel, threads, seconds))
        show({**figures, "ready_seconds": round(ready_s, 2)}, as_json=as_json)
