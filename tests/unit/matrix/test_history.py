"""The keys of what was said before: which ones are remembered as what, and what a bundle gives to whom."""

import json
import sqlite3
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from mautrix.crypto import InboundGroupSession
from mautrix.crypto.attachments import decrypt_attachment
from olm.group_session import OlmGroupSessionError

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.ids import RoomId, UserId, WarRoomId
from etb_appservice.domain.media import Media
from etb_appservice.domain.outcomes import Later
from etb_appservice.domain.past import Levels
from etb_appservice.domain.policy import Policy
from etb_appservice.matrix import chronicle
from etb_appservice.matrix.history import BUNDLE, Given, History
from etb_appservice.matrix.results import Decrypted, Held, KeyMissing
from etb_appservice.matrix.server import Homeserver
from etb_appservice.ports import Known, Room
from etb_appservice.store.migrate import upgrade
from etb_appservice.store.sql import SqlStore, open_store
from tests.harness.bot import RealClock
from tests.harness.cast import NO_1, incident
from tests.harness.hands import a_policy, let_in
from tests.harness.keyserver import KeyServer
from tests.unit.matrix.conftest import ROOM, Actor, MakeActor, event, text

PUBLIC, INTERNAL, SECRET = Classification.PUBLIC, Classification.INTERNAL, Classification.TOP_SECRET
HOUR_MS = 3_600_000
WAR_ROOM = WarRoomId("w")


async def said(speaker: Actor, *people: Actor, body: str = "hello", **more: Any) -> dict[str, Any]:
    """A message in a marked session at INTERNAL, unless told otherwise."""
    terms: dict[str, Any] = {"shared_history": True, "level": INTERNAL} | more
    sealed = await speaker.cipher.encrypt(
        ROOM, "m.room.message", text(body), [one.mxid for one in people], **terms
    )
    return event(speaker.mxid, sealed.content)


async def heard(bot: Actor, speaker: Actor, *, at_ms: int | None = None, **more: Any) -> dict[str, Any]:
    """A message of somebody's that the bot has read."""
    message = await said(speaker, bot, **more)
    message["origin_server_ts"] = chronicle.now_ms() if at_ms is None else at_ms
    await bot.sync()
    assert isinstance(await bot.cipher.decrypt(message), Decrypted)
    return message


async def held(bot: Actor, since_ms: int = 0) -> dict[str, Held]:
    return {one.session_id: one for one in await bot.cipher.held(ROOM, since_ms)}


def session_of(message: dict[str, Any]) -> str:
    return str(message["content"]["session_id"])


def read_with(key: dict[str, Any], message: dict[str, Any]) -> str | None:
    """What an exported key makes of a message; None: nothing."""
    session = InboundGroupSession.import_session(key["session_key"], "s", "k", key["room_id"])  # type: ignore[arg-type]
    assert session.id == key["session_id"]
    try:
        plain, _ = session.decrypt(message["content"]["ciphertext"])
    except OlmGroupSessionError:
        return None
    return str(json.loads(plain)["content"]["body"])


def move(monkeypatch: pytest.MonkeyPatch, hours: float) -> None:
    """The clock of the record goes ahead of the real one."""
    now = chronicle.now_ms() + int(hours * HOUR_MS)
    for module in ("chronicle", "outgoing"):
        monkeypatch.setattr(f"etb_appservice.matrix.{module}.now_ms", lambda: now)


# --- what is remembered -----------------------------------------------------------------------------------


async def test_ours_is_remembered_with_its_mark_and_its_level(actor: MakeActor) -> None:
    bot = await actor("bot")
    marked, unmarked = await said(bot), await said(bot, shared_history=False)
    found = await held(bot)
    assert [(one.is_ours, one.is_marked, one.level, one.start) for one in found.values()] == [
        (True, session == session_of(marked), INTERNAL, 0) for session in found
    ]
    assert found.keys() == {session_of(marked), session_of(unmarked)}


async def test_a_changed_level_makes_a_new_key(actor: MakeActor) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    levels = (PUBLIC, PUBLIC, INTERNAL, PUBLIC)
    sessions = [session_of(await said(bot, alice, level=level)) for level in levels]
    assert sessions[0] == sessions[1]
    assert len(set(sessions)) == 3
    found = await held(bot)
    assert [found[session].level for session in sessions] == list(levels)


async def test_a_key_of_others_is_remembered_once_somebody_was_heard_in_it(actor: MakeActor) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    message = await said(alice, bot)
    await bot.sync()
    assert await held(bot) == {}, "anybody can send any number of keys for any room"
    assert isinstance(await bot.cipher.decrypt(message), Decrypted)
    [one] = (await held(bot)).values()
    assert (one.is_ours, one.is_marked, one.level, one.start) == (False, True, None, 0)
    assert one.heard_ms == message["origin_server_ts"]


async def test_keys_of_another_room_are_not_told(actor: MakeActor) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    await heard(bot, alice)
    assert await bot.cipher.held("!other:test", 0) == []


async def test_what_came_unmarked_once_stays_so(actor: MakeActor) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    message = await heard(bot, alice, shared_history=False)
    await again(alice, bot, marks={"org.matrix.msc3061.shared_history": True})
    assert (await held(bot))[session_of(message)].is_marked is False


async def test_what_came_marked_is_marked_no_more_once_it_comes_unmarked(actor: MakeActor) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    message = await heard(bot, alice)
    assert (await held(bot))[session_of(message)].is_marked is True
    await again(alice, bot, marks={})
    assert (await held(bot))[session_of(message)].is_marked is False


@pytest.mark.parametrize(
    ("marks", "is_marked"),
    [
        ({"m.shared_history": True}, True),
        ({"shared_history": True}, True),
        ({"org.matrix.msc3061.shared_history": "true"}, False),
        ({"org.matrix.msc3061.shared_history": 1}, False),
        ({"org.matrix.msc3061.shared_history": True, "shared_history": False}, False),
    ],
)
async def test_a_mark_counts_in_every_spelling_and_only_as_a_plain_yes(
    actor: MakeActor, monkeypatch: pytest.MonkeyPatch, marks: dict[str, Any], is_marked: bool
) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    monkeypatch.setattr("etb_appservice.matrix.share._room_key", lambda session: key_of(session) | marks)
    message = await heard(bot, alice, shared_history=False)
    assert (await held(bot))[session_of(message)].is_marked is is_marked


async def test_a_key_from_before_this_record_is_not_told(actor: MakeActor) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    await heard(bot, alice)
    await said(bot, alice)
    with sqlite3.connect(bot.folder / "crypto.db") as connection:
        connection.execute("DELETE FROM etb_session")
    assert await held(bot) == {}
    await again(alice, bot, marks={"org.matrix.msc3061.shared_history": True})
    assert await held(bot) == {}


async def test_the_record_survives_a_restart(actor: MakeActor) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    await heard(bot, alice)
    await said(bot, alice)
    before = await held(bot)
    await bot.close()
    await bot.start()
    assert await held(bot) == before
    assert len(before) == 2


async def test_a_forwarded_key_is_never_taken(actor: MakeActor) -> None:
    bot, alice, mallory = await actor("bot"), await actor("alice"), await actor("mallory")
    message = await said(alice, mallory)
    await mallory.sync()
    [key] = await mallory.cipher.export(ROOM, {session_of(message): 0})
    forwarded = {
        "algorithm": "m.megolm.v1.aes-sha2", "room_id": ROOM, "session_id": session_of(message),
        "sender_key": key["sender_key"], "sender_claimed_ed25519_key": key["sender_claimed_keys"]["ed25519"],
        "forwarding_curve25519_key_chain": [], "session_key": key["session_key"],
    }  # fmt: skip
    await mallory.cipher.courier.deliver(await devices(mallory, bot), "m.forwarded_room_key", forwarded)
    result = await bot.sync()
    assert (result.new_sessions, result.olm_failures) == ((), 0)
    assert isinstance(await bot.cipher.decrypt(message), KeyMissing)


# --- from when on -----------------------------------------------------------------------------------------


async def test_ours_begins_with_the_first_message_of_the_hour(
    actor: MakeActor, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot = await actor("bot")
    old = [await said(bot, body="old"), await said(bot, body="old")]
    move(monkeypatch, 5)
    new = [await said(bot, body="new"), await said(bot, body="new")]
    session = session_of(old[0])
    assert session == session_of(new[1])
    assert (await held(bot))[session].start == 0
    assert (await held(bot, chronicle.now_ms() - HOUR_MS))[session].start == 2
    assert (await held(bot, chronicle.now_ms() + HOUR_MS))[session].start is None
    [key] = await bot.cipher.export(ROOM, {session: 2})
    assert [read_with(key, one) for one in (*old, *new)] == [None, None, "new", "new"]


async def test_theirs_begins_behind_the_last_message_that_is_older(actor: MakeActor) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    now = chronicle.now_ms()
    times = [now - 9 * HOUR_MS, now, now - 8 * HOUR_MS, now]  # the third one says it is older than the second
    messages = [await heard(bot, alice, at_ms=at_ms, body=str(number)) for number, at_ms in enumerate(times)]
    session = session_of(messages[0])
    assert (await held(bot))[session].start == 0
    start = (await held(bot, now - 2 * HOUR_MS))[session].start
    assert start == 3
    assert (await held(bot, now + 2 * HOUR_MS))[session].start is None
    [key] = await bot.cipher.export(ROOM, {session: start})
    assert [read_with(key, one) for one in messages] == [None, None, None, "3"]


async def test_a_session_is_exported_from_where_we_have_it(actor: MakeActor) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    early = await said(alice, bot, body="early")
    bot.server.inbox[bot.mxid, bot.device_id].clear()
    session = alice.cipher.outgoing.sessions[ROOM]
    await again(alice, bot, marks={"shared_history": True}, session_key=session.group.session_key)
    late = await heard(bot, alice, body="late")
    [key] = await bot.cipher.export(ROOM, {session_of(late): 0})
    assert [read_with(key, one) for one in (early, late)] == [None, "late"]


async def test_what_can_not_be_exported_is_left_out(actor: MakeActor) -> None:
    bot, alice = await actor("bot"), await actor("alice")
    theirs, ours = await heard(bot, alice), await said(bot, alice)
    with sqlite3.connect(bot.folder / "crypto.db") as connection:
        connection.execute(
            "UPDATE crypto_megolm_inbound_session SET session=? WHERE session_id=?",
            (b"not a pickle", session_of(theirs)),
        )
    found = await bot.cipher.export(ROOM, {session_of(theirs): 0, session_of(ours): 0, "unknown": 0})
    assert [key["session_id"] for key in found] == [session_of(ours)]
    assert await bot.cipher.export("!other:test", {session_of(ours): 0}) == []


async def test_a_pickle_under_another_name_is_not_given(actor: MakeActor) -> None:
    bot = await actor("bot")
    harmless, secret = await said(bot, level=PUBLIC), await said(bot, level=SECRET)
    with sqlite3.connect(bot.folder / "crypto.db") as connection:
        connection.execute(
            "UPDATE crypto_megolm_inbound_session SET session=(SELECT session FROM crypto_megolm_inbound_session"
            " WHERE session_id=?) WHERE session_id=?",
            (session_of(secret), session_of(harmless)),
        )
    assert await bot.cipher.export(ROOM, {session_of(harmless): 0}) == []


@pytest.mark.parametrize("level", [0, 9, -1])
async def test_a_level_that_is_none_counts_as_unknown(actor: MakeActor, level: int) -> None:
    bot = await actor("bot")
    message = await said(bot)
    with sqlite3.connect(bot.folder / "crypto.db") as connection:
        connection.execute("UPDATE etb_session SET level=?", (level,))
    assert (await held(bot))[session_of(message)].level is None


# --- a bundle ---------------------------------------------------------------------------------------------


@dataclass
class Desk:
    """A bot with a real store, and what its history counted."""

    bot: Actor
    server: KeyServer
    store: SqlStore
    counted: list[str] = field(default_factory=list)
    hours: int = 24
    policy: Policy = field(default_factory=lambda: a_policy(UserId("@bot:test")))

    async def room(self, levels: Levels, *members: Actor, **changes: Any) -> None:
        """The flows' part: the room as the tables have it."""
        facts: dict[str, Any] = {"visibility": "shared", "classification": levels.steps[-1].level} | changes
        async with self.store.work() as work:
            await work.rooms.put(
                Room(
                    war_room=WAR_ROOM, generation=1, kind="incident", incident_id=NO_1, keys_to_invited=True,
                    room_id=RoomId(ROOM), **{"encrypted": True, **facts},
                )
            )  # fmt: skip
            stated = levels.steps[-1].level
            await work.incidents.put(Known(incident=incident(stated=stated), confirmed_ms=work.now_ms()))
            await work.cases.put(WAR_ROOM, levels)
            for one in members:
                await work.rooms.set_member(RoomId(ROOM), UserId(one.mxid), "invite")
                await work.cases.put(WAR_ROOM, let_in(one.mxid))

    async def give(self, to: Actor, up_to: Classification = INTERNAL) -> Given | None:
        assert self.bot.established is not None
        history = History(
            self.store,
            Homeserver(self.bot.established.actor),
            self.bot.cipher,
            policy=replace(self.policy, history_hours=self.hours),
            count=self.counted.append,
        )
        return await history.give(RoomId(ROOM), UserId(to.mxid), up_to)

    async def bundles(self, to: Actor) -> list[dict[str, Any]]:
        """What a person's device can make of what it was sent."""
        payloads: list[Any] = []
        machine: Any = to.cipher._machine
        take = machine._apply

        async def look(sender: str, sender_key: str, payload: Any) -> Any:
            payloads.append((sender, payload))
            return await take(sender, sender_key, payload)

        machine._apply = look
        await to.sync()
        machine._apply = take
        found = []
        for sender, payload in payloads:
            if payload["type"] != BUNDLE:
                continue
            assert sender == self.bot.mxid
            assert payload["sender_device_keys"]["device_id"] == self.bot.device_id
            content, file = payload["content"], payload["content"]["file"]
            assert content["room_id"] == ROOM
            sealed = self.server.media[file["url"]]
            plain = decrypt_attachment(sealed, file["key"]["k"], file["hashes"]["sha256"], file["iv"])
            assert b"session_key" not in sealed
            found.append(json.loads(plain))
        return found

    async def media(self) -> Sequence[Media]:
        async with self.store.view() as view:
            return await view.cases.of(WAR_ROOM, Media)


@pytest.fixture
async def desk(actor: MakeActor, server: KeyServer, tmp_path: Path) -> AsyncIterator[Desk]:
    url = f"sqlite:///{tmp_path / 'etb.db'}"
    await upgrade(url)
    async with open_store(url, bytes(range(32)), RealClock()) as store:
        yield Desk(await actor("bot"), server, store)


ALWAYS = Levels().then(0, INTERNAL)


async def test_who_is_invited_late_can_read_what_the_bot_and_others_said(desk: Desk, actor: MakeActor) -> None:
    alice, late = await actor("alice"), await actor("late")
    await desk.room(ALWAYS, alice, late)
    theirs = await heard(desk.bot, alice, body="theirs")
    ours = await said(desk.bot, alice, body="ours")
    kept = await heard(desk.bot, await actor("quiet"), body="kept", shared_history=False)
    assert await desk.give(late) == Given(keys=2, devices=1)
    [bundle] = await desk.bundles(late)
    keys = {key["session_id"]: key for key in bundle["room_keys"]}
    assert read_with(keys[session_of(theirs)], theirs) == "theirs"
    assert read_with(keys[session_of(ours)], ours) == "ours"
    assert [entry["session_id"] for entry in bundle["withheld"]] == [session_of(kept)]
    assert (
        keys[session_of(theirs)]["sender_key"]
        == alice.cipher.device_keys()["keys"][f"curve25519:{alice.device_id}"]
    )
    [upload] = await desk.media()
    assert (upload.id, upload.purpose, upload.is_open) == (next(iter(desk.server.media)), "history", True)
    assert desk.counted == ["shared"]


async def test_who_does_not_reach_a_level_is_given_nothing_of_it(desk: Desk, actor: MakeActor) -> None:
    alice, late = await actor("alice"), await actor("late")
    now = chronicle.now_ms()
    past = Levels().then(0, INTERNAL).then(now + 10_000, PUBLIC)
    await desk.room(past, alice, late)
    theirs, ours = await heard(desk.bot, alice), await said(desk.bot, alice)
    public = await said(desk.bot, alice, body="for all", level=PUBLIC)
    assert await desk.give(late, PUBLIC) == Given(keys=1, devices=1)
    [bundle] = await desk.bundles(late)
    assert [key["session_id"] for key in bundle["room_keys"]] == [session_of(public)]
    assert {entry["session_id"] for entry in bundle["withheld"]} == {session_of(theirs), session_of(ours)}


@pytest.mark.parametrize(
    "changes", [{"visibility": "joined"}, {"visibility": "invited"}, {"encrypted": False}, {"room_id": None}]
)
async def test_a_room_that_shows_nobody_its_past_gives_none(
    desk: Desk, actor: MakeActor, changes: dict[str, Any]
) -> None:
    late = await actor("late")
    await desk.room(ALWAYS, late)
    await said(desk.bot)
    if "room_id" in changes:
        async with desk.store.work() as work:
            room = await work.rooms.by_id(RoomId(ROOM))
            assert room is not None
            await work.rooms.put(Room(**{name: getattr(room, name) for name in Room.__slots__} | changes))
    else:
        await desk.room(ALWAYS, late, **changes)
    assert await desk.give(late) is None
    assert (desk.server.media, desk.counted) == ({}, ["nothing"])


async def test_who_was_put_out_meanwhile_is_given_nothing(desk: Desk, actor: MakeActor) -> None:
    late = await actor("late")
    await desk.room(ALWAYS, late)
    await said(desk.bot)
    async with desk.store.work() as work:
        await work.rooms.set_member(RoomId(ROOM), UserId(late.mxid), "leave")
    assert await desk.give(late) is None
    assert (desk.server.media, desk.counted) == ({}, ["nothing"])


async def test_who_is_not_permitted_any_more_is_given_nothing(desk: Desk, actor: MakeActor) -> None:
    late = await actor("late")
    await desk.room(ALWAYS, late)
    await said(desk.bot)
    async with desk.store.work() as work:
        await work.cases.put(WAR_ROOM, replace(let_in(late.mxid), until_ms=1))
    assert await desk.give(late) is None
    assert (desk.server.media, desk.counted) == ({}, ["nothing"])


async def test_without_a_point_in_the_past_nothing_is_given(desk: Desk, actor: MakeActor) -> None:
    late = await actor("late")
    await desk.room(ALWAYS, late)
    await said(desk.bot)
    desk.hours = 0
    assert await desk.give(late) is None


async def test_only_devices_that_their_owner_has_signed_are_told(desk: Desk, actor: MakeActor) -> None:
    late = await actor("late")
    laptop = await actor("laptop", start=False)
    laptop.mxid, laptop.keepsakes = late.mxid, late.keepsakes
    before = dict(desk.server.devices[late.mxid])
    laptop.established = await (await laptop.open()).recover()
    desk.server.devices[late.mxid] |= before
    unsigned = desk.server.devices[late.mxid][laptop.device_id]
    assert unsigned is not None
    unsigned["signatures"][late.mxid] = {
        name: value for name, value in unsigned["signatures"][late.mxid].items() if name.endswith(laptop.device_id)
    }
    await desk.room(ALWAYS, late)
    await said(desk.bot)
    assert await desk.give(late) == Given(keys=1, devices=1)
    assert len(await desk.bundles(late)) == 1
    assert await desk.bundles(laptop) == []


async def test_nobody_of_a_replaced_identity_is_told(desk: Desk, actor: MakeActor) -> None:
    late, other = await actor("late"), await actor("other")
    await desk.room(ALWAYS, late)
    await said(desk.bot)
    await desk.bot.keeper.run(lambda: desk.bot.cipher._store.db.execute("DELETE FROM crypto_cross_signing_keys"))
    await desk.give(late)
    assert len(await desk.bundles(late)) == 1
    await desk.bot.keeper.run(
        lambda: desk.bot.cipher._store.db.execute(
            "UPDATE crypto_cross_signing_keys SET first_seen_key=$1 WHERE user_id=$2",
            other.cipher.device_keys()["keys"][f"ed25519:{other.device_id}"],
            late.mxid,
        )
    )
    await desk.bot.cipher.members_changed([late.mxid])
    given = await desk.give(late)
    assert given == Given(keys=1, devices=0)
    assert await desk.bundles(late) == []
    assert desk.counted == ["shared", "no_device"]


@pytest.mark.parametrize("part", ["upload", "keys/query", "keys/claim", "sendToDevice"])
async def test_a_homeserver_that_fails_is_counted_and_a_repetition_gives_it(
    desk: Desk, actor: MakeActor, part: str
) -> None:
    late = await actor("late")
    await desk.room(ALWAYS, late)
    ours = await said(desk.bot)
    desk.server.unreachable.add(part)
    assert await desk.give(late) is None
    desk.server.unreachable.clear()
    await desk.bot.cipher.members_changed([late.mxid])
    desk.bot.cipher.directory._pauses.clear()
    for _ in range(2):
        assert await desk.give(late) == Given(keys=1, devices=1)
    bundles = await desk.bundles(late)
    assert [[key["session_id"] for key in one["room_keys"]] for one in bundles] == [[session_of(ours)]] * 2
    assert desk.counted == ["failed", "shared", "shared"]
    assert {one.id for one in await desk.media()} == desk.server.media.keys()


async def test_whose_devices_can_not_be_asked_for_is_told_nothing(desk: Desk, actor: MakeActor) -> None:
    late = await actor("late")
    await desk.bot.cipher.members_changed([late.mxid])
    desk.server.unreachable.add("keys/query")
    with pytest.raises(Later, match="can't be asked"):
        await desk.bot.cipher.tell(late.mxid, BUNDLE, {})


# --- small things -----------------------------------------------------------------------------------------


def key_of(session: Any) -> dict[str, Any]:
    """The room key of a session, without a mark."""
    return {
        "algorithm": "m.megolm.v1.aes-sha2",
        "room_id": session.room_id,
        "session_id": session.group.id,
        "session_key": session.first_key,
    }


async def devices(asker: Actor, owner: Actor) -> Any:
    found = await asker.keeper.run(lambda: asker.cipher.directory.devices_of([owner.mxid]))
    return {(owner.mxid, owner.device_id): found[owner.mxid][owner.device_id]}


async def again(speaker: Actor, to: Actor, *, marks: dict[str, Any], **changes: Any) -> None:
    """The key of somebody's present session is sent once more."""
    key = key_of(speaker.cipher.outgoing.sessions[ROOM]) | changes | marks
    await speaker.cipher.courier.deliver(await devices(speaker, to), "m.room_key", key)
    await to.sync()
