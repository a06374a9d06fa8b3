"""The table of bad input: what is sent, by whom and where, and what is answered; None is silence."""

from dataclasses import dataclass, field, replace
from typing import Literal

import pytest

from etb_appservice.domain.effects import AddTimelineEntry
from etb_appservice.domain.ids import RoomId, UserId
from etb_appservice.domain.policy import CommandPolicy
from tests.harness.cast import ALICE, BOB, BOT, OPERATOR, STRANGER, policy_of
from tests.harness.kit import MakeHouse

GHOST = UserId("@_etb_u_alice:x.org")
NOT_LINKED = "Your Matrix account is not linked to an ETB user. Ask an operator to link it."
ASSIGN = "\n\nUsage: `!assign <username>`"
LISTS = "`!help` lists what I can do."
OUTSIDE = "You are not in this room."


@dataclass(frozen=True)
class Bad:
    """One row."""

    name: str
    says: str
    answer: str | None
    sender: UserId = ALICE
    where: Literal["incident", "control", "direct", "elsewhere"] = "incident"
    fields: dict[str, str] = field(default_factory=dict)


TABLE = [
    # people and words of ETB
    Bad("an unknown user", "!assign nobody", "ETB knows no user `nobody`."),
    Bad("quotes and Unicode in a name", "!assign “Ölaf `*Müller*` 🚀”", "ETB knows no user `Ölaf *Müller* 🚀`."),
    Bad("a quote that never ends", '!assign "bob', f'The quote " is never closed.{ASSIGN}'),
    Bad("a Matrix id of nobody", "!assign @x:y", f"`@x:y` is not linked to an ETB user.{ASSIGN}"),
    Bad("nobody at all", "!assign @", f"That names nobody.{ASSIGN}"),
    Bad(
        "a status ETB doesn't know", "!update status finished",
        'ETB did not do that: ETB says of status: "FINISHED" is not a valid choice.\n\nStatuses that I know: '
        "`NEW`, `OPEN`, `ACKNOWLEDGED`, `INVESTIGATING`, `IN_PROGRESS`, `ON_HOLD`, `RESOLVED`, `CLOSED`, "
        "`REOPENED`, `CANCELLED`.",
    ),
    Bad(
        "a transition ETB refuses", "!update status reopened",
        'ETB did not do that: ETB says of status: "REOPENED" is not a valid choice.',
    ),
    Bad(
        "a field that isn't changed here", "!update title x",
        "`field` is one of `status`.\n\nUsage: `!update status <value>`",
    ),
    # too much, too little, nothing of the kind
    Bad(
        "64 KiB of arguments", "!escalate " + "x" * 65_536,
        "That is too long: at most 4096 characters.\n\nUsage: `!escalate [reason]`",
    ),
    Bad("64 KiB of a name", "!" + "x" * 65_536, f"I don't know `{'x' * 40}`. {LISTS}"),
    Bad("a word too many", "!ack now", "I don't know what to do with “now”.\n\nUsage: `!ack`"),
    Bad("a word too few", "!severity", "`level` is missing.\n\nUsage: `!severity <level>`"),
    Bad("no such command", "!asign bob", f"I don't know `asign`. Did you mean `!assign`? {LISTS}"),
    Bad("a link as an argument", "!ack [x](y)", "I don't know what to do with “\\[x\\](y)”.\n\nUsage: `!ack`"),
    Bad(
        "break-glass where it is not set up", "!breakglass @x:y 4 please",
        "Break-glass is not set up here. An operator does that under `break_glass` in the configuration.",
    ),
    Bad(
        "a review by somebody without the role", "!breakglass review @x:y ok",
        "Reviewing this needs the role compliance, auditor, admin or operator.",
    ),
    # the wrong room
    Bad(
        "a command of an incident in the control room", "!assign bob",
        f"I don't know `assign`. {LISTS}", OPERATOR, "control",
    ),
    Bad("the same in a direct chat", "!assign bob", f"I don't know `assign`. {LISTS}", where="direct"),
    Bad(
        "a command of the control room in an incident's", "!queue drop i1",
        f"I don't know `queue`. {LISTS}",
    ),
    Bad("a room that is none of ours", "!status", None, where="elsewhere"),
    # the wrong sender
    Bad("another bot", "!resolve", None, fields={"msgtype": "m.notice"}),
    Bad("a ghost of ours", "!resolve", None, GHOST),
    Bad("the bot itself", "!resolve", None, BOT),
    Bad("a stranger", "!resolve", "You are not in this room.", STRANGER),
    Bad("someone who has left", "!resolve", OUTSIDE, BOB),
    Bad("someone without the role", "!health", "You are not in this room.", ALICE, "control"),
    # talk
    Bad("inside an edit", "!resolve", None, fields={"replaces": "$0"}),
    Bad("inside a quote", "> !resolve", None),
    Bad("inside a code block", "```\n!resolve\n```", None),
    Bad("inside code", "`!resolve`", None),
    Bad("within a sentence", "please !resolve", None),
    Bad("in plain text", "!resolve", None, fields={"what": "plain"}),
    Bad("a prefix alone", "!", None),
    Bad("two prefixes", "!!resolve", None),
]  # fmt: skip


@pytest.mark.parametrize("row", TABLE, ids=[row.name for row in TABLE])
async def test_bad_input_is_answered_or_met_with_silence(make_house: MakeHouse, row: Bad) -> None:
    house = await make_house(policy=replace(policy_of(), commands=CommandPolicy(burst=1000)))
    room_id = await house.open_for_alice()
    await house.moves(STRANGER, "join")
    await house.moves(ALICE, "join", house.control_room())
    await house.moves(BOB, "join")
    await house.moves(BOB, "leave")
    where = {"incident": room_id, "control": house.control_room(), "elsewhere": RoomId("!elsewhere")}.get(
        row.where
    )
    where = where or await house.chat_with(row.sender)
    fields = dict(row.fields)
    if fields.get("what") == "plain":
        fields["event_type"] = "m.room.message"
    event_id = await house.says(row.sender, row.says, where, **fields)
    await house.settle()
    assert house.answers(event_id) == ([] if row.answer is None else [row.answer])
    # Nothing came of it but the answer.
    assert [one for one in house.etb.writes if not isinstance(one, AddTimelineEntry)] == []
