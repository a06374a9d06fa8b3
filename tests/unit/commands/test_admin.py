"""`purge` and `media`: off unless set up, approved by another operator, recorded call by call."""

import re
from dataclasses import replace

import pytest

from etb_appservice.app.promoted import promoted
from etb_appservice.domain.effects import DeleteMedia, PurgeHistory
from etb_appservice.domain.ids import RoomId, UserId, war_room_id
from etb_appservice.domain.media import Media
from etb_appservice.domain.outcomes import Broken, Later, Refused
from etb_appservice.domain.rooms import CONTROL_ROOM
from etb_appservice.flows.admin import OFF, RecordedAdmin, carry_out, read_before
from etb_appservice.flows.keeping import HELD
from tests.harness.cast import ALICE, NO_1, OPERATOR, policy_of
from tests.harness.house import House
from tests.harness.kit import MakeHouse
from tests.unit.flows.test_holds import see

SECOND = UserId("@second:x.org")
MXC = "mxc://x.org/AbC"
DAY = 86_400_000


async def administered(make_house: MakeHouse, **changes: bool) -> tuple[House, RoomId]:
    """A house with an administrator and two operators, and the room of INC-1."""
    policy = replace(policy_of(), administers=changes.get("administers", True))
    house = await make_house(policy=replace(policy, operators=frozenset({OPERATOR, SECOND})))
    room = await house.open_for_alice()
    await house.moves(SECOND, "join", house.control_room())
    await house.settle()
    return house, room


async def approved(house: House, body: str) -> list[str]:
    """An operator asks and another approves: what was said of it, in order."""
    event_id = await house.says(OPERATOR, body, house.control_room())
    await house.settle()
    request = house.world.texts(house.control_room())[-1]
    found = re.search(r"approve ([0-9A-Z]{4})", request)
    assert found, request
    assert admin_effects(house) == []
    mine = await house.ask(OPERATOR, f"!approve {found[1]}", house.control_room())
    assert "Approved" not in mine, "nobody approves what they asked for themselves"
    assert "Approved" in await house.ask(SECOND, f"!approve {found[1]}", house.control_room())
    await house.settle()
    return [request, [one for one in house.answers(event_id) if "Approval needed" not in one][-1]]


def admin_effects(house: House) -> list[object]:
    return [one for one in house.world.order if isinstance(one, PurgeHistory | DeleteMedia)]


@pytest.mark.parametrize("body", ["!purge INC-1", f"!media delete {MXC}"])
async def test_without_an_administrator_it_is_said_to_be_off(make_house: MakeHouse, body: str) -> None:
    house, _ = await administered(make_house, administers=False)
    assert await house.ask(OPERATOR, body, house.control_room()) == OFF
    assert admin_effects(house) == []


async def test_a_purge_is_approved_announced_done_and_told(make_house: MakeHouse) -> None:
    house, room = await administered(make_house)
    request, answer = await approved(house, "!purge inc-1")
    assert "no way back" in request
    assert "INC-1" in request
    [effect] = admin_effects(house)
    assert isinstance(effect, PurgeHistory)
    assert effect.room_id == room
    said = [text for text in house.world.texts(room) if "Operators delete" in text]
    assert len(said) == 1
    assert "Deleted from the homeserver" in answer
    assert "history.purge" in await house.tags()


async def test_what_was_approved_is_the_moment_that_was_named_then(make_house: MakeHouse) -> None:
    house, _ = await administered(make_house)
    asked_ms = house.clock.now_ms()
    await house.says(OPERATOR, "!purge INC-1 2d", house.control_room())
    await house.settle()
    found = re.search(r"approve ([0-9A-Z]{4})", house.world.texts(house.control_room())[-1])
    assert found
    await house.advance(600)
    await house.ask(SECOND, f"!approve {found[1]}", house.control_room())
    await house.settle()
    [effect] = admin_effects(house)
    assert isinstance(effect, PurgeHistory)
    assert abs(effect.before_ms - (asked_ms - 2 * DAY)) < 5000


async def test_a_file_that_was_ours_is_noted_as_deleted(make_house: MakeHouse) -> None:
    house, _ = await administered(make_house)
    upload = Media(id=MXC, filename="log.html", mime="text/html", size=7, sha256="00", at_ms=1)
    async with house.db.work() as work:
        await work.cases.put(CONTROL_ROOM, upload)
    house.world.admin_says = "deleted"
    request, answer = await approved(house, f"!media delete {MXC}")
    assert "log.html" in request
    assert "is deleted" in answer
    assert admin_effects(house) == [DeleteMedia(mxc=MXC)]
    async with house.db.view() as view:
        kept = await view.cases.get(CONTROL_ROOM, Media, MXC)
    assert kept is not None
    assert not kept.is_open
    assert "media.delete" in await house.tags()


async def test_nothing_of_an_incident_under_legal_hold_is_deleted(make_house: MakeHouse) -> None:
    house, _ = await administered(make_house)
    upload = Media(id=MXC, filename="log.html", mime="text/html", size=7, sha256="00", at_ms=1)
    async with house.db.work() as work:
        await work.cases.put(war_room_id(NO_1), upload)
    await see(house, "h1")
    for body in ("!purge INC-1", "!purge INC-1 2d", f"!media delete {MXC}"):
        answer = await house.ask(OPERATOR, body, house.control_room())
        assert answer == HELD
    assert "it may be of that one" in await house.ask(
        OPERATOR, "!media delete mxc://x.org/Other", house.control_room()
    )
    assert admin_effects(house) == []
    await see(house)
    assert "is deleted" in (await approved(house, f"!media delete {MXC}"))[1]


async def test_a_hold_that_comes_before_the_approval_counts(make_house: MakeHouse) -> None:
    house, _ = await administered(make_house)
    await house.says(OPERATOR, "!purge INC-1", house.control_room())
    await house.settle()
    found = re.search(r"approve ([0-9A-Z]{4})", house.world.texts(house.control_room())[-1])
    assert found
    await see(house, "h1")
    await house.ask(SECOND, f"!approve {found[1]}", house.control_room())
    await house.settle()
    assert HELD in house.world.texts(house.control_room())
    assert admin_effects(house) == []


async def test_what_was_gone_is_said_to_be_gone(make_house: MakeHouse) -> None:
    house, _ = await administered(make_house)
    house.world.admin_says = "was gone"
    assert "not there any more" in (await approved(house, f"!media delete {MXC}"))[1]


async def test_a_room_in_which_nothing_was_said_before_is_told_so(make_house: MakeHouse) -> None:
    house, _ = await administered(make_house)
    house.world.admin_says = "nothing to purge"
    assert "nothing to delete" in (await approved(house, "!purge INC-1 2d"))[1]


async def test_a_refusal_of_the_homeserver_is_told(make_house: MakeHouse) -> None:
    house, _ = await administered(make_house)
    house.world.fail(DeleteMedia, Refused("not allowed", code="M_FORBIDDEN"))
    assert "The homeserver did not do that: not allowed" in (await approved(house, f"!media delete {MXC}"))[1]


async def test_a_homeserver_that_is_away_is_waited_for(make_house: MakeHouse) -> None:
    house, _ = await administered(make_house)
    house.world.fail(DeleteMedia, Later("no answer"))
    _, answer = await approved(house, f"!media delete {MXC}")
    assert answer.startswith("The homeserver does not answer just now.")
    assert "is kept and done as soon as the homeserver answers" in answer


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("!purge INC-9", "There is no room"),
        ("!purge INC-1 soon", "`before` is a day"),
        ("!purge INC-1 2999-01-01", "`before` is a day"),
        ("!purge", "`number` is missing"),
        ("!media delete mxc://elsewhere.org/AbC", "an address on this homeserver"),
        ("!media delete mxc://x.org/a/b", "an address on this homeserver"),
        ("!media delete https://x.org/AbC", "an address on this homeserver"),
    ],
)
async def test_what_can_not_be_meant_is_refused(make_house: MakeHouse, body: str, words: str) -> None:
    house, _ = await administered(make_house)
    assert words in await house.ask(OPERATOR, body, house.control_room())
    assert admin_effects(house) == []


async def test_only_operators_in_the_control_room_may_ask(make_house: MakeHouse) -> None:
    house, room = await administered(make_house)
    for body in ("!purge INC-1", f"!media delete {MXC}"):
        answer = await house.ask(ALICE, body, room)
        assert "approve" not in answer
    assert admin_effects(house) == []


def test_a_moment_is_read_as_a_day_or_an_age() -> None:
    assert read_before("2026-01-01", 0) == 1_767_225_600_000
    assert read_before("3D", 4 * DAY) == DAY
    assert [read_before(word, 0) for word in ("", "d", "99999d", "2026-13-01", "1e9d", "-3d")] == [None] * 6


# --- each call is recorded --------------------------------------------------------------------------------


class Scripted:
    """`ports.HomeserverAdmin` that answers what it is told to."""

    def __init__(self, answer: int | BaseException = 1) -> None:
        self.answer = answer
        self.calls: list[str] = []

    def _do(self, call: str) -> int:
        self.calls.append(call)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    async def is_admin(self) -> bool:
        return bool(self._do("is_admin"))

    async def delete_media(self, mxc: str) -> int:
        return self._do(mxc)

    async def purge_history(self, room_id: RoomId, before_ms: int) -> bool:
        return bool(self._do(f"{room_id} {before_ms}"))


async def recorded(house: House) -> list[tuple[str, str, object, object]]:
    return [
        (entry.tag, entry.subject, entry.details["call"], entry.details.get("outcome"))
        for entry in await house.audit()
        if entry.tag.startswith("admin.")
    ]


async def test_each_call_is_recorded_before_it_is_made_and_after_it(house: House) -> None:
    scripted = Scripted()
    admin = RecordedAdmin(scripted, house.db)
    assert await admin.is_admin()
    done = [
        await carry_out(admin, DeleteMedia(mxc=MXC)),
        await carry_out(admin, PurgeHistory(room_id=RoomId("!r"), before_ms=5)),
    ]
    assert [one.detail for one in done] == ["deleted", "purged"]
    assert scripted.calls == ["is_admin", MXC, "!r 5"]
    assert await recorded(house) == [
        ("admin.call", "", "is_admin", None),
        ("admin.answer", "", "is_admin", "done"),
        ("admin.call", MXC, "delete_media", None),
        ("admin.answer", MXC, "delete_media", "done"),
        ("admin.call", "!r", "purge_history", None),
        ("admin.answer", "!r", "purge_history", "done"),
    ]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(Refused("no"), "refused"), (Later("soon"), "later"), (Broken("bug"), "broken"), (KeyError("x"), "broken")],
)
async def test_how_a_call_failed_is_recorded(house: House, error: Exception, outcome: str) -> None:
    admin = RecordedAdmin(Scripted(error), house.db)
    with pytest.raises(type(error)):
        await carry_out(admin, DeleteMedia(mxc=MXC))
    assert [one[3] for one in await recorded(house)] == [None, outcome]


@pytest.mark.parametrize(
    ("admin", "is_well", "words"),
    [
        (None, True, "off"),
        (Scripted(1), True, "@root:x.org; each call is recorded"),
        (Scripted(0), False, "no administrator"),
        (Scripted(Broken("the homeserver doesn't know homeserver.admin_token")), False, "homeserver.admin_token"),
    ],
)
async def test_whether_the_administrator_is_one_is_said(admin: Scripted | None, is_well: bool, words: str) -> None:
    vital = await promoted(admin, UserId("@root:x.org"))
    assert vital.is_well is is_well
    assert words in vital.text


async def test_nothing_is_called_that_could_not_be_recorded(house: House) -> None:
    scripted = Scripted()
    admin = RecordedAdmin(scripted, house.db)
    await house.stop()
    with pytest.raises(Exception):  # noqa: B017 - whatever a closed store raises
        await admin.delete_media(MXC)
    assert scripted.calls == []


async def test_without_an_administrator_nothing_is_called() -> None:
    with pytest.raises(Refused, match="is off"):
        await carry_out(None, DeleteMedia(mxc=MXC))
