"""`page`: call somebody to the incident, so that their phone rings."""

import asyncio
from dataclasses import dataclass

from etb_appservice.domain.clearance import Right
from etb_appservice.domain.drills import is_drill
from etb_appservice.domain.ids import Username
from etb_appservice.domain.incident import OnCall
from etb_appservice.domain.pages import Page
from etb_appservice.domain.text import code, plain
from etb_appservice.flows import pages
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import INCIDENT, Answer, Asking, Reply, command
from etb_appservice.flows.grammar import Person, Rest, UsageError, person
from etb_appservice.flows.removals import learned_all
from etb_appservice.flows.surroundings import Surroundings, answer_within


@dataclass(frozen=True, slots=True)
class Found:
    """What ETB said: who is on call, and the accounts of whoever may be meant."""

    around: Surroundings


async def look_up(asking: Asking) -> Found:
    """Ask ETB for the user of that name, for who is on call, and for the users of the team that is meant."""
    word = asking.arguments["target"]
    try:
        name = person(asking.policy, word)
    except UsageError:
        return Found(Surroundings())
    user, on_call = await asyncio.gather(
        answer_within(asking.etb.user(name), asking.limit_s), answer_within(asking.etb.on_call(), asking.limit_s)
    )
    users = {name: user.value} if user else {}
    rows = on_call.value if on_call else ()
    members = sorted({row.username for row in rows if _is_called(row, word)} - users.keys())
    answers = await asyncio.gather(*(answer_within(asking.etb.user(one), asking.limit_s) for one in members))
    users |= {one: answer.value for one, answer in zip(members, answers, strict=True) if answer}
    return Found(Surroundings(on_call=on_call.value if on_call else None, users=users))


async def told(reply: Reply) -> Answer:
    """Whom it reached, and what ETB made of it."""
    sent = await reply.work.cases.get(reply.room.war_room, Page, reply.run.id)
    names = ", ".join(code(name) for name in sent.targets) if sent else "Somebody"
    level = reply.done.found.get("level", "")
    at = f", level {plain(level)}" if level else ""
    text = f"Paged {names}. ETB has started an escalation{at}."
    return Answer("\n".join([text, *(f"Not paged: {one}" for one in (sent.left_out if sent else ()))]))


@command(needs=Right.RESPONDER, where=INCIDENT, prepare=look_up, then=told, example="page carol the mail queue")
async def page(call: Call, target: Person, text: Rest | None = None) -> Answer:
    """Page somebody, or the people on call of a team: in this room, in a direct chat, and as an escalation in ETB.

    `target` is an ETB username, a Matrix id, or the name of an on-call rotation or its team. Whoever isn't in this
    room is invited. What follows the name is said to them. Only people who are cleared for the incident are paged.
    """
    around = call.before.around if isinstance(call.before, Found) else Surroundings()
    known = await call.known()
    # Whoever is let in must be known from now on, or they would be found missing at the next look.
    await learned_all(call.turn, around.users.values(), call.policy)
    names = await _meant(call, target, around)
    just = [name for name in names if await pages.was_just_paged(call.turn, call.room, name)]
    wanted = [name for name in names if name not in just]
    if not wanted:
        who = ", ".join(code(name) for name in just)
        return Answer(f"{who} was paged less than a minute ago. Wait a minute, then page again.", "FAILED")
    whom = await pages.callees(call.work, call.room, known.incident, call.policy, wanted, around)
    whom = pages.Callees(
        whom.people, (*whom.left_out, *(f"{code(name)} was paged less than a minute ago." for name in just))
    )
    if not whom.people:
        return Answer("\n".join(f"Not paged: {one}" for one in whom.left_out), "FAILED")
    effect = await pages.send_page(
        call.turn,
        call.room,
        known.incident,
        call.policy,
        page_id=call.run_id,
        by=call.name,
        whom=whom,
        text=" ".join((text or "").split()),
    )
    if is_drill(known.incident, call.policy):
        left_out = [f"Not paged: {one}" for one in whom.left_out]
        return Answer("\n".join(["Called in this room only: this is a drill.", *left_out]))
    return await call.etb(effect)


async def _meant(call: Call, word: str, around: Surroundings) -> list[Username]:
    """The user of that name; where ETB knows none, whoever is on call in the rotation or team of that name."""
    name = person(call.policy, word)
    if name in around.users:
        is_known = around.users[name] is not None
    else:
        is_known = await call.work.incidents.user(name) is not None
    if is_known or word.startswith("@"):
        return [name]
    on_call = around.on_call
    if on_call is None:
        remembered = await call.work.incidents.on_call()
        on_call = tuple(remembered[0]) if remembered else ()
    members = sorted({row.username for row in on_call if _is_called(row, word)})
    if members:
        return members
    rotations = sorted({row.rotation for row in on_call if row.rotation})
    hint = f" On call now: {', '.join(code(one) for one in rotations[:10])}." if rotations else ""
    raise UsageError(f"ETB knows no user {code(word)}, and nobody is on call in a team of that name.{hint}")


def _is_called(row: OnCall, word: str) -> bool:
    return word.casefold() in {row.rotation.casefold(), row.team.casefold()}
