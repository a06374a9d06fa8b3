"""Puts a file of ours into the homeserver's media store, encrypted, once for each effect.

    document ─► uploaded before? ──yes──────────────────────────────► its EncryptedFile
                  └─no─► encrypt under a key of its own ─► upload ─► remembered (one commit) ─► EncryptedFile

A crash between the upload and the commit leaves something behind that nobody can decrypt, and nothing else. Must
never hand the homeserver a clear byte, a name or a type.
Source: client-server API, "Sending encrypted attachments".
"""

import asyncio
import hashlib
import json

from mautrix.crypto.attachments import encrypt_attachment

from etb_appservice.domain.conversation import EncryptedFile
from etb_appservice.domain.effects import SendFile
from etb_appservice.domain.media import Media
from etb_appservice.domain.outcomes import Broken, Refused
from etb_appservice.matrix.messages import FILE_FIELD, Json
from etb_appservice.matrix.server import Homeserver
from etb_appservice.ports import Store


def described(file: Json) -> dict[str, str]:
    """What the record keeps of an EncryptedFile: where it lies, and how it is decrypted."""
    return {
        "mxc": file["url"],
        "key": file["key"]["k"],
        "iv": file["iv"],
        "sha256": file["hashes"]["sha256"],
    }


class Attachments:
    """The documents of the store, and the media store of the homeserver."""

    def __init__(self, store: Store, server: Homeserver) -> None:
        self._store = store
        self._server = server

    async def encrypted_file(self, sent: SendFile) -> Json:
        """The `file` of the event, the same at each try. Raises all four outcomes."""
        async with self._store.view() as view:
            kept = await view.files.get(_file_id(sent))
            document = await view.documents.get(sent.document) if sent.document else None
        place = None if kept is None or kept.withdrawn_ms is not None else kept.details.file
        if document is None and place is not None:
            return encrypted(place)
        if document is None and sent.file_id:
            raise Refused("the file was deleted before it could be sent", code="deleted")
        if document is None:
            raise Broken(f"the bytes of {sent.document} are not there any more")
        if document.upload is not None:
            known: Json = json.loads(document.upload)
            return known
        ciphertext, made = await asyncio.to_thread(encrypt_attachment, document.content)
        file: Json = made.serialize()
        file["url"] = await self._server.upload(ciphertext)
        digest = await asyncio.to_thread(hashlib.sha256, document.content)
        async with self._store.work() as work:
            await work.documents.uploaded(sent.document, json.dumps(file).encode())
            await work.cases.put(
                document.war_room,
                Media(
                    id=file["url"],
                    filename=sent.filename,
                    mime=sent.mime,
                    size=len(document.content),
                    sha256=digest.hexdigest(),
                    at_ms=work.now_ms(),
                ),
            )
        return file

    async def info(self, sent: SendFile) -> Json:
        """What an event says besides of a file that somebody has uploaded; of one of ours nothing."""
        async with self._store.view() as view:
            kept = await view.files.get(_file_id(sent))
        if kept is None:
            return {}
        details = kept.details
        found: Json = {FILE_FIELD: {"id": kept.id, "sha256": details.sha256}}
        if details.thumbnail is not None:
            found["thumbnail_file"] = encrypted(details.thumbnail)
            found["thumbnail_info"] = {
                "mimetype": "image/jpeg",
                "size": details.thumbnail_size,
                "w": details.thumbnail_width,
                "h": details.thumbnail_height,
            }
        return found


def _file_id(sent: SendFile) -> str:
    """What people have uploaded is named by either: its bytes may wait among the documents, under its own id."""
    return sent.file_id or sent.document


def encrypted(file: EncryptedFile) -> Json:
    """As an event has it (client-server API, "Extensions to m.room.message msgtypes")."""
    return {
        "url": file.mxc,
        "key": {"kty": "oct", "key_ops": ["encrypt", "decrypt"], "alg": "A256CTR", "k": file.key, "ext": True},
        "iv": file.iv,
        "hashes": {"sha256": file.sha256},
        "v": "v2",
    }
