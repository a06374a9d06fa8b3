"""A web user in a war room, within a unit of work: whether they may be there, and what they may name.

    the fact ─► is there such a room, may they be in it? ─no─► not_found, the same for both
                 ├─► is it being made, is it only read? ───────► upstream_error, room_closed
                 └─► Visitor ─► a message of this room, of a level that they are cleared for ─► else not_found

What they are is what ETB says of them: the newer of our copy and of what it said when it confirmed their token.
"""

from dataclasses import dataclass

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.conversation import Person
from etb_appservice.domain.ids import EventId, IncidentId, RoomId, UserId, Username
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.web import RefusalCode, WebAct
from etb_appservice.flows.closings import closing_of
from etb_appservice.flows.keeping import HELD, is_held
from etb_appservice.flows.past import past_of
from etb_appservice.flows.permitted import Circle, Permission, circle_of, newer, permission_of
from etb_appservice.flows.removals import vouched
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import SHOWN, Message, Room, Work, unsent

WEB = "web/"
"""What the keys of effects begin with that a web user asked for: `web/<id of the act>/<what>/<of what>`."""


class No(Exception):
    """It is not done. Raised before anything is written. `detail` is a sentence for whoever asked."""

    def __init__(self, code: RefusalCode, detail: str, *, field: str = "") -> None:
        super().__init__(detail)
        self.code: RefusalCode = code
        self.detail = detail
        self.field = field


@dataclass(frozen=True, slots=True)
class Thread:
    """Where an answer goes."""

    root: EventId | None = None
    reply_to: EventId | None = None
    """What it answers there, where that isn't the root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where somebody acts, and as whom. Reads only."""

    work: Work
    policy: Policy
    room: Room
    room_id: RoomId
    incident_id: IncidentId
    circle: Circle
    permission: Permission
    username: Username
    ghost: UserId
    """Who speaks for them in Matrix."""

    @property
    def person(self) -> Person:
        """As both sides know them."""
        return Person(self.ghost, self.username)

    async def message(self, message_id: str, field: str = "message_id") -> Message:
        """A message of this room that they may know."""
        found = await self.work.messages.get(message_id)
        if found is None or found.lane != self.incident_id or found.state not in SHOWN:
            raise No("not_found", "There is no such message in this room.", field=field)
        past = await past_of(self.work, self.room)
        if past.level(found) > (self.permission.up_to or Classification.PUBLIC):
            raise No("not_found", "There is no such message in this room.", field=field)
        return found

    async def not_held(self) -> None:
        """Nothing can be taken back under a legal hold."""
        if await is_held(self.work, self.room.war_room):
            raise No("legal_hold", HELD)

    async def present(self, message_id: str) -> Message:
        """The same, in the room of now: what a replaced room shows can't be changed from here."""
        found = await self.message(message_id)
        if found.room_id != self.room_id:
            raise No("room_closed", "This was said in a room that was replaced since.")
        return found

    async def thread(self, reply_to: str | None) -> Thread:
        """Where a message is answered: in its thread, which the answer begins where there is none."""
        if reply_to is None:
            return Thread()
        message = await self.message(reply_to, "reply_to_id")
        if message.room_id != self.room_id:
            raise No("room_closed", "That was said in a room that was replaced since.", field="reply_to_id")
        if message.thread_root is None:
            return Thread(root=message.event_id)
        return Thread(message.thread_root, message.event_id)

    def is_own(self, message: Message) -> bool:
        """Whether they said it, here or in Matrix."""
        return message.details.username == self.username


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor(Place):
    """Where somebody acts who may write: with the turn to do it in."""

    turn: Turn
    act: str

    def key(self, what: str, of: str = "") -> str:
        """Of an effect that this act asks for."""
        return f"{WEB}{self.act}/{what}" + (f"/{of}" if of else "")


def lasting_name(message: Message, policy: Policy) -> EventId:
    """How a message is called for good: by its own id where it was said here, by Matrix's event elsewhere."""
    return unsent(message.id) if policy.ghosts.username(message.sender) is not None else message.event_id


async def place_of(work: Work, fact: WebAct, policy: Policy) -> Place:
    """Raises No where they may not be, or nothing can be done there now."""
    username = fact.by.username
    room = await work.rooms.by_war_room(fact.war_room)
    if room is None or room.kind != "incident" or room.incident_id is None:
        raise No("not_found", "There is no such war room.")
    circle = await circle_of(work, room)
    copy = newer(await work.incidents.user(username), (fact.by, fact.confirmed_ms))
    permission = await permission_of(work, room, username, policy, known=(circle, copy))
    if not permission.allowed:
        raise No("not_found", "There is no such war room.")
    if room.room_id is None:
        raise No("upstream_error", "The room is being made. Ask again in a moment.")
    closing = await closing_of(work, room)
    if closing is not None and closing.is_open and closing.is_read_only:
        raise No("room_closed", "The incident has ended, and its room is only read.")
    ghost = policy.ghosts.user_id(username)
    if ghost is None:
        raise No("forbidden", "Your ETB username makes no Matrix user, so nothing can be said for you.")
    return Place(
        work=work,
        policy=policy,
        room=room,
        room_id=room.room_id,
        incident_id=room.incident_id,
        circle=circle,
        permission=permission,
        username=username,
        ghost=ghost,
    )


async def enter(turn: Turn, fact: WebAct, policy: Policy) -> Visitor:
    """The same, to write. What ETB has just said of them is kept, so that the room's other doors know it too."""
    place = await place_of(turn.work, fact, policy)
    await vouched(turn, fact.by, fact.confirmed_ms, policy)
    return Visitor(
        work=place.work,
        policy=policy,
        room=place.room,
        room_id=place.room_id,
        incident_id=place.incident_id,
        circle=place.circle,
        permission=place.permission,
        username=place.username,
        ghost=place.ghost,
        turn=turn,
        act=fact.act,
    )
