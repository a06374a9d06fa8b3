"""Settings: YAML and environment in, frozen typed values out. Unknown keys are errors, secrets never printed."""

from etb_appservice.config.load import ConfigError, Loaded, load
from etb_appservice.config.policy import policy
from etb_appservice.config.registration import registration
from etb_appservice.config.settings import Settings
from etb_appservice.config.values import Address

__all__ = ["Address", "ConfigError", "Loaded", "Settings", "load", "policy", "registration"]
