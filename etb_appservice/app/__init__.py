"""The composition root: the one place that knows every part. It decides nothing itself."""

from etb_appservice.app.check import Finding, check
from etb_appservice.app.recover import RecoveryReport, recover
from etb_appservice.app.recovery_key import recovery_key
from etb_appservice.app.run import run
from etb_appservice.app.setup import SetupReport, setup
from etb_appservice.app.upgrade import upgrade

__all__ = [
    "Finding",
    "RecoveryReport",
    "SetupReport",
    "check",
    "recover",
    "recovery_key",
    "run",
    "setup",
    "upgrade",
]
