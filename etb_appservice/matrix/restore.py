"""Sets state back that somebody changed who must not: to what somebody entitled had last set there.

    what stands now ──theirs──> nothing to do
         │ not theirs
    what it replaced ──not theirs──> what that one replaced … ──theirs──> set again
                                            └── nothing ever stood there before: emptied

The homeserver names what each state event replaced (`unsigned.replaces_state`), so that nobody here needs to know
what the room's version, an upgrade or a person with the break-glass account had made of it.
"""

from etb_appservice.domain.effects import RestoreState
from etb_appservice.domain.facts import Done
from etb_appservice.domain.ids import EventId
from etb_appservice.domain.outcomes import Refused
from etb_appservice.matrix.server import Homeserver, Json

_MOST_STEPS = 200
_NEVER_EMPTY = frozenset(
    {
        "m.room.power_levels",
        "m.room.encryption",
        "m.room.join_rules",
        "m.room.history_visibility",
        "m.room.guest_access",
    }
)
"""Every room of ours has these from its first moment; without content they would mean less than they did."""
_EMPTY: dict[str, Json] = {"m.room.server_acl": {"allow": ["*"], "deny": [], "allow_ip_literals": True}}
"""Without content an ACL shuts everybody out."""


async def restored(server: Homeserver, effect: RestoreState) -> Done:
    """Carry it out; all four outcomes, and Refused when nothing is found to go back to."""
    room_id, event_type, state_key = effect.room_id, effect.event_type, effect.state_key
    present = await server.state_event(room_id, event_type, state_key)
    if present is None or present.get("sender") in effect.entitled:
        return Done(detail="stands as it should")
    wanted = await _before(server, effect, present)
    if wanted is None:
        if event_type in _NEVER_EMPTY:
            raise Refused(
                f"{event_type} of {room_id} can't be set back: the homeserver shows none from before. "
                "Set it with the break-glass account."
            )
        wanted = _EMPTY.get(event_type, {})
    return Done(event_id=await server.put_state(room_id, event_type, state_key, wanted), detail="set back")


async def _before(server: Homeserver, effect: RestoreState, present: Json) -> Json | None:
    """The content that somebody entitled last set; None when nobody had set any."""
    event = present
    for _ in range(_MOST_STEPS):
        unsigned = event.get("unsigned")
        replaced = unsigned.get("replaces_state") if isinstance(unsigned, dict) else None
        if not isinstance(replaced, str):
            return None
        found = await server.event(effect.room_id, EventId(replaced))
        if found is None:
            raise Refused(
                f"{effect.event_type} of {effect.room_id} can't be set back: the homeserver doesn't show what "
                "stood there before. Set it with the break-glass account."
            )
        event, content = found, found.get("content")
        if event.get("sender") in effect.entitled:
            return content if isinstance(content, dict) else None
    raise Refused(
        f"{effect.event_type} of {effect.room_id} was changed {_MOST_STEPS} times by people who must not: remove "
        "them, then set it with the break-glass account."
    )
