"""How old the secrets are, as far as is known, and which former ones still count. Shows no value."""

from collections.abc import Sequence

from etb_appservice.app.secrets import LiveSecrets
from etb_appservice.domain.rotation import Rotated, Secret
from etb_appservice.domain.text import moment

_DAY_MS = 86_400_000
_COMMANDS: dict[Secret, str] = {
    "hs_token": "hs-token",
    "as_token": "as-token",
    "webhook_secret": "webhook-secret",
}


def ages(secrets: LiveSecrets, recovery_ends_ms: Sequence[int], now_ms: int) -> list[tuple[str, bool, str]]:
    """(name, whether all is well, what to say) of each secret that was replaced, and of the encryption key."""
    found = [_of(secrets, rotation, now_ms) for rotation in secrets.rotations()]
    root = secrets.root
    text = f"the present one is {_age(now_ms - root.since_ms)} old{_until([root.until_ms], now_ms)}"
    if secrets.is_behind:
        text += (
            ". The settings hold a former one: run `etb-appservice rotate encryption-key`, which finishes this."
        )
    found.append(("encryption_key", not secrets.is_behind, text))
    if recovery_ends_ms:
        found.append(("recovery_key", True, f"was rotated{_until(recovery_ends_ms, now_ms)}"))
    return found


def _of(secrets: LiveSecrets, rotation: Rotated, now_ms: int) -> tuple[str, bool, str]:
    ends = [one.until_ms for one in rotation.former if one.value]
    text = f"rotated {_age(now_ms - rotation.since_ms)} ago{_until(ends, now_ms)}"
    if not secrets.is_unfinished(rotation.id):
        return rotation.id, True, text
    text += (
        f". The settings hold a former one: run `etb-appservice rotate {_COMMANDS[rotation.id]}`, which finishes "
        "this; or put the new value in its place."
    )
    return rotation.id, False, text


def _until(ends_ms: Sequence[int], now_ms: int) -> str:
    running = [end for end in ends_ms if end > now_ms]
    return f"; a former one is accepted until {moment(max(running))}" if running else ""


def _age(ms: int) -> str:
    days = ms // _DAY_MS
    return f"{days} days" if days != 1 else "1 day"
