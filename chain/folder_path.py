"""The data directory as it is given: a path that may begin with ~, and may have to be made."""

import os
from pathlib import Path

from chain.errors import UsageError
from chain.printable import printable


def expanded(folder: Path | str) -> Path:
    """Return a folder with its leading ~ or ~USER replaced. Raises UsageError: no such user."""
    try:
        return Path(folder).expanduser()
    except RuntimeError as error:
        shown = printable(str(folder))
        raise UsageError(f"{shown}: no such user; a folder of that name is ./{shown}") from error


def file_in_the_way(folder: Path) -> Path | None:
    """Return what is there instead of a folder or of one that it is in; None if it may be made."""
    found = next((each for each in (folder, *folder.parents) if os.path.exists(each)), None)  # noqa: PTH110 - no error for what may not be read
    return found if found is not None and not os.path.isdir(found) else None  # noqa: PTH112
