"""A message that is edited in place: sent once, then changed as often as what it shows changes.

    show ─► nothing on its way? ─► sent, or an edit of what was sent ─► answered ─► changed meanwhile? ─► edit

At most one version is on its way, so a homeserver that was away gets the latest and not a queue of old ones. The
entry whose message it is keeps its state (`domain.living.Living`); whoever calls `show` puts the entry.
"""

from dataclasses import replace
from typing import TypeVar

from etb_appservice.domain.approvals import Approval
from etb_appservice.domain.effects import Say
from etb_appservice.domain.facts import Done, EffectAnswered
from etb_appservice.domain.living import Living
from etb_appservice.domain.runbooks import RunbookRun
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import Room

LIVING = "living/"
"""What the keys of these messages begin with: `living/<kind of entry>/<its id>/<version>`."""
S = TypeVar("S", Approval, RunbookRun)


async def show(turn: Turn, room: Room, entry: S, text: str) -> S:
    """Have the entry's message show `text`; answers the entry to be put."""
    living = replace(entry.living, wanted=text)
    return replace(entry, living=await _send(turn, room, f"{entry.kind}/{entry.id}", living))


async def shown(turn: Turn, room: Room, fact: EffectAnswered) -> Approval | RunbookRun | None:
    """A version was sent, or could not be; answers the entry, put, when it is one that stands in the room."""
    kind, _, rest = fact.key.removeprefix(LIVING).partition("/")
    entry_id, _, version = rest.rpartition("/")
    match kind:
        case "Approval":
            approval = await turn.work.cases.get(room.war_room, Approval, entry_id)
            return await _answered(turn, room, approval, version, fact) if approval else None
        case "RunbookRun":
            run = await turn.work.cases.get(room.war_room, RunbookRun, entry_id)
            return await _answered(turn, room, run, version, fact) if run else None
        case _:
            return None


async def _answered(turn: Turn, room: Room, entry: S, version: str, fact: EffectAnswered) -> S:
    living = entry.living
    is_latest = version == str(living.version)
    match fact.answer:
        case Done(event_id=event_id):
            living = replace(living, event_id=living.event_id or event_id)
            if is_latest:
                living = await _send(turn, room, f"{entry.kind}/{entry.id}", replace(living, in_flight=False))
        case _ if is_latest and (fact.answer.state == "refused" or living.event_id is not None):
            # Shown with the next change. A first version that may still be sent is waited for: it is the only one.
            living = replace(living, in_flight=False, sent="")
        case _:
            pass
    entry = replace(entry, living=living)
    await turn.work.cases.put(room.war_room, entry)
    return entry


async def _send(turn: Turn, room: Room, name: str, living: Living) -> Living:
    if living.room_id is not None and living.room_id != room.room_id:
        living = Living(wanted=living.wanted, version=living.version)
    if living.in_flight or living.wanted == living.sent or room.room_id is None:
        return living
    version = living.version + 1
    await turn.emit_as(
        f"{LIVING}{name}/{version}",
        Say(
            room_id=room.room_id,
            content=living.wanted,
            reply_to=None if living.event_id else living.reply_to,
            edits=living.event_id,
            purpose="living",
        ),
    )
    return replace(living, sent=living.wanted, version=version, in_flight=True, room_id=room.room_id)
