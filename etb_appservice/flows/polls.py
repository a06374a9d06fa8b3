"""Polls: whoever doesn't see them as such reads how they stand (MSC3381).

    a poll is begun ─► a message and the case's Poll      PollVoted, PollEnded ─► its message says how it stands

Only decrypted votes get here. They are shown, and nothing else follows from them.
"""

from dataclasses import replace

from etb_appservice.domain.conversation import Poll, Vote
from etb_appservice.domain.facts import (
    CameTooEarly,
    EventRedacted,
    MessageReceived,
    PollAsked,
    PollEnded,
    PollVoted,
)
from etb_appservice.domain.ids import NOBODY, EventId
from etb_appservice.domain.news import MessageUpdated
from etb_appservice.domain.policy import Policy
from etb_appservice.flows.early import is_wanted, look_later
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import Room

_MOST_VOTES = 2000


async def begun(turn: Turn, room: Room, fact: MessageReceived, asked: PollAsked) -> str:
    """Somebody asks everybody; answers the text of the message."""
    poll = Poll(
        id=fact.event_id,
        by=fact.sender,
        question=asked.question,
        answers=asked.answers,
        is_disclosed=asked.is_disclosed,
        most=asked.most,
    )
    if await turn.work.cases.get(room.war_room, Poll, poll.id) is None:
        await turn.work.cases.put(room.war_room, poll)
    return poll.text()


async def decided(
    turn: Turn, room: Room, fact: PollVoted | PollEnded, policy: Policy, *, early: CameTooEarly | None = None
) -> None:
    """Somebody voted, or whoever began it ended it. `early`: before the poll could be read."""
    poll = await turn.work.cases.get(room.war_room, Poll, fact.poll)
    if poll is None:
        await look_later(turn, fact, early)
        return
    if not poll.is_open or not await is_wanted(turn, early):
        return
    if isinstance(fact, PollEnded):
        if fact.sender == poll.by:
            await _show(turn, room, replace(poll, is_open=False))
        return
    vote = Vote(
        user_id=fact.sender,
        username=policy.people.username(fact.sender) or NOBODY,
        event_id=fact.event_id,
        answers=fact.answers,
        at_ms=turn.now_ms if early is None else early.came_ms,
    )
    now = poll.with_vote(vote)
    if len(now.votes) <= _MOST_VOTES:
        await _show(turn, room, now)


async def redacted(turn: Turn, room: Room, fact: EventRedacted) -> None:
    """A vote was taken back, or a poll with all that was asked in it."""
    poll = await turn.work.cases.get(room.war_room, Poll, fact.redacts)
    if poll is not None:
        gone = replace(poll, question="", answers=(), votes=(), is_open=False)
        await turn.work.cases.put(room.war_room, gone)
        return
    for one in await turn.work.cases.of(room.war_room, Poll, only_open=True):
        if any(vote.event_id == fact.redacts for vote in one.votes):
            await _show(turn, room, one.without_vote(fact.redacts))


async def _show(turn: Turn, room: Room, poll: Poll) -> None:
    await turn.work.cases.put(room.war_room, poll)
    message = await turn.work.messages.by_event(EventId(poll.id))
    if message is not None and message.state == "open" and message.body != poll.text():
        await turn.work.messages.put(replace(message, body=poll.text()))
        turn.tell(MessageUpdated(war_room=room.war_room, message_id=message.id))
