"""Whether the homeserver's administrator is one: for `check`, and for the self-test of a running service."""

from etb_appservice.domain.ids import UserId
from etb_appservice.domain.outcomes import Failure
from etb_appservice.ports import HomeserverAdmin, Vital

NAME = "homeserver admin"


async def promoted(admin: HomeserverAdmin | None, user: UserId | None) -> Vital:
    """Asks the homeserver, which is recorded as any other call. Never raises for what it looks at."""
    if admin is None:
        return Vital(NAME, is_well=True, text="off: `purge` and `media` are refused")
    try:
        if await admin.is_admin():
            return Vital(NAME, is_well=True, text=f"{user}; each call is recorded")
    except Failure as failure:
        return Vital(NAME, is_well=False, text=str(failure))
    text = f"{user} is no administrator of the homeserver, or homeserver.admin_token is another user's"
    return Vital(NAME, is_well=False, text=text)
