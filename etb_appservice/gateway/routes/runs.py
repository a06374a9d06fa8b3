"""Commands of the API: running what a message is (docs/etb-contract.md 4.4)."""

from typing import Annotated

from pydantic import Field, JsonValue

from etb_appservice.domain.ids import new_id
from etb_appservice.gateway.desk import Act, Order
from etb_appservice.gateway.objects import Command
from etb_appservice.gateway.problems import Problem, invalid, not_found
from etb_appservice.gateway.routes.messages import one_message
from etb_appservice.gateway.shows import Shows
from etb_appservice.gateway.table import Answer, Body, Call, Nothing, Route, route


class Run(Body):
    """What to run; the message's own text where nothing is said."""

    command_text: Annotated[str, Field(max_length=4200)] = ""
    """Another command than the message's: it is said in the room as a message of its own."""
    parameters: dict[str, JsonValue] = Field(default_factory=dict)
    """What goes into `command_text`, by the names that a command object has."""


@route(
    "POST",
    "war-room-messages/{id}/execute_command/",
    answers={200: Command, 202: Command},
    errors=(404, 409, 502),
    takes_key=True,
)
async def execute_command(call: Call[Nothing, Run]) -> Answer:
    """Run the command that a message is, with the caller's rights; the bot answers in the room too.

    200 when it has finished, 202 while it waits for ETB or for others, 400 for no command, 403 without the right,
    502 when it failed. A message runs once: asked again, it answers that run.
    """
    async with call.gate.store.view() as work:
        sight, message = await one_message(call, work)
    body = call.body
    text = body.command_text.strip()
    is_its_own = not text or (text == (message.body or "").strip() and not body.parameters)
    if is_its_own and body.parameters:
        raise invalid(parameters="These need command_text.")
    order = Order(
        command_text="" if is_its_own else text,
        message_id=message.id if is_its_own else None,
        parameters={} if is_its_own else body.parameters,
    )
    act = Act(new_id(call.gate.clock.now_ms()), f"{message.id}/{call.key}" if call.key else "")
    run_id = await call.gate.desk.run(call.caller, sight.room.war_room, act, order)
    async with call.gate.store.view() as work:
        run = await work.commands.get(run_id)
        shown = await Shows(call.gate.policy, call.links).command(work, sight.room, run_id)
    if run is None or shown is None:
        raise not_found()
    match run.status:
        case "REFUSED":
            raise Problem(403, "forbidden", run.result)
        case "FAILED":
            raise Problem(502, "upstream_error", run.result)
        case "RUNNING":
            return Answer(shown, 202)
        case _:
            return Answer(shown)


TABLE: tuple[Route, ...] = (execute_command,)
