"""Files that the bot makes: printed before a unit of work, sent within it, and what became of them.

ExportDue, ChartDue ─► look ─► due ─► SendFile, RegisterEvidence ─► answered: kept as said, or told to be missing
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from etb_appservice.domain.conversation import FileDetails, file_type_of, safe_name
from etb_appservice.domain.effects import RegisterEvidence, Say, SendFile
from etb_appservice.domain.facts import ChartDue, Done, EffectAnswered, ExportDue, NotDone
from etb_appservice.domain.ids import EventId
from etb_appservice.domain.media import Media
from etb_appservice.domain.text import code, plain
from etb_appservice.flows import sharing
from etb_appservice.flows.chart import Charts, Drawn
from etb_appservice.flows.conversation import Conversation
from etb_appservice.flows.export import Exports
from etb_appservice.flows.turn import Turn
from etb_appservice.ports import PrintedTranscript

PaperFact = ExportDue | ChartDue
Paper = PrintedTranscript | Drawn


@dataclass(frozen=True, slots=True)
class Papers:
    """Hands each document to the flow that makes it."""

    exports: Exports
    charts: Charts
    conversation: Conversation

    async def look(self, fact: PaperFact) -> Paper | None:
        """Read what is needed and print it."""
        match fact:
            case ExportDue():
                return await self.exports.look(fact)
            case ChartDue():
                return await self.charts.look(fact)

    async def due(self, turn: Turn, fact: PaperFact, looked: object) -> None:
        """Send what was printed."""
        match fact:
            case ExportDue():
                await self.exports.due(turn, fact, looked if isinstance(looked, PrintedTranscript) else None)
            case ChartDue():
                await self.charts.due(turn, fact, looked if isinstance(looked, Drawn) else None)

    async def answered(self, turn: Turn, fact: EffectAnswered) -> None:
        """A file was sent or registered, or could not be. Other effects mean nothing here."""
        match fact.effect, fact.answer:
            case SendFile(file_id=file_id) as sent, (Done() | NotDone()) as answer if file_id:
                await sharing.answered(turn, sent, answer)
            case SendFile() as sent, Done(event_id=event_id, found=found) if event_id:
                await self._sent(turn, sent, event_id, found)
            case SendFile() as sent, NotDone() as failed:
                await _not_sent(turn, sent, failed)
            case RegisterEvidence() as evidence, NotDone() as failed:
                await self.exports.not_registered(turn, evidence, failed)
            case _:
                pass

    async def _sent(self, turn: Turn, sent: SendFile, event_id: EventId, found: Mapping[str, str]) -> None:
        """It stands in the room: it is kept as what the bot said, and its upload knows what refers to it."""
        room = await turn.work.rooms.by_id(sent.room_id)
        if room is None:
            return
        media = await turn.work.cases.get(room.war_room, Media, found.get("mxc", ""))
        file = _details(sent, found, media)
        await self.conversation.ours(turn, room, sent, event_id, sent.caption or sent.filename, file=file)
        if media is not None:
            await turn.work.cases.put(room.war_room, replace(media, event_id=event_id))


def _details(sent: SendFile, found: Mapping[str, str], media: Media | None) -> FileDetails:
    """What the record keeps of a file of ours."""
    return FileDetails(
        name=safe_name(sent.filename),
        original_name=sent.filename,
        mime=sent.mime,
        size=sent.size,
        sha256=media.sha256 if media is not None else "",
        file=sharing.place_in(found),
        file_type=file_type_of(sent.mime, sent.filename),
        width=sent.width,
        height=sent.height,
    )


async def _not_sent(turn: Turn, sent: SendFile, failed: NotDone) -> None:
    """Whoever waits for it learns that it doesn't come."""
    later = "" if failed.state == "refused" else " An operator was told and can try again."
    await turn.emit(
        "not sent",
        Say(
            room_id=sent.room_id,
            content=f"{code(sent.filename)} could not be sent: {plain(failed.reason)}{later}",
            reply_to=sent.reply_to,
            thread_root=sent.thread_root,
            purpose="notice",
        ),
    )
