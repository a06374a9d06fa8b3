"""What ETB's web users ask for, decided: one act, one unit of work, one ruling, which whoever asked waits for.

    gateway ─► Acts, inbox (one commit) ─► WebSaid … ─► may they? ─┬► done: record, news, effects by their ghost
                                                                   └► No ─► nothing but the ruling is kept

The ruling stands in the commit that decides the act, so that it is the answer after a restart too. A refusal is
raised before anything is written.
"""

from dataclasses import dataclass
from typing import assert_never

from etb_appservice.domain.policy import Policy
from etb_appservice.domain.web import (
    Ruling,
    WebDeleted,
    WebEdited,
    WebFact,
    WebPinned,
    WebRan,
    WebReacted,
    WebSaid,
)
from etb_appservice.flows import webmarks, webtexts
from etb_appservice.flows.listening import Asked
from etb_appservice.flows.turn import Turn
from etb_appservice.flows.visitor import No, enter
from etb_appservice.flows.webruns import WebRuns
from etb_appservice.flows.webtexts import Fits


@dataclass(frozen=True, slots=True)
class Web:
    """Decides acts of web users. `fits`: whether a text fits into one event."""

    runs: WebRuns
    policy: Policy
    fits: Fits

    async def look(self, fact: WebFact) -> Asked | None:
        """What must be read of ETB first."""
        return await self.runs.look(fact) if isinstance(fact, WebRan | WebSaid) else None

    async def decide(self, turn: Turn, fact: WebFact, asked: Asked | None) -> None:
        """Do it or refuse it."""
        try:
            ruling = await self._done(turn, fact, asked)
        except No as no:
            ruling = Ruling(code=no.code, detail=no.detail, field=no.field)
            if no.code == "forbidden":
                who = self.policy.ghosts.user_id(fact.by.username) or fact.by.username
                await turn.note(
                    "web.refused",
                    actor=who,
                    subject=fact.act,
                    details={"room": fact.war_room, "what": fact.kind, "code": no.code},
                )
        await turn.work.acts.decide(fact.act, ruling)
        turn.acts.append(fact.act)

    async def _done(self, turn: Turn, fact: WebFact, asked: Asked | None) -> Ruling:
        visitor = await enter(turn, fact, self.policy)
        match fact:
            case WebSaid():
                message = await webtexts.said(visitor, fact, self.fits)
                await self.runs.answered(visitor, fact, message, asked)
                return Ruling(result=message.id)
            case WebRan():
                return await self.runs.ran(visitor, fact, asked)
            case WebEdited(message_id=message_id):
                await webtexts.edited(visitor, fact, self.fits)
            case WebDeleted(message_id=message_id):
                await webtexts.deleted(visitor, fact)
            case WebReacted(message_id=message_id):
                await webmarks.reacted(visitor, fact)
            case WebPinned(message_id=message_id):
                await webmarks.pinned(visitor, fact)
            case _:
                assert_never(fact)
        return Ruling(result=message_id)
