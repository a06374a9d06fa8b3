"""The composition root: the one place that knows every part. It decides nothing itself."""

from etb_appservice.app.annex import serve
from etb_appservice.app.check import Finding, check
from etb_appservice.app.gateway import api_document, bot_records
from etb_appservice.app.recover import RecoveryReport, recover
from etb_appservice.app.recovery_key import recovery_key
from etb_appservice.app.rotate import Wanted, rotate, rotate_encryption_key, rotate_recovery_key
from etb_appservice.app.run import run
from etb_appservice.app.setup import SetupReport, setup
from etb_appservice.app.upgrade import upgrade

__all__ = [
    "Finding",
    "RecoveryReport",
    "SetupReport",
    "Wanted",
    "api_document",
    "bot_records",
    "check",
    "recover",
    "recovery_key",
    "rotate",
    "rotate_encryption_key",
    "rotate_recovery_key",
    "run",
    "serve",
    "setup",
    "upgrade",
]
