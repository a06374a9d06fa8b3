"""Linking a Matrix account: the half on ETB's side. The other half is the bot's command `link`.

The code leaves this process in the answer alone: what is accepted, decided and kept is its digest.
"""

from etb_appservice.domain.facts import LinkCodeAsked, UnlinkAsked
from etb_appservice.domain.ids import new_id
from etb_appservice.domain.links import CODE_MS, digest_of, new_code
from etb_appservice.gateway.objects import Link, LinkCode, moment
from etb_appservice.gateway.table import Answer, B, Call, Nothing, Q, Route, route

_LANE = "links"
"""Of its own, so that nobody waits behind a war room."""


@route("POST", "link-codes/", answers={201: LinkCode}, errors=(409,))
async def make_link_code(call: Call[Nothing, Nothing]) -> Answer:
    """Make a code that links a Matrix account to the caller, once, within ten minutes.

    It ends the code before it. Show it to the caller alone: whoever types it to the bot is them from then on. 409
    when an operator has said which Matrix account is theirs; 429 when they asked for many codes.
    """
    gate = call.gate
    now_ms = gate.clock.now_ms()
    code = new_code()
    fact = LinkCodeAsked(ref=new_id(now_ms), by=call.caller.user, digest=digest_of(code))
    await gate.asking.ask(fact, _LANE)
    made = LinkCode(
        code=code,
        command=f"{gate.policy.commands.prefixes[0]}link {code}",
        bot=gate.policy.rooms.bot,
        expires_at=moment(now_ms + CODE_MS),
    )
    return Answer(made, 201)


@route("GET", "link-codes/", answers={200: Link})
async def show_link(call: Call[Nothing, Nothing]) -> Answer:
    """Show which Matrix account is the caller's. Codes are never shown again."""
    return Answer(_link(call))


@route("DELETE", "link-codes/", answers={200: Link})
async def unlink(call: Call[Nothing, Nothing]) -> Answer:
    """Undo the caller's link; a code that wasn't used ends too. Repeating is harmless.

    The Matrix account loses at once what it may do by it.
    """
    await call.gate.asking.ask(UnlinkAsked(ref=new_id(call.gate.clock.now_ms()), by=call.caller.user), _LANE)
    return Answer(_link(call))


def _link(call: Call[Q, B]) -> Link:
    people, name = call.gate.policy.people, call.caller.user.username
    user_id = people.user_id(name)
    if user_id is None:
        return Link(username=name, matrix_user_id=None, source="NONE")
    is_linked = name not in people.entries and people.links.user_id(name) == user_id
    return Link(username=name, matrix_user_id=user_id, source="LINKED" if is_linked else "CONFIGURED")


TABLE: tuple[Route, ...] = (make_link_code, show_link, unlink)
