"""The sections about the service's own keeping."""

from typing import Literal

from pydantic import Field

from etb_appservice.config.sections.section import Section
from etb_appservice.config.values import Count

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class Retention(Section):
    """How long things are kept."""

    seen_keys_days: Count = Field(default=30, ge=4)
    """How long the service remembers what it has seen, so that nothing is done twice. At least 4."""


class Ops(Section):
    """Logs and metrics."""

    log_level: LogLevel = "INFO"
    """The least important lines that are logged."""
    audit_log_level: LogLevel = "INFO"
    """The same for lines about the audit log. Also as `CHAT_AUDIT_LOG_LEVEL`. The audit log is always kept."""
    json_logs: bool = False
    """One JSON object a line instead of text for people."""
    metrics: bool = True
    """Whether `/metrics` is served."""
