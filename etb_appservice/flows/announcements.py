"""What stakeholders are told in a room of their own, where only the bot speaks.

    an incident appears, changes its status or severity, or is posted about ─► severe enough, and no more
    sensitive than the room ─► AnnouncementDue ─► said, or kept until the room is there

No line links to an incident's room: whoever reads here need not be let in there.
"""

from dataclasses import replace

from etb_appservice.domain.drills import MARK, is_drill
from etb_appservice.domain.effects import Say
from etb_appservice.domain.facts import AnnouncementDue
from etb_appservice.domain.ids import RoomId, new_id
from etb_appservice.domain.incident import Incident, urgency
from etb_appservice.domain.letters import Letter
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.rooms import ANNOUNCEMENTS
from etb_appservice.domain.text import plain
from etb_appservice.flows.surroundings import level_of
from etb_appservice.flows.turn import SERVICE_LANE, Turn
from etb_appservice.ports import Room

_MOST_OF_POST = 1500


async def announce_change(turn: Turn, before: Incident | None, after: Incident, policy: Policy) -> None:
    """A new incident, or one whose status or severity is another."""
    if before is None:
        if after.is_open:
            said = f"new, severity **{plain(after.severity)}**, status **{plain(after.status)}**"
            await _announce(turn, after, policy, said, (after.severity,))
        return
    changes = [
        f"{what} **{plain(new)}** (was {plain(old)})"
        for what, old, new in (
            ("severity", before.severity, after.severity),
            ("status", before.status, after.status),
        )
        if old != new
    ]
    if changes:
        await _announce(turn, after, policy, ", ".join(changes), (before.severity, after.severity))


async def announce_post(turn: Turn, incident: Incident, text: str, policy: Policy) -> None:
    """A status update."""
    await _announce(turn, incident, policy, f"update: {plain(text, _MOST_OF_POST)}", (incident.severity,))


async def _announce(
    turn: Turn, incident: Incident, policy: Policy, said: str, severities: tuple[str, ...]
) -> None:
    rules = policy.announcements
    if not rules.members or min(map(urgency, severities)) > urgency(rules.severity):
        return
    room = await turn.work.rooms.by_war_room(ANNOUNCEMENTS)
    # A room keeps the rules of the level for which it was made, whatever the configuration says since.
    most = min(rules.classification, room.classification) if room else rules.classification
    if level_of(incident, policy) > most:
        return
    mark = f"{MARK} " if is_drill(incident, policy) else ""
    text = f"{mark}**{plain(incident.number)}** {plain(incident.title)}: {said}"
    await turn.follow(AnnouncementDue(text=text), ("announcement", turn.ref), lane=SERVICE_LANE)


async def announcement_due(turn: Turn, fact: AnnouncementDue) -> None:
    """Say it, or keep it until the room is there."""
    room = await turn.work.rooms.by_war_room(ANNOUNCEMENTS)
    await turn.work.cases.put(ANNOUNCEMENTS, Letter(id=new_id(turn.now_ms), text=fact.text))
    if room is not None and room.room_id is not None:
        await say_kept(turn, room, room.room_id)


async def say_kept(turn: Turn, room: Room, room_id: RoomId) -> None:
    """Everything that is kept, oldest first."""
    for letter in await turn.work.cases.of(room.war_room, Letter, only_open=True):
        await turn.emit(f"announcement/{letter.id}", Say(room_id=room_id, content=letter.text, purpose="notice"))
        await turn.work.cases.put(room.war_room, replace(letter, is_open=False))
