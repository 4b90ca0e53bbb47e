"""peers.json: the gossip core's state across restarts, replaced atomically."""

import base64
import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from chain.durable_file import replace_file
from chain.regular_file import TooLongError, read_regular_file

FILE_NAME: Final = "peers.json"
FILE_BYTES_MAX: Final = 64 * 1024 * 1024
VERSION: Final = 1
SECRET_BYTES: Final = 32


class StoreError(ValueError):
    """The peers file is invalid; the text says why."""


@dataclass(frozen=True, slots=True)
class PeersFile:
    """A peers file's content: the secret key of the core's tables, and their bytes."""

    secret: bytes = field(default_factory=lambda: secrets.token_bytes(SECRET_BYTES), repr=False)
    saved: dict[str, bytes] = field(default_factory=dict)


def load(folder: Path) -> PeersFile:
    """Return the file's content; only a new secret if there is no file.

    Raises StoreError: it is damaged, or of a later version. The node can start without it:
    the caller may continue with `PeersFile()`.
    """
    path = folder / FILE_NAME
    try:
        document = json.loads(read_regular_file(path, FILE_BYTES_MAX))
        if document["version"] != VERSION:
            raise StoreError(f"version {document['version']!r}")
        secret = bytes.fromhex(document["secret"])
        saved = {
            str(name): base64.b64decode(text, validate=True)
            for name, text in document["saved"].items()
        }
    except FileNotFoundError:
        return PeersFile()
    except TooLongError as error:
        raise StoreError(f"{FILE_NAME}: {error.strerror}") from error
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise StoreError(f"{FILE_NAME}: {error}") from error
    if len(secret) != SECRET_BYTES:
        raise StoreError(f"{FILE_NAME}: a secret of {len(secret)} bytes")
    return PeersFile(secret, saved)


def save(folder: Path, file: PeersFile) -> None:
    """Replace the file atomically and durably. Raises OSError."""
    replace_file(folder / FILE_NAME, encode(file))


def encode(file: PeersFile) -> bytes:
    """Return the file's content."""
    saved = {name: base64.b64encode(data).decode() for name, data in file.saved.items()}
    document = {"version": VERSION, "secret": file.secret.hex(), "saved": saved}
    return json.dumps(document).encode("ascii")
