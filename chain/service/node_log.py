"""Where a node's log goes: to standard error for whoever watches, and to node.log."""

import logging
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

LOG_NAME: Final = "node.log"
LOG_BYTES_MAX: Final = 10_000_000  # then it starts anew; two older ones are kept
_OLDER_LOGS: Final = 2
_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def configure_logging(folder: Path) -> None:
    """Send INFO and above to standard error and to node.log in `folder`."""
    file = RotatingFileHandler(
        folder / LOG_NAME, maxBytes=LOG_BYTES_MAX, backupCount=_OLDER_LOGS, encoding="utf-8"
    )
    logging.basicConfig(
        level=logging.INFO,
        format=_FORMAT,
        handlers=[logging.StreamHandler(sys.stderr), file],
        force=True,
    )
    for chatty in ("httpx", "httpcore", "alembic", "sqlalchemy"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # it warns of each bad request
