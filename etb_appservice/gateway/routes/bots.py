"""Bots (docs/etb-contract.md 5.3)."""

from uuid import UUID

from pydantic import Field, JsonValue

from etb_appservice.gateway.bots import bots
from etb_appservice.gateway.objects import Bot, Page
from etb_appservice.gateway.pages import Paged, neighbours, slice_of
from etb_appservice.gateway.problems import Problem, invalid, not_found
from etb_appservice.gateway.table import Answer, Body, Call, Nothing, Route, route


class Question(Body):
    """What a bot is asked; `message`, or the id of one."""

    message: str = Field(default="", max_length=8000)
    message_id: UUID | None = None
    war_room_id: UUID | None = None
    incident_id: UUID | None = None
    context: dict[str, JsonValue] = Field(default_factory=dict)
    post_to_room: bool = False
    """Whether the answer is also said in the room."""


@route("GET", "chat-bots/", answers={200: Page[Bot]})
async def list_bots(call: Call[Paged, Nothing]) -> Answer:
    """List the bots: what the one bot in the rooms can do."""
    every = bots(call.gate.policy.commands.prefixes)
    following, previous = neighbours(call.query, call.gate, len(every), call.links)
    results = list(slice_of(every, call.query, call.gate))
    return Answer(Page[Bot](count=len(every), next=following, previous=previous, results=results))


@route("GET", "chat-bots/{id}/", answers={200: Bot})
async def get_bot(call: Call[Nothing, Nothing]) -> Answer:
    """Show one bot."""
    return Answer(_bot(call.gate.policy.commands.prefixes, call.path["id"]))


@route("POST", "chat-bots/{id}/generate_response/", answers={}, errors=(503,))
async def generate_response(call: Call[Nothing, Question]) -> Answer:
    """Ask a bot.

    No source of knowledge is connected to this service: every bot answers 503, whether it is active or not.
    """
    _bot(call.gate.policy.commands.prefixes, call.path["id"])
    if not call.body.message.strip() and call.body.message_id is None:
        raise invalid(message="Give message or message_id.")
    raise Problem(
        503, "no_knowledge_source", "No source of knowledge is connected to this service, so it can't answer."
    )


def _bot(prefixes: tuple[str, ...], bot_id: str) -> Bot:
    for one in bots(prefixes):
        if one.id == bot_id:
            return one
    raise not_found()


TABLE: tuple[Route, ...] = (list_bots, get_bot, generate_response)
