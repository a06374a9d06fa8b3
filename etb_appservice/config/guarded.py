"""Files that hold secrets, and who else on this machine could read or change them. Never repeats what is in one.

    readable by group or others ──> refused, with the command that mends it
    writable by group or others ──> refused, wherever it stands
    handed over by a container's or a unit's manager ──> readable is enough: whoever may enter there is the service

Such places are `/run/secrets` (Docker, Podman, and Kubernetes where it is mounted there) and systemd's
`$CREDENTIALS_DIRECTORY`: their managers set modes that the service can't change, often 0444 and owned by root.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

_MAX_SECRET_BYTES = 64 * 1024
_READABLE = stat.S_IRGRP | stat.S_IROTH
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH
_HANDED_OVER = Path("/run/secrets")
_SYSTEMD = "CREDENTIALS_DIRECTORY"


class Unguarded(Exception):
    """The file can't be used as it is; the message says why and what to do, without the key that names it."""


def read_secret(path: Path, environ: Mapping[str, str]) -> str:
    """The secret in a file, without white space around it. Raises Unguarded."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(_MAX_SECRET_BYTES + 1)
            mode = os.fstat(stream.fileno()).st_mode
        text = raw.decode("utf-8").strip()
    except OSError as error:
        raise Unguarded(f"{path} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Unguarded(f"{path} is not text") from None
    if not text or len(raw) > _MAX_SECRET_BYTES:
        raise Unguarded(f"{path} is {'empty' if not text else 'too large for a secret'}")
    check_mode(path, mode, environ)
    return text


def check_mode(path: Path, mode: int, environ: Mapping[str, str]) -> None:
    """Raises Unguarded when others can read or change a file that holds secrets."""
    if mode & _WRITABLE:
        raise Unguarded(f"{path} can be written by others; run `chmod 600 {path}`")
    if mode & _READABLE and not is_handed_over(path, environ):
        raise Unguarded(f"{path} holds secrets and can be read by others; run `chmod 600 {path}`")


def is_handed_over(path: Path, environ: Mapping[str, str]) -> bool:
    """Whether a manager of containers or units put the file there for this service; links are followed first."""
    places = [_HANDED_OVER]
    if given := environ.get(_SYSTEMD, ""):
        places.append(Path(given))
    here = path.resolve()
    return any(place.is_absolute() and here.is_relative_to(place.resolve()) for place in places)
