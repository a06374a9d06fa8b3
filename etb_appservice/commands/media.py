"""`media`: delete a file from the homeserver."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from etb_appservice.domain.clearance import Right
from etb_appservice.domain.effects import DeleteMedia
from etb_appservice.domain.holds import LegalHold
from etb_appservice.domain.ids import WarRoomId
from etb_appservice.domain.media import Media
from etb_appservice.domain.text import code
from etb_appservice.flows.admin import OFF
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import CONTROL, Answer, Reply, command
from etb_appservice.flows.grammar import UsageError
from etb_appservice.flows.keeping import HELD, is_held
from etb_appservice.ports import Work


async def told(reply: Reply) -> Answer:
    """What the homeserver made of it; our own note of the upload says so from now on."""
    effect = reply.effect
    mxc = effect.mxc if isinstance(effect, DeleteMedia) else ""
    for war_room, upload in await reply.work.cases.all_open(Media):
        if upload.id == mxc:
            await reply.work.cases.put(war_room, replace(upload, is_open=False))
    if reply.done.detail == "was gone":
        return Answer(f"{code(mxc)} was not there any more.")
    return Answer(f"{code(mxc)} is deleted from the homeserver. Copies elsewhere are out of my reach.")


@command(
    needs=Right.OPERATOR,
    where=CONTROL,
    then=told,
    example="media delete mxc://example.org/AbCdEf",
    asks_approval=True,
)
async def media(call: Call, action: Literal["delete"], mxc: str) -> Answer:
    """Delete a file from the homeserver, after approval by another operator.

    `mxc` is its address, as the transcript or a client shows it. This needs the administration of the homeserver,
    which is off unless it is set up. Nothing of an incident under legal hold is deleted.
    """
    del action  # there is one so far
    if not call.policy.administers:
        return Answer(OFF, "FAILED")
    server, _, name = mxc.removeprefix("mxc://").partition("/")
    if not mxc.startswith("mxc://") or server != call.policy.server_name or not name or "/" in name:
        raise UsageError(
            f"`mxc` is an address on this homeserver, such as `mxc://{call.policy.server_name}/AbCdEf`."
        )
    found = [(war_room, one) for war_room, one in await call.work.cases.all_open(Media) if one.id == mxc]
    if held := await _held(call.work, [war_room for war_room, _ in found]):
        return Answer(held, "FAILED")
    if not call.is_approved:
        return await call.hold(f"Delete {code(mxc)}{_known(found)} from the homeserver for good.")
    await call.turn.note("media.delete", actor=call.actor.user_id, subject=mxc)
    return await call.admin(DeleteMedia(mxc=mxc))


async def _held(work: Work, war_rooms: Sequence[WarRoomId]) -> str:
    """What keeps a file from being deleted: a legal hold, also one that may be of its incident."""
    if not war_rooms and await work.cases.where_open(LegalHold):
        return "I don't know whose file that is, and an incident is under legal hold: it may be of that one."
    for war_room in war_rooms:
        if await is_held(work, war_room):
            return HELD
    return ""


def _known(found: Sequence[tuple[WarRoomId, Media]]) -> str:
    """What we know of it."""
    known = found[0][1] if found else None
    return f" ({code(known.filename, 80)}, {known.size} bytes, sent by me)" if known else ""
