"""Ghosts go when nobody says anything in their room any more.

They come by themselves, with their person's first word there (matrix/speech.py), and are judged as that person by
`permitted`; whoever may not be there is put out by `removals`.
"""

from etb_appservice.domain.effects import LeaveRoom
from etb_appservice.domain.ids import RoomId
from etb_appservice.domain.policy import Policy
from etb_appservice.flows.turn import Turn


async def dismiss_ghosts(turn: Turn, room_id: RoomId, policy: Policy) -> None:
    """Every ghost leaves a room. One whose person may speak there again comes back with their next word."""
    for user_id in sorted(await turn.work.rooms.present(room_id)):
        username = policy.ghosts.username(user_id)
        if username is not None:
            await turn.emit(f"leave/{user_id}", LeaveRoom(room_id=room_id, speaker=username))
