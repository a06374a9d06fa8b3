"""`classify`: how sensitive the incident is, and who may stay in its room then.

higher ─► who would lose access, by name ─► yes ─► ETB ─► out with them, before the answer
lower  ─► somebody else approves ────────────────► ETB ─► whoever is cleared now is invited
"""

from dataclasses import replace

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.clearance import ONLY_VERIFIED, Right
from etb_appservice.domain.effects import ChangeIncident
from etb_appservice.domain.ids import UserId
from etb_appservice.domain.text import code, some_of
from etb_appservice.flows.call import Call
from etb_appservice.flows.commands import INCIDENT, Answer, Asking, Reply, command
from etb_appservice.flows.grammar import Rest, UsageError
from etb_appservice.flows.named import look_up_all
from etb_appservice.flows.raising import SURE, raise_plan
from etb_appservice.flows.removals import learned_all, put_out_whom_it_must
from etb_appservice.flows.surroundings import Surroundings, level_here, level_of
from etb_appservice.flows.timeline import write_down

_LEVELS = tuple(level.name for level in Classification)


async def look(asking: Asking) -> Surroundings:
    """ETB's word of now on everybody whom it names for the incident."""
    return await look_up_all(asking)


async def told(reply: Reply) -> Answer:
    """Old and new; whoever may not know it any more is out before this is said."""
    found, effect = reply.done.found, reply.effect
    before, after = found.get("old_classification", ""), found.get("classification", "")
    assert isinstance(effect, ChangeIncident)  # noqa: S101 - it is what this command asks for
    known = await reply.work.incidents.get(effect.incident_id)
    level = Classification.read(after)
    removed: tuple[UserId, ...] = ()
    if known is not None and level is not None:
        changed = replace(
            known.incident,
            stated=level,
            updated_at_ms=max(known.incident.updated_at_ms, int(found.get("updated_ms", "0"))),
        )
        await reply.work.incidents.put(replace(known, incident=changed))
        removed = await put_out_whom_it_must(reply.turn, reply.room, reply.policy)
    if before == after:
        return Answer(f"The classification was **{after}** already; nothing was changed.")
    title = f"Classification: {after} (was {before or 'not stated'})"
    await write_down(reply.turn, reply.room, "OTHER", title, server=reply.policy.server_name, by=reply.run.caller)
    lines = [f"Classification: **{after}** (was {before or 'not stated in ETB'})."]
    if removed:
        lines.append(f"Removed from this room: {some_of([code(one) for one in removed])}.")
    return Answer("\n\n".join(lines))


@command(
    needs=Right.COMMANDER,
    where=INCIDENT,
    prepare=look,
    then=told,
    example="classify restricted",
    asks_approval=True,
)
async def classify(call: Call, level: Rest) -> Answer:
    """Change the incident's classification in ETB, and with it who may be in this room.

    The levels are PUBLIC, INTERNAL, CONFIDENTIAL, RESTRICTED and TOP_SECRET. To raise it you are shown who would
    lose access and asked; to lower it somebody else has to approve. Only from a device that you have verified.
    """
    wanted = Classification.read(level)
    if wanted is None:
        raise UsageError(f"The levels are {', '.join(f'`{one}`' for one in _LEVELS)}.")
    if not call.actor.is_cross_signed:
        return Answer(ONLY_VERIFIED, "REFUSED")
    if isinstance(call.before, Surroundings):
        await learned_all(call.turn, call.before.users.values(), call.policy)
    known = await call.known()
    present = level_here(call.room, known.incident, call.policy)
    after = level_of(replace(known.incident, stated=wanted), call.policy)
    if known.incident.stated is wanted:
        return Answer(f"The classification is **{wanted.name}** already; nothing was changed.")
    if after > present:
        plan = await raise_plan(call, present, after)
        if "classify" in call.policy.approvals.commands:
            if not call.is_approved:
                return await call.hold(plan)
        elif SURE not in call.learned:
            return await call.ask(f"{plan}\n\nDo it? Answer `yes` or `no`.", wanted=SURE, asks_yes=True)
    elif not call.is_approved:
        return await call.hold(
            f"lower the classification from **{present.name}** to **{wanted.name}**"
            + (f" (this room stays at **{after.name}**, as the configuration asks)" if after > wanted else "")
            + ": people who are not cleared for it now may be let in, and later messages are read by them"
        )
    return await call.etb(ChangeIncident(incident_id=call.incident_id, classification=wanted))
