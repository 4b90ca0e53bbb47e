"""peers.json: what the gossip core keeps across restarts, replaced as a whole or not at all."""

import base64
import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from chain.service.saver import replace_file

FILE_NAME: Final = "peers.json"
FILE_BYTES_MAX: Final = 64 * 1024 * 1024
VERSION: Final = 1
SECRET_BYTES: Final = 32


class StoreError(ValueError):
    """A peers file that cannot be understood; says why."""


@dataclass(frozen=True, slots=True)
class PeersFile:
    """A peers file's content: the secret that the core's tables are keyed by, and their bytes."""

    secret: bytes = field(default_factory=lambda: secrets.token_bytes(SECRET_BYTES), repr=False)
    saved: dict[str, bytes] = field(default_factory=dict)


def load(folder: Path) -> PeersFile:
    """Return what the file holds; a new secret and nothing else if there is none.

    Raises StoreError: it is damaged, or of a later version. Nothing in it is worth a refusal to
    start: the caller may go on with `Kept()`.
    """
    path = folder / FILE_NAME
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise StoreError("too large")
        document = json.loads(path.read_bytes())
        if document["version"] != VERSION:
            raise StoreError(f"version {document['version']!r}")
        secret = bytes.fromhex(document["secret"])
        saved = {
            str(name): base64.b64decode(text, validate=True)
            for name, text in document["saved"].items()
        }
    except FileNotFoundError:
        return PeersFile()
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise StoreError(f"{FILE_NAME}: {error}") from error
    if len(secret) != SECRET_BYTES:
        raise StoreError(f"{FILE_NAME}: a secret of {len(secret)} bytes")
    return PeersFile(secret, saved)


def save(folder: Path, kept: PeersFile) -> None:
    """Replace the file, so that a crash leaves the old one or the new one. Raises OSError."""
    replace_file(folder / FILE_NAME, encode(kept))


def encode(kept: PeersFile) -> bytes:
    """Return the file's content."""
    saved = {name: base64.b64encode(data).decode() for name, data in kept.saved.items()}
    document = {"version": VERSION, "secret": kept.secret.hex(), "saved": saved}
    return json.dumps(document).encode("ascii")
