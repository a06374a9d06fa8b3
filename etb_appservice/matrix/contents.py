"""Reads what a decrypted event carries besides its text: attachments, who is meant, a place, a poll.

Every field is a stranger's word until its type was looked at. What can't be read is left out; nothing is raised.
Sources: Matrix client-server API, "Sending encrypted attachments", "User and room mentions"; MSC3245 (voice),
MSC3381 (polls), MSC1767 (texts of those).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from etb_appservice.domain.conversation import EncryptedFile, FileDetails, file_type_of, safe_name
from etb_appservice.domain.ids import EventId, UserId
from etb_appservice.domain.talk import PollAsked
from etb_appservice.matrix.arrivals import is_id, is_user_id

Json = Mapping[str, Any]
POLL_STARTS = frozenset({"m.poll.start", "org.matrix.msc3381.poll.start"})
_POLL_RESPONSES = frozenset({"m.poll.response", "org.matrix.msc3381.poll.response"})
_POLL_ENDS = frozenset({"m.poll.end", "org.matrix.msc3381.poll.end"})
_FILES = frozenset({"m.file", "m.image", "m.audio", "m.video"})
_VOICE = ("org.matrix.msc3245.voice", "org.matrix.msc3245.voice.v2", "m.voice")
_MXC = re.compile(r"mxc://[^/\s]{1,255}/[A-Za-z0-9_~-]{1,255}")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{1,100}={0,2}")
_SURROGATES = re.compile("[\ud800-\udfff]")
_MOST_NUMBER = 1 << 53
_MOST_MENTIONS = 200
_MOST_ANSWERS = 20
_LONGEST = 1000


@dataclass(frozen=True, slots=True)
class Ballot:
    """A vote in a poll, or with `is_end` its end."""

    poll: EventId
    answers: tuple[str, ...] = ()
    is_end: bool = False


def clean(text: str) -> str:
    """A text as every later reader takes it."""
    return _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", text)


def mentions_of(content: Json) -> tuple[tuple[UserId, ...], bool]:
    """Who is meant, and whether everybody is."""
    said = content.get("m.mentions")
    said = said if isinstance(said, dict) else {}
    people = said.get("user_ids")
    people = people[:_MOST_MENTIONS] if isinstance(people, list) else []
    found = dict.fromkeys(UserId(one) for one in people if is_user_id(one))
    return tuple(found), said.get("room") is True


def file_of(msgtype: str, content: Json) -> FileDetails | None:
    """The attachment that a message is; None for any other, and where it can't be found by what it says."""
    if msgtype not in _FILES:
        return None
    file = _file(content.get("file"), content.get("url"))
    if file is None:
        return None
    info = content.get("info")
    info = info if isinstance(info, dict) else {}
    named, body = content.get("filename"), content.get("body")
    original = clean(next((one for one in (named, body) if isinstance(one, str) and one), "file"))[:_LONGEST]
    mime = info.get("mimetype")
    mime = clean(mime)[:_LONGEST] if isinstance(mime, str) and "/" in mime else "application/octet-stream"
    name = safe_name(original)
    kind = file_type_of(mime, name)
    return FileDetails(
        name=name,
        original_name=original,
        mime=mime,
        size=_number(info.get("size")),
        file=file,
        thumbnail=_file(info.get("thumbnail_file"), None),
        file_type="IMAGE" if msgtype == "m.image" else "VIDEO" if msgtype == "m.video" else kind,
        width=_number(info.get("w")),
        height=_number(info.get("h")),
        duration_ms=_number(info.get("duration")),
        is_voice=msgtype == "m.audio" and any(isinstance(content.get(name), dict) for name in _VOICE),
    )


def place_of(msgtype: str, content: Json) -> str:
    """Where `m.location` points to."""
    uri = content.get("geo_uri")
    is_place = msgtype == "m.location" and isinstance(uri, str) and uri.startswith("geo:") and len(uri) <= _LONGEST
    return clean(str(uri)) if is_place else ""


def poll_of(event_type: str, content: Json) -> PollAsked | None:
    """The question that an event asks."""
    if event_type not in POLL_STARTS:
        return None
    start = next((content[name] for name in POLL_STARTS if isinstance(content.get(name), dict)), None)
    if start is None:
        return None
    question = _text(start.get("question"))
    rows = start.get("answers")
    rows = rows[:_MOST_ANSWERS] if isinstance(rows, list) else []
    answers: dict[str, str] = {}
    for row in rows:
        row_id = next((row[name] for name in ("m.id", "id") if is_id(row.get(name))), None) if _is(row) else None
        if row_id is not None and (text := _text(row)):
            answers.setdefault(clean(row_id), text)
    if not question or not answers:
        return None
    asked = PollAsked(question=question, answers=tuple(answers.items()))
    most = start.get("max_selections")
    return replace(
        asked,
        is_disclosed=not str(start.get("kind")).endswith("poll.undisclosed"),
        most=max(1, min(_number(most), len(answers))),
    )


def ballot_of(event_type: str, content: Json, relation: Json) -> Ballot | None:
    """What an event does to a poll; its relation counts as it stands in clear text beside the ciphertext."""
    target = relation.get("event_id")
    if relation.get("rel_type") != "m.reference" or not is_id(target):
        return None
    poll = EventId(str(target))
    if event_type in _POLL_ENDS:
        return Ballot(poll, is_end=True)
    if event_type not in _POLL_RESPONSES:
        return None
    chosen: object = content.get("m.selections")
    if chosen is None:
        said = content.get("org.matrix.msc3381.poll.response")
        chosen = said.get("answers") if isinstance(said, dict) else None
    rows = chosen[:_MOST_ANSWERS] if isinstance(chosen, list) else []
    return Ballot(poll, tuple(clean(one) for one in rows if isinstance(one, str) and is_id(one)))


def _file(encrypted: object, url: object) -> EncryptedFile | None:
    """An EncryptedFile of version 2, or where a file lies in clear."""
    if not isinstance(encrypted, dict):
        return EncryptedFile(mxc=url) if isinstance(url, str) and _MXC.fullmatch(url) else None
    mxc, key, iv, hashes = (encrypted.get(name) for name in ("url", "key", "iv", "hashes"))
    if not isinstance(mxc, str) or not _MXC.fullmatch(mxc) or not isinstance(key, dict) or not _is(hashes):
        return None
    if key.get("alg") != "A256CTR" or key.get("kty") != "oct":
        return None
    secret, digest = key.get("k"), hashes.get("sha256") if isinstance(hashes, dict) else None
    for value in (secret, iv, digest):
        if not isinstance(value, str) or not _BASE64.fullmatch(value):
            return None
    return EncryptedFile(mxc=mxc, key=str(secret), iv=str(iv), sha256=str(digest))


def _text(holder: object) -> str:
    """The plain text of an extensible event's part: `m.text`, `org.matrix.msc1767.text` or `body`."""
    if not isinstance(holder, dict):
        return ""
    rows = holder.get("m.text")
    if isinstance(rows, list):
        for row in rows:
            if _is(row) and isinstance(row.get("body"), str) and row.get("mimetype", "text/plain") == "text/plain":
                return clean(row["body"])[:_LONGEST].strip()
    for name in ("m.text", "org.matrix.msc1767.text", "body"):
        if isinstance(text := holder.get(name), str):
            return clean(text)[:_LONGEST].strip()
    return ""


def _is(value: object) -> bool:
    return isinstance(value, dict)


def _number(value: object) -> int:
    """A number that makes sense; 0 for none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _MOST_NUMBER:
        return 0
    return int(value)
