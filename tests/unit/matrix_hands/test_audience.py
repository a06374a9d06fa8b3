"""Who gets the next message's key while our tables are behind what we did."""

from collections.abc import Collection

from etb_appservice.domain.ids import RoomId, UserId
from etb_appservice.matrix.audience import Audience, Recipients

ROOM = RoomId("!room")
BOT, ALICE, BOB = UserId("@etb:x"), UserId("@alice:x"), UserId("@bob:x")


class Tables:
    def __init__(self, *, keys_to_invited: bool = True) -> None:
        self.members = {BOT: "join", ALICE: "join"}
        self.keys_to_invited = keys_to_invited
        self.barred: set[UserId] = set()

    async def __call__(self, room_id: RoomId, just_invited: Collection[UserId]) -> Audience | None:
        if room_id != ROOM:
            return None
        invited = {user for user, word in self.members.items() if word == "invite"} | {*just_invited}
        there = self.members.keys() - self.barred
        return Audience(
            encrypted=True,
            joined=tuple(user for user, word in self.members.items() if word == "join" and user in there),
            invited=tuple(sorted(invited - self.barred)),
            keys_to_invited=self.keys_to_invited,
            shared_history=False,
            present=frozenset(user for user, word in self.members.items() if word != "leave"),
        )


async def people(recipients: Recipients) -> set[str]:
    found = await recipients.of(ROOM)
    assert found is not None
    return {*found[1]}


async def test_a_room_that_is_not_ours_has_no_audience() -> None:
    assert await Recipients(Tables()).of(RoomId("!other")) is None


async def test_who_was_removed_is_left_out_until_the_tables_show_it_and_counts_again_after() -> None:
    tables = Tables()
    recipients = Recipients(tables)
    recipients.was_removed(ROOM, ALICE)
    assert await people(recipients) == {BOT}
    tables.members[ALICE] = "leave"
    await recipients.heard_of(ROOM, ALICE)
    tables.members[ALICE] = "join"
    assert await people(recipients) == {BOT, ALICE}


async def test_an_old_word_about_who_was_removed_does_not_bring_them_back() -> None:
    recipients = Recipients(Tables())
    recipients.was_removed(ROOM, ALICE)
    await recipients.heard_of(ROOM, ALICE)  # their join of yesterday, worked on only now
    assert await people(recipients) == {BOT}


async def test_who_was_invited_counts_at_once_where_invited_people_get_keys() -> None:
    recipients = Recipients(Tables())
    recipients.was_invited(ROOM, BOB)
    assert await people(recipients) == {BOT, ALICE, BOB}
    strict = Recipients(Tables(keys_to_invited=False))
    strict.was_invited(ROOM, BOB)
    assert await people(strict) == {BOT, ALICE}


async def test_who_declines_an_invitation_gets_no_key() -> None:
    tables = Tables()
    recipients = Recipients(tables)
    recipients.was_invited(ROOM, BOB)
    tables.members[BOB] = "leave"
    await recipients.heard_of(ROOM, BOB)
    assert await people(recipients) == {BOT, ALICE}


async def test_the_last_of_removing_and_inviting_counts() -> None:
    recipients = Recipients(Tables())
    recipients.was_removed(ROOM, ALICE)
    recipients.was_invited(ROOM, ALICE)
    assert await people(recipients) == {BOT, ALICE}
    recipients.was_removed(ROOM, ALICE)
    assert await people(recipients) == {BOT}


async def test_nothing_is_remembered_once_the_tables_have_caught_up() -> None:
    tables = Tables()
    recipients = Recipients(tables)
    recipients.was_removed(ROOM, ALICE)
    recipients.was_invited(ROOM, BOB)
    tables.members |= {ALICE: "leave", BOB: "join"}
    assert await people(recipients) == {BOT, BOB}
    assert recipients._removed == recipients._invited == {}
