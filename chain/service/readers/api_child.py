"""A process that answers a node's API, run as `python -m chain.service.readers.api_child`.

Its orders are a line of JSON on standard input; when that ends, the node has ended.
"""

import asyncio
import gc
import json
import sys
from typing import Final

from chain.errors import ShownError
from chain.service.readers.serve import ReaderPlan, run_reader
from chain.settings import load_settings
from chain.text_file import escaped

_GARBAGE_THRESHOLDS: Final = (50_000, 20, 100)


def main() -> int:
    """Serve until the node ends this process, or ends itself; return the exit code."""
    gc.set_threshold(*_GARBAGE_THRESHOLDS)
    line = sys.stdin.buffer.raw.readline() if hasattr(sys.stdin.buffer, "raw") else b""
    if not line:
        return 1
    order = json.loads(line)
    plan = ReaderPlan(processes=order["processes"], parent=sys.stdin.fileno())
    try:
        asyncio.run(run_reader(load_settings(order["flags"]), plan))
    except ShownError as error:
        sys.stderr.write(f"groat: an API process: {escaped(str(error))}\n")
        return error.exit_code
    except OSError as error:
        sys.stderr.write(f"groat: an API process: {error.strerror or error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
