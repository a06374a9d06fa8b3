"""Who comes and goes, as clients of a war room are told: once a person, however they are in.

    joins by their own Matrix id ──┐
    their ghost joins (they spoke) ─┼─► in by nothing before? ─► PersonJoined
    let in by ETB's pages alone ───┘         and by nothing after? ─► PersonLeft

Whether somebody has a socket open is another thing: that comes and goes with their network.
"""

from etb_appservice.domain.ids import UserId, Username
from etb_appservice.domain.news import PersonJoined, PersonLeft
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.roles import Admitted
from etb_appservice.flows.permitted import permission_of
from etb_appservice.flows.record import person_of
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import Room, Work


async def tell_of_move(turn: Turn, room: Room, user_id: UserId, before: str, after: str, policy: Policy) -> None:
    """A membership has changed. A room that was replaced has nobody any more."""
    is_service = policy.is_ours(user_id) and policy.ghosts.username(user_id) is None
    if is_service or not room.is_current or "join" not in {before, after} or before == after:
        return
    who = person_of(user_id, policy)
    if who.username and await is_in(turn.work, room, who.username, policy, but=user_id):
        return
    news = PersonJoined if after == "join" else PersonLeft
    turn.tell(news(war_room=room.war_room, person=who))


async def tell_of_change(turn: Turn, room: Room, username: Username, policy: Policy, *, was_in: bool) -> None:
    """Somebody was let in or put out without a Matrix id in the room; `was_in`: whether they were in before."""
    is_now = await is_in(turn.work, room, username, policy)
    user_id = policy.ghosts.user_id(username)
    if is_now is was_in or user_id is None:
        return
    news = PersonJoined if is_now else PersonLeft
    turn.tell(news(war_room=room.war_room, person=person_of(user_id, policy)))


async def is_in(work: Work, room: Room, username: Username, policy: Policy, *, but: UserId | None = None) -> bool:
    """Whether a person takes part by anything but that Matrix id."""
    for user_id in (policy.people.user_id(username), policy.ghosts.user_id(username)):
        if user_id is None or user_id == but or room.room_id is None:
            continue
        if await work.rooms.membership(room.room_id, user_id) == "join":
            return True
    admitted = await work.cases.get(room.war_room, Admitted, username)
    if admitted is None or not admitted.is_open or not admitted.by_web:
        return False
    return (await permission_of(work, room, username, policy)).allowed
