"""How an error of our own is told in the log: its type and where it came from, and nothing of what it says.

The text of an unforeseen error may quote whatever was being read, a message or a secret included.
"""

import traceback


def told(error: BaseException) -> dict[str, str]:
    """Fields for a log line: `error`, the type, and `where`, the innermost places, nearest last."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    places = " > ".join(f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} {frame.name}" for frame in frames)
    return {"error": type(error).__name__, "where": places}
