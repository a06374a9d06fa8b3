"""Files that web users send: what they have uploaded before, and texts that no event can hold.

The bytes of such a text wait among the documents under its file's id, until the effect that names it has sent it.
"""

import hashlib

from etb_appservice.domain.conversation import FileDetails
from etb_appservice.domain.ids import new_id
from etb_appservice.domain.web import WebSaid
from etb_appservice.flows.visitor import No, Visitor
from etb_appservice.ports import ChatFile

_MOST_ATTACHMENTS = 10
_BEGINNING = 200
_KIB = 1024
_NAME = "message.md"


def text_file(visitor: Visitor, text: str) -> tuple[ChatFile, bytes, str]:
    """A text that no event can hold as a file: what is known of it, its bytes, and its beginning as a caption."""
    content = text.encode("utf-8", "surrogatepass")
    beginning = " ".join(text[: 2 * _BEGINNING].split())[:_BEGINNING]
    file = ChatFile(
        id=new_id(visitor.turn.now_ms),
        war_room=visitor.room.war_room,
        lane=visitor.incident_id,
        created_ms=visitor.turn.now_ms,
        details=FileDetails(
            name=_NAME,
            original_name=_NAME,
            mime="text/markdown",
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            file_type="DOCUMENT",
            uploaded_by=visitor.username,
        ),
    )
    return file, content, f"{beginning}… (the whole text, {len(content) // _KIB} KiB, is in {_NAME})"


async def attached(visitor: Visitor, fact: WebSaid) -> list[ChatFile]:
    """Files that the same person has uploaded to this room, and that no message carries yet."""
    wanted = tuple(dict.fromkeys(fact.attachments))
    if len(wanted) > _MOST_ATTACHMENTS:
        raise No("validation_error", f"At most {_MOST_ATTACHMENTS} files.", field="attachment_ids")
    found = await visitor.work.files.by_ids(wanted)
    files = [found[one] for one in wanted if one in found]
    for file in files:
        is_theirs = file.war_room == visitor.room.war_room and file.details.uploaded_by == visitor.username
        if not is_theirs or file.message_id is not None:
            files = []
    if len(files) < len(wanted):
        raise No("not_found", "There is no such file of yours that waits in this room.", field="attachment_ids")
    return files
