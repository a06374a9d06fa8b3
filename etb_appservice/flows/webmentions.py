"""Whom a web user means: by `@username` in the text, or by ETB's id. Only who may be in the room can be meant."""

from collections.abc import Sequence

from etb_appservice.domain.ids import UserId, Username
from etb_appservice.domain.mentions import MOST_MENTIONED, mentioned_in
from etb_appservice.flows.permitted import permission_of
from etb_appservice.flows.visitor import No, Visitor


async def people_meant(visitor: Visitor, text: str, ids: Sequence[str]) -> tuple[Username, ...]:
    """Who is meant, of those who may be in the room; in the text anybody else's name is only a text."""
    if len(ids) > MOST_MENTIONED:
        raise No("validation_error", f"At most {MOST_MENTIONED} people.", field="mentioned_user_ids")
    found: dict[Username, None] = {}
    if ids:
        known = await _people_by_id(visitor)
        if missing := [one for one in ids if one.lower() not in known]:
            detail = f"{len(missing)} of these users are not in this room."
            raise No("validation_error", detail, field="mentioned_user_ids")
        found |= {known[one.lower()]: None for one in ids}
    names = mentioned_in(text)
    users = await visitor.work.incidents.users(names) if names else {}
    for name in names:
        if name in users and (await permission_of(visitor.work, visitor.room, name, visitor.policy)).allowed:
            found.setdefault(name)
    return tuple(found)


async def _people_by_id(visitor: Visitor) -> dict[str, Username]:
    """ETB's ids of those who are named for the incident or are in its room, and may be there."""
    names = set(visitor.circle.for_many().names or ())
    for user_id in await visitor.work.rooms.present(visitor.room_id):
        name = visitor.policy.people.username(user_id)
        if name is not None:
            names.add(name)
    users = await visitor.work.incidents.users(names)
    return {
        user.id: name
        for name, (user, _) in users.items()
        if user.id and (await permission_of(visitor.work, visitor.room, name, visitor.policy)).allowed
    }


def matrix_ids(visitor: Visitor, named: Sequence[Username]) -> tuple[UserId, ...]:
    """Their Matrix ids: the account of their own, else their ghost's."""
    policy = visitor.policy
    found = [policy.people.user_id(name) or policy.ghosts.user_id(name) for name in named]
    return tuple(dict.fromkeys(one for one in found if one is not None))
