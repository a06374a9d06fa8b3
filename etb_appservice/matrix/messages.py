"""How a message looks on the wire: the content that is encrypted, its relation, and our effect's key in it.

Pure. The relation also stands in clear text beside the ciphertext (Matrix client-server API, "Relationships and
encryption"), so it must never hold a text.
"""

import hashlib
from collections.abc import Callable
from typing import Any

from etb_appservice.domain.effects import Say, SendFile
from etb_appservice.domain.incident import Card

Json = dict[str, Any]
Render = Callable[[str | Card], tuple[str, str]]
"""Makes (plain body, HTML) of Markdown or a card."""

FILE_FIELD = "org.etb.file"
"""In a file's `info`: its id with us, and the SHA-256 of its plain text, hex."""
EFFECT_FIELD = "org.etb.effect"
"""In the encrypted content: the key of the effect that asked for the message, to find it again."""
RELATION = "m.relates_to"
VOICE = "org.matrix.msc3245.voice"
SOUND = "org.matrix.msc1767.audio"
"""What clients know a voice message by (MSC3245), and what they read beside it (MSC1767)."""


def content_of(say: Say, key: str, render: Render) -> Json:
    """The content to encrypt, relation included."""
    body, html = render(say.content)
    message: Json = {
        "msgtype": "m.text" if say.notify or say.speaker else "m.notice",
        "body": body,
        "format": "org.matrix.custom.html",
        "formatted_body": html,
        "m.mentions": {"user_ids": list(dict.fromkeys(say.mentions))} if say.mentions else {},
    }
    content = dict(message)
    if say.edits is not None:
        content |= {"m.new_content": message, "body": f"* {body}", "formatted_body": f"* {html}"}
    if (relation := relation_of(say)) is not None:
        content[RELATION] = relation
    return content | {EFFECT_FIELD: key}


def content_of_file(sent: SendFile, file: Json, key: str, more: Json | None = None) -> Json:
    """The same of a file; `file` is its EncryptedFile (client-server API, "Sending encrypted attachments").

    `more` is said of it, too.
    """
    info: Json = {"mimetype": sent.mime, "size": sent.size}
    if sent.msgtype == "m.image" and sent.width:
        info |= {"w": sent.width, "h": sent.height}
    if sent.duration_ms and sent.msgtype in {"m.audio", "m.video"}:
        info["duration"] = sent.duration_ms
    info |= more or {}
    content: Json = {
        "msgtype": sent.msgtype,
        "body": sent.caption or sent.filename,
        "filename": sent.filename,
        "info": info,
        "file": file,
        "m.mentions": {},
    }
    if sent.is_voice and sent.msgtype == "m.audio":
        content |= {VOICE: {}, SOUND: {"duration": sent.duration_ms} if sent.duration_ms else {}}
    if (relation := relation_of(sent)) is not None:
        content[RELATION] = relation
    return content | {EFFECT_FIELD: key}


def relation_of(say: Say | SendFile) -> Json | None:
    """What the message relates to. An edit keeps the relation of what it edits, so it names only that."""
    if isinstance(say, Say) and say.edits is not None:
        return {"rel_type": "m.replace", "event_id": say.edits}
    if say.thread_root is not None:
        return {
            "rel_type": "m.thread",
            "event_id": say.thread_root,
            "is_falling_back": say.reply_to is None,
            "m.in_reply_to": {"event_id": say.reply_to or say.thread_root},
        }
    if say.reply_to is not None:
        return {"m.in_reply_to": {"event_id": say.reply_to}}
    return None


def transaction_id(key: str, mxid: str, device_id: str) -> str:
    """The transaction id of an effect: the same for every try from one device.

    Synapse keeps transaction ids per room over all actors of an application service, so the actor is part of it.
    """
    text = f"{key}\x1f{mxid}\x1f{device_id}".encode("utf-8", "surrogatepass")
    return "etb" + hashlib.blake2b(text, digest_size=16).hexdigest()
