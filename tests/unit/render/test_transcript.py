"""A transcript is safe to open, has the shape that is documented, and says where it stops."""

import hashlib
import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.ids import EventId, IncidentId, RoomId, UserId, Username, WarRoomId
from etb_appservice.domain.incident import Incident
from etb_appservice.domain.media import Media
from etb_appservice.domain.posts import Post
from etb_appservice.domain.roles import Role
from etb_appservice.domain.runbooks import RunbookRun
from etb_appservice.domain.tasks import Task
from etb_appservice.domain.timeline import TimelineItem
from etb_appservice.ports import CommandRun, Message, Room, Transcript
from etb_appservice.render.transcript import printed

SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "transcript.schema.json").read_text())
ALICE, BOT, ROOM = UserId("@alice:x.org"), UserId("@etb:x.org"), RoomId("!r:x.org")
NASTY = [
    "<script>alert(1)</script>",
    "</p></li></ol><h1>forged",
    '" onmouseover="alert(1)',
    "<img src=https://evil.example/x>",
    "]]><!--",
    "&lt;b&gt;",
    "a\u202eb\u2066c",
    "\x00\x1b[31m\x08",
    "\ud83d half a pair",
    "javascript:alert(1)",
    "{{ 7*7 }} ${x}",
    "\u2028\u2029 \r\n\t lines",
]


def message(position: int, body: str | None = "hello", **changes: Any) -> Message:
    first = Message(
        id=f"m{position}",
        room_id=ROOM,
        lane="i",
        event_id=EventId(f"$e{position}"),
        sender=ALICE,
        state="open" if body is not None else "redacted",
        origin_ms=1_790_000_000_000,
        received_ms=1_790_000_000_100,
        decided_ms=1_790_000_000_200,
        body=body,
        position=position,
    )
    return replace(first, **changes)


def transcript(*messages: Message, text: str = "t", **changes: Any) -> Transcript:
    """One of everything, with `text` wherever somebody outside may put one."""
    run = CommandRun(
        id="c",
        room_id=ROOM,
        incident_id=None,
        event_id=EventId("$c"),
        caller=ALICE,
        name=text,
        arguments=text,
        result=text,
        status="SUCCESS",
        asked_ms=1,
        finished_ms=2,
    )
    book = RunbookRun(
        id="r",
        runbook_id="b",
        name=text,
        asker=ALICE,
        username=Username(text),
        event_id=EventId("$r"),
        asked_ms=1,
        parameters={text: text},
        error=text,
        approved_by=(Username(text),),
    )
    whole = Transcript(
        export="x",
        at_ms=1_790_000_000_000,
        by=text,
        room=Room(
            war_room=WarRoomId("w"),
            generation=1,
            kind="incident",
            incident_id=IncidentId("i"),
            classification=Classification.INTERNAL,
            visibility="shared",
            keys_to_invited=True,
            encrypted=True,
            room_id=ROOM,
            name=text,
        ),
        incident=Incident(IncidentId("i"), text, text, text, text, 1, url=text),
        usernames={ALICE: Username(text)},
        bot=BOT,
        messages=messages,
        timeline=[TimelineItem(id="1", event_type="NOTE", title=text, at_ms=1, description=text, by=text)],
        roles=[Role(id="SCRIBE", role="SCRIBE", username=Username(text), since_ms=1, by=Username(text))],
        tasks=[Task(id="1", number=1, text=text, by=Username(text), at_ms=1, settled_by=text)],
        posts=[Post(id="1", text=text, by=Username(text), at_ms=1)],
        runs=[book],
        commands=[run],
        media=[Media(id="mxc://x/m", filename=text, mime=text, size=1, sha256="ab" * 32, at_ms=1)],
    )
    return replace(whole, **changes)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: bytes) -> _Tags:
    found = _Tags()
    found.feed(page.decode())
    found.close()
    assert found.open == []
    return found


@pytest.mark.parametrize("text", NASTY)
def test_nothing_that_people_wrote_is_markup(text: str) -> None:
    made = printed(transcript(message(1, text), message(2, text, sender=UserId(f"@{text}")), text=text))
    quiet = printed(transcript(message(1), message(2, sender=UserId("@x"))))
    hostile, plain = read(made.html.content), read(quiet.html.content)
    assert hostile.tags == plain.tags
    assert "script" not in plain.tags
    assert hostile.attributes == plain.attributes
    assert not {"src", "href", "onmouseover"} & plain.attributes
    assert not set("\u202e\u2066\x00\x1b\x08") & set(hostile.text)
    jsonschema.validate(json.loads(made.json.content), SCHEMA)


def test_the_page_forbids_everything_but_its_own_style() -> None:
    page = printed(transcript(message(1))).html.content.decode()
    assert "default-src 'none'; style-src 'unsafe-inline'" in page
    assert "@media print" in page


def test_the_json_keeps_texts_as_they_were_and_fits_its_schema() -> None:
    text = '<b>"Ünïcode" & \u202e\n\U0001f9ef</b>'
    made = printed(
        transcript(
            message(1, text),
            message(2, None),
            message(3, None, state="unreadable"),
            message(4, None, state="plain"),
            message(5, None, state="sealed"),
            message(6, "bot", sender=BOT, thread_root=EventId("$e1")),
        )
    )
    told = json.loads(made.json.content)
    jsonschema.validate(told, SCHEMA)
    assert told["messages"][0]["body"] == text
    assert [one["state"] for one in told["messages"]] == [
        "open", "removed", "could not be decrypted", "not encrypted, ignored", "waiting for its key", "open",
    ]  # fmt: skip
    assert (told["messages"][0]["username"], told["messages"][5]["username"]) == ("t", None)
    assert (made.messages, made.stopped) == (6, "")


def test_without_an_incident_and_without_anything_it_still_fits_its_schema() -> None:
    nothing = transcript(incident=None, timeline=[], roles=[], tasks=[], posts=[], runs=[], commands=[], media=[])
    made = printed(nothing)
    jsonschema.validate(json.loads(made.json.content), SCHEMA)
    assert made.json.filename == "room-transcript-20260921-141320Z.json"
    read(made.html.content)


def test_a_time_that_no_calendar_knows_is_left_out() -> None:
    made = printed(transcript(message(1, origin_ms=10**18), message(2, origin_ms=-(10**18))))
    told = json.loads(made.json.content)
    jsonschema.validate(told, SCHEMA)
    assert [one["sent_at"] for one in told["messages"]] == ["", ""]


def test_the_digests_are_of_the_files_and_the_same_again() -> None:
    one, other = (printed(transcript(message(1))) for _ in range(2))
    for made, again in ((one.html, other.html), (one.json, other.json)):
        assert made.sha256 == hashlib.sha256(made.content).hexdigest() == again.sha256
    assert one.html.sha256 != one.json.sha256


@pytest.mark.parametrize("body", ["x" * 5000, '"' * 5000, "<&" * 2500, "🧯" * 2000])
def test_what_does_not_fit_is_left_out_and_said(body: str) -> None:
    made = printed(transcript(*(message(number, body) for number in range(1, 200))), most=100_000)
    for one in (made.html, made.json):
        assert len(one.content) <= 100_000
    told = json.loads(made.json.content)
    jsonschema.validate(told, SCHEMA)
    assert 0 < made.messages == len(told["messages"]) < 199
    assert f"stops after {made.messages} messages" in made.stopped == told["stopped"]
    assert f"stops after {made.messages} messages" in made.html.content.decode()
    assert told["roles"], "what was agreed on is not pushed out"


def test_what_was_not_read_any_more_is_said_too() -> None:
    made = printed(transcript(message(1), is_whole=False))
    assert "stops after 1 messages" in made.stopped


@pytest.mark.parametrize(
    ("number", "name"),
    [
        ("INC-7", "INC-7"),
        ("../../etc/passwd", "etc-passwd"),
        ("", "room"),
        ("a b/\n\u202ec", "a-b-c"),
        ("..", "room"),
    ],
)
def test_a_file_name_is_made_of_harmless_signs(number: str, name: str) -> None:
    incident = Incident(IncidentId("i"), number, "t", "HIGH", "OPEN", 1)
    made = printed(transcript(message(1), incident=incident))
    assert made.html.filename.removesuffix(".html") == f"{name}-transcript-20260921-141320Z"
