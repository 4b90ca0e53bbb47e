"""Show that a commit only moved and renamed: equal syntax trees modulo docs/renames.md.

    scripts/compare_renamed OLD NEW

Every top-level statement of every Python file of OLD must be, once and in full, in the file of NEW
that the table of files names, and nothing else may be there. Two statements are equal if their
trees are, docstrings and strings included, except that a name may differ if the table of names has
the pair. Inside one function no two names may become one. Imports are not compared (a wrong one
fails at start and in mypy), nor is `__all__`, which is sorted.
"""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).resolve().parents[2]
_TABLES: Final = "docs/renames.md"
_NAME_FIELDS: Final = {"id", "attr", "name", "arg", "asname"}  # of syntax nodes, as strings
_FUNCTIONS: Final = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

Pairs = frozenset[tuple[str, str]]


class _DifferentError(Exception):
    """Two trees are not equal."""


def _git(*words: str) -> str:
    run = subprocess.run(["git", *words], cwd=_ROOT, capture_output=True, text=True, check=True)
    return run.stdout


@cache
def _tables() -> tuple[dict[str, list[str]], Pairs]:
    """Return where each old file's statements may be now, and the pairs of names.

    The tables are those of the new commit: later ones include later moves.
    """
    files: dict[str, list[str]] = defaultdict(list)
    names: set[tuple[str, str]] = set()
    for line in _git("show", f"{sys.argv[2]}:{_TABLES}").splitlines():
        cells = re.findall(r"`([^`]+)`", line) if line.startswith("| `") else []
        if len(cells) >= 2 and cells[0].endswith(".py"):
            files[cells[0]] += cells[1:]
        elif len(cells) >= 2:
            names |= {(cells[0], new) for new in cells[1:]}
    return files, frozenset(names)


def _module(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".")


@cache
def _words() -> Pairs:
    """Return the pairs of paths and of modules that a string may contain."""
    files, names = _tables()
    moved = {(old, new) for old, targets in files.items() for new in targets}
    return names | moved | {(_module(old), _module(new)) for old, new in moved}


def _statements(commit: str) -> dict[str, list[ast.stmt]]:
    """Return the statements of each Python file, without imports and the module's docstring."""
    found = {}
    for path in _git("ls-tree", "-r", "--name-only", commit).splitlines():
        if path.endswith(".py"):
            tree = ast.parse(_git("show", f"{commit}:{path}"))
            body = tree.body[ast.get_docstring(tree) is not None :]
            found[path] = [statement for statement in body if not _is_left_out(statement)]
    return found


def _is_left_out(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
        return all(map(_is_left_out, statement.body))
    is_all = isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__"
    return is_all or isinstance(statement, ast.Import | ast.ImportFrom)


def _is_renamed_text(old: str, new: str) -> bool:
    """Return whether two strings differ only in names, modules and paths of the tables."""
    before, after = (re.split(r"([\w./]*\w)", text) for text in (old, new))
    return len(before) == len(after) and all(
        one == other or _is_renamed_word(one, other)
        for one, other in zip(before, after, strict=True)
    )


def _is_renamed_word(old: str, new: str) -> bool:
    """Return whether a name or a path is renamed, or a module with an attribute."""
    return (old, new) in _words() or any(
        old.startswith(f"{before}.") and new == after + old.removeprefix(before)
        for before, after in _words()
    )


def _local_names(old: object, new: object) -> set[tuple[str, str]]:
    """Return the pairs of variables and parameters of two equal trees. Raises _DifferentError."""
    if type(old) is not type(new):
        raise _DifferentError
    if isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            raise _DifferentError
        found = [_local_names(one, other) for one, other in zip(old, new, strict=True)]
        return set().union(*found)
    if isinstance(old, ast.Import | ast.ImportFrom):
        return set()
    if isinstance(old, ast.AST) and isinstance(new, ast.AST):
        return _names_of_nodes(old, new)
    is_text = isinstance(old, str) and isinstance(new, str)
    if old != new and not (is_text and _is_renamed_text(str(old), str(new))):
        raise _DifferentError
    return set()


def _names_of_nodes(old: ast.AST, new: ast.AST) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for field in old._fields:
        one, other = getattr(old, field, None), getattr(new, field, None)
        if field in _NAME_FIELDS and isinstance(one, str) and isinstance(other, str):
            if one != other and (one, other) not in _tables()[1]:
                raise _DifferentError
            if isinstance(old, ast.Name | ast.arg):
                found.add((one, other))
        elif field != "type_comment":
            found |= _local_names(one, other)
    return found


def _is_equal(old: ast.stmt, new: ast.stmt) -> bool:
    try:
        _local_names(old, new)
    except _DifferentError:
        return False
    return True


def _merged_names(old: ast.AST, new: ast.AST) -> Iterator[str]:
    """Yield each function in which two names became one, or one became two."""
    for one, other in zip(ast.walk(old), ast.walk(new), strict=True):
        if isinstance(one, _FUNCTIONS):
            pairs = _local_names(one, other)
            for names in ([before for before, _ in pairs], [after for _, after in pairs]):
                twice = sorted({name for name in names if names.count(name) > 1})
                if twice:
                    yield f"{getattr(one, 'name', 'lambda')}: {', '.join(twice)}"


def compare(old_commit: str, new_commit: str) -> list[str]:
    """Return the differences of two commits besides names and places, a line each."""
    files, _ = _tables()
    left = _statements(new_commit)
    problems: list[str] = []
    for path, statements in _statements(old_commit).items():
        targets = [
            target for target in dict.fromkeys([*files.get(path, ()), path]) if target in left
        ]
        for statement in statements:
            match = next(
                ((to, each) for to in targets for each in left[to] if _is_equal(statement, each)),
                None,
            )
            if match is None:
                problems.append(f"{path}:{statement.lineno} is not in {' or '.join(targets)}")
            else:
                left[match[0]].remove(match[1])
                problems += [f"{path}: {text}" for text in _merged_names(statement, match[1])]
    return problems + [f"{path}:{new.lineno} is new" for path in left for new in left[path]]


def main() -> None:
    """Compare the two commits named on the command line; exit with 1 if they differ."""
    if len(sys.argv) != 3:
        sys.exit("usage: scripts/compare_renamed OLD NEW")
    problems = compare(sys.argv[1], sys.argv[2])
    print("\n".join([*problems, f"{len(problems)} differences"]))
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
