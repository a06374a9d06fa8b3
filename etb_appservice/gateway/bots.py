"""The bots of the API (docs/etb-contract.md 2.6, 5.3): what the one Matrix bot can do, as records."""

import uuid
from collections.abc import Sequence

from etb_appservice.gateway.objects import Bot, BotType, moment

_NAMES = uuid.UUID("0a0f3c5e-5d2b-5b39-8a35-1f6f2b0c9d41")
_SINCE_MS = 1_735_689_600_000
"""The records are the program's own: they are as old as their first release, and change with the program."""


def bot_id(kind: BotType) -> str:
    """The same everywhere and always."""
    return str(uuid.uuid5(_NAMES, kind))


def bots(prefixes: Sequence[str]) -> tuple[Bot, ...]:
    """All four. `prefixes`: what a command begins with."""
    triggers = list(prefixes)
    return (
        _bot(
            "INCIDENT_ASSISTANT",
            "Incident assistant",
            "Says how an incident stands, keeps its card and timeline, and reminds of what is due.",
            triggers,
            ["status", "timeline", "tasks", "roles", "reminders", "catch-up"],
            is_active=True,
        ),
        _bot(
            "KNOWLEDGE_BOT",
            "Knowledge bot",
            "Answers questions from ETB's knowledge base, once that is connected.",
            [],
            [],
            is_active=False,
        ),
        _bot(
            "AUTOMATION_BOT",
            "Automation bot",
            "Starts and follows runbooks, assigns, escalates and pages.",
            triggers,
            ["runbooks", "assign", "escalate", "page"],
            is_active=True,
        ),
        _bot(
            "COMPLIANCE_BOT",
            "Compliance bot",
            "Classifies, keeps the audit log, and makes transcripts.",
            triggers,
            ["classify", "export", "audit"],
            is_active=True,
        ),
    )


def _bot(
    kind: BotType, name: str, description: str, triggers: list[str], capabilities: list[str], *, is_active: bool
) -> Bot:
    return Bot(
        id=bot_id(kind),
        name=name,
        bot_type=kind,
        bot_type_display=kind.replace("_", " ").capitalize(),
        description=description,
        is_active=is_active,
        auto_respond=False,
        response_triggers=triggers,
        capabilities=capabilities,
        created_at=moment(_SINCE_MS),
        updated_at=moment(_SINCE_MS),
    )
