"""What is said to one person alone: a direct encrypted chat, opened when it is needed first.

    LetterDue ─► kept as a Letter ─► no chat yet ─► OpenRoom ─► opened: invite, say what is kept
                                 └─► chat is there ──────────► invite again if they left, say it

Must never say to one person what was meant for another: a chat belongs to exactly one Matrix id. What holds
contents of an incident is said only to whoever may be in its room at that moment.
"""

from dataclasses import replace

from etb_appservice.domain.effects import Invite, Say
from etb_appservice.domain.facts import LetterDue
from etb_appservice.domain.ids import EventId, IncidentId, RoomId, UserId, new_id
from etb_appservice.domain.letters import Letter
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.rooms import INSIDE, direct_room
from etb_appservice.flows.opening import ask_for
from etb_appservice.flows.permitted import permission
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import Room


async def write_to(
    turn: Turn,
    user_id: UserId,
    text: str,
    *key: str,
    notify: bool = False,
    about: str = "",
    incident_id: IncidentId | None = None,
    signed_only: bool = False,
) -> None:
    """Say something to one person alone, once per `key`. `notify` rings their phone; for the rest see `Letter`.

    What comes out of a room in which only signed devices are given keys must be `signed_only` here too.
    """
    fact = LetterDue(
        user_id=user_id,
        text=text,
        notify=notify,
        about=about,
        incident_id=incident_id,
        signed_only=signed_only,
    )
    await turn.follow(fact, ("letter", user_id, *key), lane=f"direct/{user_id}")


class Letters:
    """Decides about direct chats."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    async def due(self, turn: Turn, fact: LetterDue) -> None:
        """Keep it, and say it as soon as there is a chat."""
        spec = direct_room(fact.user_id, self._policy.rooms)
        room = await turn.work.rooms.by_war_room(spec.war_room)
        letter = Letter(
            id=new_id(turn.now_ms),
            text=fact.text,
            notify=fact.notify,
            about=fact.about,
            incident_id=fact.incident_id,
            signed_only=fact.signed_only,
        )
        await turn.work.cases.put(spec.war_room, letter)
        if room is None:
            await ask_for(turn, spec, {"for": fact.user_id}, person=fact.user_id)
        elif room.room_id is not None:
            await self.deliver(turn, room, room.room_id)

    async def deliver(self, turn: Turn, room: Room, room_id: RoomId) -> None:
        """Say everything that is kept for this person; they are invited again when they left."""
        if room.person is None:
            return
        if await turn.work.rooms.membership(room_id, room.person) not in INSIDE:
            await turn.work.rooms.set_member(room_id, room.person, "invite")
            await turn.emit(f"invite/{room.person}", Invite(room_id=room_id, user_id=room.person, is_direct=True))
        for letter in await turn.work.cases.of(room.war_room, Letter, only_open=True):
            if not await self._may_know(turn, letter, room.person):
                await turn.work.cases.put(room.war_room, replace(letter, text="", is_open=False))
                await turn.note("letter.withheld", subject=room.war_room, details={"incident": letter.incident_id})
                continue
            await turn.emit(
                f"letter/{letter.id}",
                Say(
                    room_id=room_id,
                    content=letter.text,
                    notify=letter.notify,
                    signed_only=letter.signed_only,
                    mentions=(room.person,) if letter.notify else (),
                ),
            )
            await turn.work.cases.put(room.war_room, replace(letter, is_open=False))

    async def _may_know(self, turn: Turn, letter: Letter, person: UserId) -> bool:
        """Whether they may read it now: it may have waited for their chat."""
        if letter.incident_id is None:
            return True
        room = await turn.work.rooms.of_incident(letter.incident_id)
        return room is not None and (await permission(turn.work, room, person, self._policy)).allowed

    async def said(self, turn: Turn, room: Room, key: str, event_id: EventId) -> None:
        """A letter was said: remember which message it is."""
        _, is_letter, letter_id = key.rpartition("/letter/")
        letter = await turn.work.cases.get(room.war_room, Letter, letter_id) if is_letter else None
        if letter is not None:
            await turn.work.cases.put(room.war_room, replace(letter, event_id=event_id))
