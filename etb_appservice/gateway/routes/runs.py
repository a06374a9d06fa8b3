"""Commands of the API: running what a message is (docs/etb-contract.md 4.4)."""

from typing import Annotated

from pydantic import Field, JsonValue

from etb_appservice.domain.ids import new_id
from etb_appservice.gateway.desk import Act, Order
from etb_appservice.gateway.objects import Command, clean
from etb_appservice.gateway.orders import those_of
from etb_appservice.gateway.problems import Problem, invalid, not_found
from etb_appservice.gateway.reading import up_to
from etb_appservice.gateway.routes.messages import one_message
from etb_appservice.gateway.shows import Shows
from etb_appservice.gateway.table import Answer, Body, Call, Nothing, Route, route


class Run(Body):
    """What to run; the message's own text where no text is said."""

    command_text: Annotated[str, Field(max_length=4200)] = ""
    """Another command than the message's. Such a one is said in the room as a message of its own."""
    parameters: dict[str, JsonValue] = Field(default_factory=dict)
    """What goes into the text, by the names that a command object has; with any, it is another command too."""


@route(
    "POST",
    "war-room-messages/{id}/execute_command/",
    answers={200: Command, 202: Command},
    errors=(404, 409, 502),
    takes_key=True,
)
async def execute_command(call: Call[Nothing, Run]) -> Answer:
    """Run the command that a message is, with the caller's rights; the bot answers in the room too.

    200 when it has finished, 202 while it waits for ETB or for others, 400 for no command and for one that can't
    be done as it was asked, 403 without the right, 502 when ETB refused or failed. A message runs once: asked
    again, it answers that run.
    """
    async with call.gate.store.view() as work:
        sight, message = await one_message(call, work)
    body = call.body
    text = body.command_text.strip()
    is_its_own = not text or (text == (message.body or "").strip() and not those_of(body.parameters))
    order = Order(
        command_text="" if is_its_own else text,
        message_id=message.id if is_its_own else None,
        parameters=body.parameters,
    )
    act = Act(new_id(call.gate.clock.now_ms()), f"{message.id}/{call.key}" if call.key else "")
    run_id = await call.gate.desk.run(call.caller, sight.room.war_room, act, order)
    async with call.gate.store.view() as work:
        run = await work.commands.get(run_id)
        shown = await Shows(call.gate.policy, call.links).command(work, sight.room, run_id, up_to(sight))
    if run is None or shown is None:
        raise not_found()
    match run.status:
        case "REFUSED":
            raise Problem(403, "forbidden", clean(run.result))
        case "FAILED" if run.is_outside:
            raise Problem(502, "upstream_error", clean(run.result))
        case "FAILED":
            raise invalid(command_text=clean(run.result))
        case "RUNNING":
            return Answer(shown, 202)
        case _:
            return Answer(shown)


TABLE: tuple[Route, ...] = (execute_command,)
