"""Who an ETB user is in Matrix, by their own word: asked for on ETB's side, said on Matrix's.

    offer ──> code, kept as a digest ──> `link <code>` from an account of ours ──> Linked ──> rights looked at anew
                                                                     unlink ──> no longer ──> rights looked at anew

What was linked counts for the people map from the commit on, which `Turn.linked` carries there; after a restart it
is read back. The operator's entries go before it. Must never let one Matrix account speak for two ETB users, and
never tell a guesser how wrong a code was.
"""

from dataclasses import replace
from typing import Literal

from etb_appservice.domain.facts import KeptOutDue
from etb_appservice.domain.ids import IncidentId, UserId, Username
from etb_appservice.domain.links import (
    CODE_MS,
    GUESSES_MS,
    MOST_GUESSES,
    Guesses,
    LinkCode,
    Linked,
    digest_of,
    opens,
)
from etb_appservice.domain.policy import Policy
from etb_appservice.domain.rooms import CONTROL_ROOM
from etb_appservice.flows.removals import doubt_rights
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import Store, Work

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


async def offer(turn: Turn, username: Username, code: str, policy: Policy) -> bool:
    """Take a fresh `new_code()` for whoever is signed in at ETB as this user; it must be shown to them alone.

    False: the operator has said which Matrix account is theirs. Repeating is safe.
    """
    if username in policy.people.entries:
        return False
    until_ms = turn.now_ms + CODE_MS
    await turn.work.cases.put(CONTROL_ROOM, LinkCode(id=username, digest=digest_of(code), until_ms=until_ms))
    await turn.note("link.offered", actor=username, subject=username)
    return True


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


async def unlink(turn: Turn, username: Username, *, by: UserId) -> bool:
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
