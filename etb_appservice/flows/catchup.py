"""Tells one person alone how things stand: whoever joins an incident late, and whoever asks.

    a join, late ─► CatchUpDue ─► a responder, cleared for it now ─► a letter    else nothing

Must never tell anybody more than their clearance lets them read in the room itself.
"""

from etb_appservice.domain.cadence import Cadence
from etb_appservice.domain.clearance import Right, Subject, decide
from etb_appservice.domain.facts import CatchUpDue
from etb_appservice.domain.ids import UserId
from etb_appservice.domain.incident import Incident
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.posts import Post
from etb_appservice.domain.roles import Role
from etb_appservice.domain.roles import shown as role_shown
from etb_appservice.domain.tasks import Task
from etb_appservice.domain.text import code, moment, plain
from etb_appservice.domain.timeline import TimelineItem
from etb_appservice.flows.chronicle import curated, shown
from etb_appservice.flows.letters import write_to
from etb_appservice.flows.standing import actor_of
from etb_appservice.flows.tasks import shown as task_shown
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import Room, Work

_MOST_ENTRIES = 15
_MOST_TASKS = 20
_MOST_OF_POST = 1500


async def is_late(work: Work, room: Room, policy: Policy) -> bool:
    """Whether people have been in this room for so long that a newcomer has missed something."""
    cadence = await work.cases.get(room.war_room, Cadence, "cadence")
    return cadence is not None and work.now_ms() - cadence.opened_ms >= policy.cadence.catch_up_minutes * 60_000


class CatchUps:
    """Decides who is told when they join."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    async def due(self, turn: Turn, fact: CatchUpDue) -> None:
        """Tell them, if they may know."""
        known = await turn.work.incidents.get(fact.incident_id)
        room = await turn.work.rooms.of_incident(fact.incident_id)
        if known is None or room is None or not known.incident.is_open:
            return
        actor = await actor_of(turn.work, room, fact.user_id, self._policy)
        if not decide(actor, Right.RESPONDER, Subject(classification=room.classification)).allowed:
            return
        text = await how_things_stand(turn.work, room, known.incident, self._policy)
        await tell(turn, room, fact.user_id, text, turn.ref, self._policy)
        await turn.note("catchup.sent", subject=room.war_room, details={"user": fact.user_id, "why": "joined"})


async def tell(turn: Turn, room: Room, user_id: UserId, text: str, ref: str, policy: Policy) -> None:
    """Write how things stand to one person, for those of their devices that may read it in the room itself."""
    signed = policy.rooms.signed_devices_only(room.kind, room.classification)
    await write_to(turn, user_id, text, "catch up", ref, incident_id=room.incident_id, signed_only=signed)


async def how_things_stand(work: Work, room: Room, incident: Incident, policy: Policy) -> str:
    """Number, title, state; roles; the last update; what happened; what is still to do."""
    roles = await work.cases.of(room.war_room, Role, only_open=True)
    lines = [
        f"**{plain(incident.number)}: {plain(incident.title)}**",
        "",
        f"- Status: **{plain(incident.status)}**",
        f"- Severity: **{plain(incident.severity)}**",
        *(f"- {role_shown(one.role).capitalize()}: {code(one.username)}" for one in roles),
    ]
    posts = await work.cases.of(room.war_room, Post)
    if posts:
        last = posts[-1]
        said = [plain(line, _MOST_OF_POST) for line in last.text[:_MOST_OF_POST].splitlines()]
        lines += ["", f"**Last status update** ({code(last.by)}, {moment(last.at_ms)})", "", *said]
    entries = curated(await work.cases.of(room.war_room, TimelineItem))
    if entries:
        title = "What happened" if len(entries) <= _MOST_ENTRIES else f"What happened, the last {_MOST_ENTRIES}"
        lines += ["", f"**{title}**", "", *await shown(work, entries[-_MOST_ENTRIES:], room, policy.server_name)]
    tasks = await work.cases.of(room.war_room, Task, only_open=True)
    if tasks:
        more = [f"- … and {len(tasks) - _MOST_TASKS} more"] if len(tasks) > _MOST_TASKS else []
        listed = [f"- {task_shown(one)}" for one in tasks[:_MOST_TASKS]]
        lines += ["", "**Open tasks**", "", *listed, *more]
    return "\n".join(lines)
