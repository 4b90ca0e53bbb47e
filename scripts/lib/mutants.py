"""Mutants: copies of the code with one place changed, and whether the tests notice.

The copies are made in a temporary folder, one for each processor, and mutants are tried on all of
them at the same time. Public test vectors are looked for as the tests do it.
"""

import ast
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

ROOT = Path(__file__).resolve().parents[2]
_HANGS_S = 120


@dataclass(frozen=True)
class Mutant:
    """Other text in place of one node's, and the tests that should notice."""

    file: str  # relative to the root
    node: ast.expr | ast.stmt
    text: str
    name: str
    tests: Sequence[str]


def survivors(mutants: Sequence[Mutant]) -> Iterator[tuple[Mutant, bool]]:
    """Yield each mutant, in order, with whether all of its tests pass.

    Ends the process if they do not pass without a change: then nothing could survive.
    """
    jobs = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        trees: Queue[Path] = Queue()
        for job in range(jobs):
            trees.put(_copy_tree(Path(folder, str(job))))

        def survives(mutant: Mutant) -> bool:
            tree = trees.get()
            try:
                return _passes_with(tree, mutant)
            finally:
                trees.put(tree)

        every = sorted({test for mutant in mutants for test in mutant.tests})
        if not _passes(Path(folder, "0"), every):
            sys.exit("the tests do not pass without a change: run them by scripts/test")
        yield from zip(mutants, pool.map(survives, mutants), strict=True)


def _copy_tree(tree: Path) -> Path:
    """Copy what the tests need to `tree`."""
    for name in ("chain", "tests"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    return tree


def _passes_with(tree: Path, mutant: Mutant) -> bool:
    """Make the change in `tree`, run the tests, and take it back."""
    path = tree / mutant.file
    original = path.read_text()
    lines = original.splitlines()
    node = mutant.node
    assert node.end_lineno is not None, "parsed code has places"
    before = lines[node.lineno - 1][: node.col_offset]
    behind = lines[node.end_lineno - 1][node.end_col_offset :]
    lines[node.lineno - 1 : node.end_lineno] = [before + mutant.text + behind]
    path.write_text("\n".join(lines) + "\n")
    try:
        return _passes(tree, mutant.tests)
    finally:
        path.write_text(original)


def _passes(tree: Path, tests: Sequence[str]) -> bool:
    """Run tests in `tree`; they do not pass either if they never end."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    vectors = os.environ.get("GROAT_VECTORS", str(ROOT.parent / "shared" / "vectors"))
    environment = {**os.environ, "PYTHONPATH": str(tree), "GROAT_VECTORS": vectors}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    try:
        run = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, timeout=_HANGS_S, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return run.returncode == 0
