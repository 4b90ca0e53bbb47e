"""How long a test waits for what must come."""

from typing import Final

# A limit for hanging, not a measurement: a machine that is busy with other things, or slow, may
# take a hundred times as long as usual for anything.
PATIENCE_S: Final = 60.0
