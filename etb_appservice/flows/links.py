"""Who an ETB user is in Matrix, by their own word: asked for on ETB's side, said on Matrix's.

    offer ──> code, kept as a digest ──> `link <code>` from an account of ours ──> Linked ──> rights looked at anew
                                                                     unlink ──> no longer ──> rights looked at anew

What was linked counts for the people map from the commit on, which `Turn.linked` carries there; after a restart it
is read back. The operator's entries go before it. Must never let one Matrix account speak for two ETB users, and
never tell a guesser how wrong a code was.
"""

import math
from dataclasses import replace
from typing import Literal, assert_never

from etb_appservice.domain.facts import KeptOutDue, LinkCodeAsked, UnlinkAsked
from etb_appservice.domain.ids import IncidentId, UserId, Username
from etb_appservice.domain.links import (
    CODE_MS,
    GUESSES_MS,
    MOST_GUESSES,
    MOST_OFFERS,
    OFFERS_MS,
    Guesses,
    LinkCode,
    Linked,
    digest_of,
    opens,
)
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.rooms import CONTROL_ROOM
from etb_appservice.domain.verdicts import Verdict
from etb_appservice.flows.removals import doubt_rights
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import Store, Work

LinkFact = LinkCodeAsked | UnlinkAsked
_CONFIGURED = "An operator has already said which Matrix account is yours. Ask an operator to change it."
_TOO_OFTEN = "You have asked for many codes. Use the last one, or wait."
Answered = Literal["linked", "linked before", "wrong", "too often", "configured", "another's", "not ours"]


async def load_links(store: Store, policy: Policy) -> None:
    """After a start: who has linked themselves."""
    async with store.view() as view:
        for _, entry in await view.cases.all_open(Linked):
            policy.people.links.put(entry.id, entry.user_id)


def after_commit(turn: Turn, policy: Policy) -> None:
    """To be called by whoever has committed a turn, at once: what was linked in it counts from now on."""
    for username, user_id in turn.linked:
        policy.people.links.put(username, user_id)


async def decided(turn: Turn, fact: LinkFact, policy: Policy) -> None:
    """What somebody signed in at ETB asks for."""
    match fact:
        case LinkCodeAsked():
            await _code_asked(turn, fact, policy)
        case UnlinkAsked():
            await _unlink_asked(turn, fact)
        case _:
            assert_never(fact)


async def _code_asked(turn: Turn, fact: LinkCodeAsked, policy: Policy) -> None:
    """Somebody signed in at ETB asks for a code; whoever asked shows it once the verdict is `done`."""
    wait_ms = await offer(turn, fact.by.username, fact.digest, policy)
    if wait_ms is None:
        turn.verdicts.append(Verdict(ref=fact.ref, outcome="conflict", code="conflict", text=_CONFIGURED))
    elif wait_ms:
        turn.verdicts.append(
            Verdict(ref=fact.ref, outcome="too often", text=_TOO_OFTEN, after_s=math.ceil(wait_ms / 1000))
        )
    else:
        turn.verdicts.append(Verdict(ref=fact.ref, outcome="done"))


async def _unlink_asked(turn: Turn, fact: UnlinkAsked) -> None:
    """Somebody signed in at ETB wants to be linked no longer; a code that is under way ends too."""
    username = fact.by.username
    code = await turn.work.cases.get(CONTROL_ROOM, LinkCode, username)
    if code is not None and code.is_open:
        await turn.work.cases.put(CONTROL_ROOM, replace(code, digest="", is_open=False))
    was_linked = await unlink(turn, username, by=username)
    turn.verdicts.append(Verdict(ref=fact.ref, outcome="done" if was_linked else "there"))


async def offer(turn: Turn, username: Username, digest: str, policy: Policy) -> int | None:
    """Take a fresh `new_code()` by its digest, for whoever is signed in at ETB as this user.

    The code must be shown to them alone. 0: it is good from now on. Else nothing has changed: for how many
    milliseconds they must wait, or None where the operator has said which Matrix account is theirs.
    """
    if username in policy.people.entries:
        return None
    before = await turn.work.cases.get(CONTROL_ROOM, LinkCode, username)
    count, since_ms = (before.count, before.since_ms) if before is not None else (0, turn.now_ms)
    if turn.now_ms - since_ms >= OFFERS_MS:
        count, since_ms = 0, turn.now_ms
    if count >= MOST_OFFERS:
        return since_ms + OFFERS_MS - turn.now_ms
    until_ms = turn.now_ms + CODE_MS
    code = LinkCode(id=username, digest=digest, until_ms=until_ms, count=count + 1, since_ms=since_ms)
    await turn.work.cases.put(CONTROL_ROOM, code)
    await turn.note("link.offered", actor=username, subject=username)
    return 0


async def is_offered(work: Work) -> bool:
    """Whether somebody holds a code now, and may want to write to the bot for the first time."""
    now_ms = work.now_ms()
    return any(now_ms < code.until_ms for _, code in await work.cases.all_open(LinkCode))


async def redeem(turn: Turn, sender: UserId, typed: str, policy: Policy) -> Answered:
    """A code was typed by a Matrix account, in an encrypted chat alone with the bot."""
    guesses = await turn.work.cases.get(CONTROL_ROOM, Guesses, sender)
    if guesses is None or turn.now_ms - guesses.since_ms >= GUESSES_MS:
        guesses = Guesses(id=sender, count=0, since_ms=turn.now_ms)
    if guesses.count >= MOST_GUESSES:
        return "too often"
    digest = digest_of(typed)
    # All of them are compared, so that the time says nothing of which one it was.
    found = [code for _, code in await turn.work.cases.all_open(LinkCode) if opens(code, digest, turn.now_ms)]
    if len(found) != 1:
        await turn.work.cases.put(CONTROL_ROOM, replace(guesses, count=guesses.count + 1))
        await turn.note("link.refused", actor=sender, subject=sender, details={"why": "wrong"})
        return "wrong"
    [code] = found
    await turn.work.cases.put(CONTROL_ROOM, replace(code, digest="", is_open=False))
    answer = _obstacle(sender, code.id, policy)
    if answer is not None:
        await turn.note("link.refused", actor=sender, subject=sender, details={"why": answer})
        return answer
    before = await turn.work.cases.get(CONTROL_ROOM, Linked, code.id)
    if before is not None and before.is_open and before.user_id == sender:
        return "linked before"
    for _, other in await turn.work.cases.all_open(Linked):
        if other.user_id == sender:
            return "another's"
    former = policy.people.user_id(code.id)
    await turn.work.cases.put(CONTROL_ROOM, Linked(id=code.id, user_id=sender, at_ms=turn.now_ms))
    await turn.note("person.linked", actor=sender, subject=sender, details={"user": code.id})
    await _changed(turn, code.id, sender, former)
    return "linked"


async def unlink(turn: Turn, username: Username, *, by: UserId | Username) -> bool:
    """A linked account is nobody's from now on; False: there was none."""
    before = await turn.work.cases.get(CONTROL_ROOM, Linked, username)
    if before is None or not before.is_open:
        return False
    await turn.work.cases.put(CONTROL_ROOM, replace(before, is_open=False))
    await turn.note("person.unlinked", actor=by, subject=before.user_id, details={"user": username})
    await _changed(turn, username, None, before.user_id)
    return True


def _obstacle(sender: UserId, username: Username, policy: Policy) -> Answered | None:
    """Why this account can't be that user's, whatever code was typed."""
    if policy.is_ours(sender) or not policy.is_at_home(sender):
        return "not ours"
    if username in policy.people.entries:
        return "configured"
    speaks_for = policy.people.username(sender)
    return "another's" if speaks_for not in {None, username} else None


async def _changed(turn: Turn, username: Username, now: UserId | None, before: UserId | None) -> None:
    """Whoever was let in as that user is looked at again, and they are invited where they belong."""
    turn.linked.append((username, now))
    due_ms = turn.now_ms + _SOON_MS  # by then the people map has heard of it
    for user_id in (before, now):
        if user_id is not None:
            await doubt_rights(turn, user_id, due_ms=due_ms)
    if now is not None:
        await turn.follow(KeptOutDue(after=IncidentId("")), ("kept out", turn.ref, now), due_ms=due_ms)


_SOON_MS = 1_000
