"""The doors of the house: what flows need from outside, as protocols. Nothing here does anything.

Each says what an implementation MUST and MUST NOT do, whether repeating is safe, and which of the four outcomes
(domain/outcomes.py) it raises. Nothing else may be raised by an adapter, except cancellation.
"""

from etb_appservice.ports.conversation import CommandRun, Commands, CommandStatus, Message, Messages, MessageState
from etb_appservice.ports.copies import Incidents, Known, Room, Rooms
from etb_appservice.ports.etb import EtbDecoder, EtbHands, EtbReads
from etb_appservice.ports.matrix import (
    ASK_AGAIN,
    Devices,
    HomeserverAdmin,
    KeyMissing,
    MatrixDecoder,
    MatrixHands,
    Nothing,
    Try,
)
from etb_appservice.ports.papers import MOST_MESSAGES, Picture, Press, Printed, PrintedTranscript, Transcript
from etb_appservice.ports.queues import (
    Arrival,
    Inbox,
    InboxRow,
    InboxState,
    Outbox,
    OutboxRow,
    OutboxState,
    ParkedEffect,
    RowUnreadable,
    Source,
)
from etb_appservice.ports.records import (
    MOST_DOCUMENT_BYTES,
    AuditLog,
    Cases,
    Document,
    Documents,
    E,
    Expected,
    Gaps,
    Once,
    TooLarge,
)
from etb_appservice.ports.running import Clock, FactCodec, Meter, Refusals, RefusedDevice, Vital, Vitals
from etb_appservice.ports.store import ON_CALL, USERS, Keepsakes, Store, Work

__all__ = [
    "ASK_AGAIN",
    "MOST_DOCUMENT_BYTES",
    "MOST_MESSAGES",
    "ON_CALL",
    "USERS",
    "Arrival",
    "AuditLog",
    "Cases",
    "Clock",
    "CommandRun",
    "CommandStatus",
    "Commands",
    "Devices",
    "Document",
    "Documents",
    "E",
    "EtbDecoder",
    "EtbHands",
    "EtbReads",
    "Expected",
    "FactCodec",
    "Gaps",
    "HomeserverAdmin",
    "Inbox",
    "InboxRow",
    "InboxState",
    "Incidents",
    "Keepsakes",
    "KeyMissing",
    "Known",
    "MatrixDecoder",
    "MatrixHands",
    "Message",
    "MessageState",
    "Messages",
    "Meter",
    "Nothing",
    "Once",
    "Outbox",
    "OutboxRow",
    "OutboxState",
    "ParkedEffect",
    "Picture",
    "Press",
    "Printed",
    "PrintedTranscript",
    "Refusals",
    "RefusedDevice",
    "Room",
    "Rooms",
    "RowUnreadable",
    "Source",
    "Store",
    "TooLarge",
    "Transcript",
    "Try",
    "Vital",
    "Vitals",
    "Work",
]
