"""The outside of an encrypted room event and the inside of its plaintext, checked. Pure; touches no key.

Both come from strangers: nothing may be used before it was checked here.
"""

import json
from collections.abc import Mapping
from typing import Any

from etb_appservice.matrix.olm import BadEvent, dict_of, key_of, text_of

_CIPHERTEXT_LIMIT = 128 * 1024


class Sealed:
    """The checked outside of an encrypted event. Raises BadEvent."""

    __slots__ = ("ciphertext", "event_id", "relation", "room_id", "sender", "session_id", "timestamp")

    def __init__(self, event: Mapping[str, Any], content: Mapping[str, Any]) -> None:
        self.room_id = text_of(event.get("room_id"), "room_id")
        self.event_id = text_of(event.get("event_id"), "event_id")
        self.sender = text_of(event.get("sender"), "sender")
        self.session_id = key_of(content.get("session_id"), "session_id")
        ciphertext, timestamp = content.get("ciphertext"), event.get("origin_server_ts")
        if not isinstance(ciphertext, str) or not 0 < len(ciphertext) <= _CIPHERTEXT_LIMIT:
            raise BadEvent("ciphertext is missing, too long or not a string")
        if not isinstance(timestamp, int) or isinstance(timestamp, bool) or not 0 <= timestamp < 1 << 53:
            raise BadEvent("origin_server_ts is not a time")
        self.ciphertext: str = ciphertext
        self.timestamp: int = timestamp
        self.relation = content.get("m.relates_to")


def open_payload(plaintext: str, sealed: Sealed) -> tuple[str, dict[str, Any]]:
    """(type, content) of the inner event; a clear relation counts where there is none inside. Raises BadEvent."""
    try:
        data = dict_of(json.loads(plaintext), "payload")
    except (ValueError, RecursionError) as error:
        raise BadEvent("the payload is not JSON") from error
    if data.get("room_id") != sealed.room_id:
        raise BadEvent("the payload is for another room")
    content = dict(dict_of(data.get("content"), "payload content"))
    if isinstance(sealed.relation, dict) and "m.relates_to" not in content:
        content["m.relates_to"] = sealed.relation
    return text_of(data.get("type"), "payload type"), content
