"""The picture of an incident's timeline, drawn when somebody asks for it and sent as an encrypted image.

    ask_for ─► ChartDue ─► read the case and ETB, draw (outside) ─► one commit: document, SendFile, the run ends

Service levels and escalations are ETB's: where it doesn't answer in time, the picture says that they are missing.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from etb_appservice.domain.duty import Escalation, Sla
from etb_appservice.domain.effects import SendFile
from etb_appservice.domain.facts import ChartDue
from etb_appservice.domain.ids import IncidentId
from etb_appservice.domain.incident import Incident
from etb_appservice.domain.outcomes import Failure
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.posts import Post
from etb_appservice.domain.runbooks import RunbookRun
from etb_appservice.domain.story import Limit, LimitState, Mark, Phase, Story, in_words
from etb_appservice.domain.timeline import TimelineItem
from etb_appservice.flows.call import Call
from etb_appservice.flows.tellings import tell_of_end
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import EtbReads, Picture, Press, Store

_MOST_WORDS = 8000
_SHORTEST_MS = 10 * 60_000
_STATES: dict[str, LimitState] = {"ACTIVE": "running", "PAUSED": "running", "MET": "met", "BREACHED": "breached"}


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture, and the same in words."""

    picture: Picture
    words: str


async def ask_for(call: Call) -> None:
    """Have the picture drawn, after this turn."""
    fact = ChartDue(
        war_room=call.room.war_room, run_id=call.run_id, reply_to=call.event_id, thread_root=call.thread_root
    )
    await call.turn.follow(fact, ("chart", call.run_id))


class Charts:
    """Draws timelines."""

    def __init__(self, store: Store, etb: EtbReads, press: Press, policy: Policy) -> None:
        self._store = store
        self._etb = etb
        self._press = press
        self._policy = policy

    async def look(self, fact: ChartDue) -> Drawn | None:
        """Read and draw, before the unit of work."""
        async with self._store.view() as view:
            room = await view.rooms.by_war_room(fact.war_room)
            if room is None or room.incident_id is None:
                return None
            known = await view.incidents.get(room.incident_id)
            if known is None:
                return None
            items = await view.cases.of(room.war_room, TimelineItem)
            posts = await view.cases.of(room.war_room, Post)
            runs = await view.cases.of(room.war_room, RunbookRun)
            now_ms = view.now_ms()
        duty = await self._duty(room.incident_id)
        story = told(known.incident, items, posts, runs, duty, now_ms)
        picture = await asyncio.to_thread(self._press.chart, story)
        return Drawn(picture, in_words(story)[:_MOST_WORDS])

    async def due(self, turn: Turn, fact: ChartDue, drawn: Drawn | None) -> None:
        """Send what was drawn."""
        room = await turn.work.rooms.by_war_room(fact.war_room)
        run = await turn.work.commands.get(fact.run_id)
        if room is None or room.room_id is None or drawn is None or run is None:
            return
        document = f"{fact.run_id}/chart"
        await turn.work.documents.put(document, room.war_room, drawn.picture.content)
        await turn.emit(
            "chart",
            SendFile(
                room_id=room.room_id,
                document=document,
                filename="timeline.png",
                mime="image/png",
                size=len(drawn.picture.content),
                msgtype="m.image",
                width=drawn.picture.width,
                height=drawn.picture.height,
                caption=drawn.words,
                reply_to=fact.reply_to,
                thread_root=fact.thread_root,
            ),
        )
        await turn.finish_run(room.war_room, fact.run_id, status="SUCCESS", result=drawn.words)
        await tell_of_end(turn, room.war_room, fact.run_id, self._policy, status="SUCCESS")

    async def _duty(self, incident_id: IncidentId) -> "tuple[Sequence[Sla], Sequence[Escalation]] | None":
        try:
            async with asyncio.timeout(self._policy.commands.etb_wait_s):
                return await self._etb.slas(incident_id), await self._etb.escalations(incident_id)
        except (Failure, TimeoutError):
            return None


def told(
    incident: Incident,
    items: Sequence[TimelineItem],
    posts: Sequence[Post],
    runs: Sequence[RunbookRun],
    duty: tuple[Sequence[Sla], Sequence[Escalation]] | None,
    now_ms: int,
) -> Story:
    """The story of an incident. It begins with the first thing known of it, and ends when it was closed."""
    items = sorted((item for item in items if item.is_open), key=_when)
    slas, escalations = duty or ((), ())
    marks = [
        *(Mark(kind="update", at_ms=post.at_ms, label=post.text) for post in posts),
        *(
            Mark(kind="escalation", at_ms=one.triggered_ms, label=_level(one))
            for one in escalations
            if one.triggered_ms is not None
        ),
        *(
            Mark(
                kind="runbook",
                at_ms=run.started_ms or run.asked_ms,
                label=f"{run.name}: {run.state}",
                to_ms=_end(run, now_ms),
            )
            for run in runs
        ),
    ]
    changes = [item for item in items if item.event_type == "STATUS_CHANGED"]
    starts = [
        *(item.at_ms for item in items),
        *(mark.at_ms for mark in marks),
        *(sla.started_ms for sla in slas if sla.started_ms),
    ]
    from_ms = min([*starts, now_ms])
    closed_ms = changes[-1].at_ms if changes and not incident.is_open else now_ms
    to_ms = max([closed_ms, *(mark.at_ms for mark in marks), from_ms + _SHORTEST_MS])
    limits = tuple(
        Limit(name=sla.name, at_ms=sla.target_ms, state=_STATES.get(sla.status, "running"))
        for sla in slas
        if sla.target_ms is not None and from_ms <= sla.target_ms and sla.status != "CANCELLED"
    )
    # A target that lies far ahead would press everything that has happened into a corner.
    near_ms = to_ms + max(to_ms - from_ms, _SHORTEST_MS)
    limits = tuple(limit for limit in limits if limit.at_ms <= near_ms)
    return Story(
        number=incident.number,
        title=incident.title,
        from_ms=from_ms,
        to_ms=max([to_ms, *(limit.at_ms for limit in limits)]),
        phases=tuple(_phases(incident, changes, from_ms, max(closed_ms, from_ms))),
        marks=tuple(sorted(marks, key=_at)),
        limits=limits,
        is_away=duty is None,
    )


def _phases(incident: Incident, changes: Sequence[TimelineItem], from_ms: int, to_ms: int) -> list[Phase]:
    """From the changes that were written down, as `Status: NEW (was OLD)`."""
    moments = [from_ms, *(change.at_ms for change in changes), to_ms]
    words = [_statuses(change) for change in changes]
    names = [words[0][1] if words else incident.status, *(new for new, _ in words)]
    return [
        Phase(status=name, from_ms=begin, to_ms=max(begin, end))
        for name, begin, end in zip(names, moments, moments[1:], strict=False)
        if name
    ]


def _statuses(change: TimelineItem) -> tuple[str, str]:
    new, _, old = change.title.removeprefix("Status: ").partition(" (was ")
    return new.strip(), old.removesuffix(")").strip()


def _level(one: Escalation) -> str:
    return f"Level {one.level}" + (f": {', '.join(one.notified)}" if one.notified else "")


def _end(run: RunbookRun, now_ms: int) -> int | None:
    if run.started_ms is None:
        return None
    return run.ended_ms or (now_ms if run.is_open else run.started_ms)


def _when(item: TimelineItem) -> int:
    return item.at_ms


def _at(mark: Mark) -> int:
    return mark.at_ms
