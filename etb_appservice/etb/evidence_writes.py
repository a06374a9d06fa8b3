"""Evidence in ETB (docs/etb-contract.md 10.1): the digest of a file that is kept elsewhere, registered once.

`source_reference` is ours alone; a repetition looks for it. Must never send the file.
"""

import structlog

from etb_appservice.domain.effects import RegisterEvidence
from etb_appservice.domain.facts import Done
from etb_appservice.domain.outcomes import Refused
from etb_appservice.etb import fields
from etb_appservice.etb.desk import Desk, is_repetition, understood
from etb_appservice.etb.wire import JsonObject
from etb_appservice.ports import Try

_log = structlog.get_logger(__name__)

SOURCE = "etb-appservice"
_TITLE_LIMIT = 255


class EvidenceWrites:
    """Answers with the `id` that ETB gave."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def register(self, effect: RegisterEvidence, attempt: Try) -> Done:
        """Register it, once. Raises all four outcomes."""
        self._desk.need("compliance")
        path = self._desk.modules.paths.path("compliance.evidence")
        if is_repetition(attempt):
            row = await self._desk.find(
                "compliance.evidence",
                {"incident": effect.incident_id, "evidence_type": effect.evidence_type},
                lambda row: _is_same(row, effect),
                attempt,
                time="collected_at",
            )
            if row is not None:
                return _registered(row, path, "found")
            self._desk.wait_out(attempt)
        body: JsonObject = {
            "incident_id": effect.incident_id,
            "title": fields.clean(effect.title)[:_TITLE_LIMIT],
            "description": fields.clean(effect.description),
            "evidence_type": effect.evidence_type,
            "file_hash": effect.file_hash,
            "file_size": effect.file_size,
            "mime_type": effect.mime,
            "source": SOURCE,
            "source_reference": effect.source_reference,
        }
        if effect.classification:
            spelling = self._desk.spelling
            body["data_classification"] = spelling.write("data_classification", effect.classification)
        try:
            answer = await self._desk.post(path, body, attempt)
        except Refused as no:
            if no.code == "400":
                await self._desk.must_know(effect.incident_id)
            if no.code == "404":
                raise Refused(
                    f"ETB takes no evidence at {path}: set etb.paths.compliance.evidence", code="404"
                ) from None
            raise
        if answer and _is_same(answer, effect) is not True:
            _log.warning("etb changes or hides the reference of evidence", path=path)
        return _registered(answer, path, "created")


def _is_same(row: JsonObject, effect: RegisterEvidence) -> bool | None:
    """By the reference; None when the row shows none."""
    if "source_reference" not in row:
        return None
    return bool(row["source_reference"] == effect.source_reference)


def _registered(row: JsonObject, path: str, detail: str) -> Done:
    found = understood(lambda: fields.identifier(row), f"POST {path}")
    return Done(detail=detail, found={"id": found})
