"""Approval by others: a request with a short code, `approve` and `revoke`, and what follows when enough agree.

    hold ─► OPEN ─► approve … approve ─► APPROVED ─► HeldDue ─► the command runs, as its asker ─► RUN

Who may approve is decided by `clearance.decide` alone; a reaction is never looked at. The command is checked again
when it runs: what holds is the state at that moment. A request for break-glass needs the other of two roles, whose
holders may be in no room together: it alone is found by its code from any room.
"""

import secrets
from dataclasses import replace
from datetime import UTC, datetime

from etb_appservice.domain.approvals import CODE_LENGTH, LETTERS, Approval, ApprovalState, Approved, code_of
from etb_appservice.domain.breakglass import GlassRole
from etb_appservice.domain.clearance import Actor, Approving, decide
from etb_appservice.domain.effects import Say
from etb_appservice.domain.facts import ApprovalEnds, HeldDue
from etb_appservice.domain.ids import RoomId, Username, new_id
from etb_appservice.domain.living import Living
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.questions import Held
from etb_appservice.domain.text import code
from etb_appservice.flows.living import show
from etb_appservice.flows.questions import typed
from etb_appservice.flows.standing import subject_of
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import CommandStatus, Room, Work

_AGAIN_MS = 15_000
_ENDED: dict[ApprovalState, str] = {
    "RUN": "That has run already.",
    "WITHDRAWN": "That was withdrawn.",
    "EXPIRED": "That is too late: nobody approved it in time. Whoever wants it asks again.",
}


async def hold(
    turn: Turn,
    room: Room,
    held: Held,
    what: str,
    *,
    requester: Username | None,
    is_signed: bool,
    policy: Policy,
    glass: tuple[GlassRole, ...] = (),
) -> Approval:
    """Ask for approval of a command; `what` says in Markdown what it would do."""
    terms = policy.approvals
    role = "operator" if room.kind == "control" else terms.role
    approval = Approval(
        id=new_id(turn.now_ms),
        code=await _new_code(turn.work),
        held=held,
        what=what,
        requester=requester,
        needed=1 if glass else terms.needed,
        role=f"break-glass {' or '.join(glass)}" if glass else role,
        asked_ms=turn.now_ms,
        expires_ms=turn.now_ms + int(terms.within_s * 1000),
        is_signed=is_signed,
        # A reply out of a thread would stand in nobody's thread: the request is for the whole room.
        living=Living(reply_to=None if held.thread_root else held.event_id),
        glass=glass,
    )
    await _put(turn, room, approval, policy)
    await turn.follow(
        ApprovalEnds(war_room=room.war_room, approval=approval.id),
        ("approval", approval.id),
        due_ms=approval.expires_ms,
    )
    await turn.note(
        "approval.asked",
        actor=held.caller,
        subject=approval.id,
        details={"run": held.run_id, "command": held.command, "needed": approval.needed, "role": approval.role},
        contents={"what": what},
    )
    return approval


async def approve(turn: Turn, room: Room, actor: Actor, word: str, policy: Policy) -> tuple[str, CommandStatus]:
    """Somebody approves: what to say to them, and how their command ended."""
    found = await _by_code(turn.work, room, actor, word)
    if found is None:
        return _unknown(word), "FAILED"
    home, approval = found
    action = Approving(
        role=policy.approvals.role,
        requester_id=approval.held.caller,
        requester=approval.requester,
        glass=frozenset(approval.glass),
    )
    decision = decide(actor, action, subject_of(room, policy))
    if not decision.allowed:
        await turn.note("approval.refused", actor=actor.user_id, subject=approval.id)
        return decision.reason, "REFUSED"
    if ended := _ended(approval, turn.now_ms):
        return ended, "FAILED"
    if _of(approval, actor) is not None:
        return f"You have approved this already ({_count(approval)}).", "FAILED"
    if approval.state == "APPROVED":
        return "This has all the approvals it needs.", "FAILED"
    mine = Approved(user_id=actor.user_id, username=actor.username or Username(""), at_ms=turn.now_ms)
    approval = replace(approval, by=(*approval.by, mine))
    is_enough = len(approval.by) >= approval.needed
    if is_enough:
        approval = replace(approval, state="APPROVED")
        await again(turn, home, approval, due_ms=None)
    await _put(turn, home, approval, policy)
    await turn.note(
        "approval.given", actor=actor.user_id, subject=approval.id, details={"count": len(approval.by)}
    )
    return ("Approved. It runs now." if is_enough else f"Approved ({_count(approval)})."), "SUCCESS"


async def revoke(turn: Turn, room: Room, actor: Actor, word: str, policy: Policy) -> tuple[str, CommandStatus]:
    """Somebody takes their approval back, or withdraws what they asked for: what to say, and how it ended."""
    found = await _by_code(turn.work, room, actor, word)
    if found is None:
        return _unknown(word), "FAILED"
    home, approval = found
    if ended := _ended(approval, turn.now_ms):
        return ended, "FAILED"
    if is_requester(approval, actor):
        await withdraw(turn, home, approval, policy)
        return f"Withdrawn: {typed(approval.held)} is not run.", "SUCCESS"
    mine = _of(approval, actor)
    if mine is None:
        return "You have not approved that, and you did not ask for it.", "FAILED"
    approval = replace(approval, by=tuple(one for one in approval.by if one != mine), state="OPEN")
    await _put(turn, home, approval, policy)
    await turn.note("approval.revoked", actor=actor.user_id, subject=approval.id)
    return f"Taken back ({_count(approval)}).", "SUCCESS"


async def withdraw(turn: Turn, room: Room, approval: Approval, policy: Policy) -> None:
    """Its requester no longer wants it."""
    await _end(turn, room, approval, "WITHDRAWN", policy)


async def ends(turn: Turn, fact: ApprovalEnds, policy: Policy) -> None:
    """The time is over: said once."""
    room = await turn.work.rooms.by_war_room(fact.war_room)
    approval = await turn.work.cases.get(fact.war_room, Approval, fact.approval)
    if room is None or approval is None or not approval.is_open:
        return
    await _end(turn, room, approval, "EXPIRED", policy)
    held = approval.held
    await turn.emit(
        "expired",
        Say(
            room_id=held.room_id,
            content=f"{typed(held)} was not approved in time, so it was not run.",
            reply_to=held.event_id,
            thread_root=held.thread_root,
            purpose="answer",
        ),
    )


async def granted(work: Work, fact: HeldDue) -> Approval | None:
    """The approval by which a command may run now; None when it was taken back meanwhile, or time is over."""
    approval = await work.cases.get(fact.war_room, Approval, fact.approval)
    if approval is None or approval.state != "APPROVED" or work.now_ms() >= approval.expires_ms:
        return None
    return approval


async def move(turn: Turn, room: Room, room_id: RoomId, policy: Policy) -> None:
    """The war room has moved into another room: what waits stands there, and is answered there."""
    for approval in await turn.work.cases.of(room.war_room, Approval, only_open=True):
        # The message that asked stays behind: a reply to it would point at nothing.
        held = replace(approval.held, room_id=room_id, thread_root=None)
        await _put(
            turn, room, replace(approval, held=held, living=replace(approval.living, reply_to=None)), policy
        )


async def again(turn: Turn, room: Room, approval: Approval, *, due_ms: int | None) -> None:
    """Have the command run, now or a little later."""
    fact = HeldDue(war_room=room.war_room, approval=approval.id)
    # In the lane of the room where it was asked, whoever approves from elsewhere: it runs once, in order.
    await turn.follow(
        fact, ("held", approval.id, turn.ref), lane=room.incident_id or room.room_id or "", due_ms=due_ms
    )


async def wait_for_etb(turn: Turn, room: Room, approval: Approval) -> bool:
    """It can't run while ETB is away: it is tried again until its time is over. True the first time."""
    await again(turn, room, approval, due_ms=turn.now_ms + _AGAIN_MS)
    return await turn.work.once.first_time("held", approval.id)


async def has_run(turn: Turn, room: Room, approval: Approval, policy: Policy) -> None:
    """From now on nobody can take anything back."""
    await _put(turn, room, replace(approval, state="RUN", is_open=False), policy)


def names(approval: Approval) -> tuple[str, ...]:
    """Who approved, as the room knows them."""
    return tuple(one.username or one.user_id for one in approval.by)


def is_requester(approval: Approval, actor: Actor) -> bool:
    """Whether somebody is the person who asked, whichever Matrix id they use."""
    return actor.is_person(approval.requester, approval.held.caller)


def _of(approval: Approval, actor: Actor) -> Approved | None:
    for one in approval.by:
        if one.user_id == actor.user_id or (actor.username is not None and one.username == actor.username):
            return one
    return None


def _ended(approval: Approval, now_ms: int) -> str:
    """Why nothing can be done about it any more; empty while something can."""
    state: ApprovalState = "EXPIRED" if approval.is_open and now_ms >= approval.expires_ms else approval.state
    return _ENDED.get(state, "")


async def _end(turn: Turn, room: Room, approval: Approval, state: ApprovalState, policy: Policy) -> None:
    await _put(turn, room, replace(approval, state=state, is_open=False), policy)
    await turn.finish_run(room.war_room, approval.held.run_id, status="CANCELLED", result=state.lower())
    await turn.note(f"approval.{state.lower()}", subject=approval.id, details={"run": approval.held.run_id})


async def _put(turn: Turn, room: Room, approval: Approval, policy: Policy) -> None:
    """Keep it, and show it."""
    shown = await show(turn, room, approval, _text(approval, policy.commands.prefixes[0]))
    await turn.work.cases.put(room.war_room, shown)


async def _by_code(work: Work, room: Room, actor: Actor, word: str) -> tuple[Room, Approval] | None:
    """The request of this room with that code: an open one, else the latest; and where it stands.

    Holders of a break-glass role are answered for such a request of any other room too.
    """
    wanted = code_of(word)
    found = [one for one in await work.cases.of(room.war_room, Approval) if one.code == wanted]
    here = next((one for one in found if one.is_open), found[-1] if found else None)
    if actor.glass and (here is None or not here.is_open):
        for war_room, one in await work.cases.all_open(Approval):
            home = await work.rooms.by_war_room(war_room) if one.glass and one.code == wanted else None
            if home is not None:
                return home, one
    return None if here is None else (room, here)


async def _new_code(work: Work) -> str:
    """A code that no open request has, in any room."""
    taken = {one.code for _, one in await work.cases.all_open(Approval)}
    while True:
        made = "".join(secrets.choice(LETTERS) for _ in range(CODE_LENGTH))
        if made not in taken:
            return made


def _unknown(word: str) -> str:
    return f"There is no request with the code {code(word, 20)} in this room."


def _count(approval: Approval) -> str:
    return f"{len(approval.by)} of {approval.needed}"


def _text(approval: Approval, prefix: str) -> str:
    """The request as the room reads it."""
    until = datetime.fromtimestamp(approval.expires_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    heads: dict[ApprovalState, str] = {
        "OPEN": f"Approval needed: `{approval.code}`",
        "APPROVED": "Approved",
        "RUN": "Approved",
        "WITHDRAWN": "Withdrawn",
        "EXPIRED": "Not approved in time",
    }
    lines = [
        f"**{heads[approval.state]}**",
        "",
        f"- Asked by {code(approval.requester or approval.held.caller)}: {approval.what}",
    ]
    if approval.state == "OPEN":
        many = "person" if approval.needed == 1 else "people"
        lines += [
            f"- Needs {approval.needed} {many} with the role {approval.role}, not the asker, on a verified device",
            f"- To approve it: `{prefix}approve {approval.code}`",
            f"- Open until {until}. `{prefix}revoke {approval.code}` takes an approval back, or the request",
        ]
    who = ", ".join(code(name) for name in names(approval)) or "nobody"
    return "\n".join([*lines, f"- Approved by: {who} ({_count(approval)})"])
