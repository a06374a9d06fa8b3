"""What every section of the settings is."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """One section of the settings."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True, title=None
    )
    secret_keys: ClassVar[tuple[str, ...]] = ()
    """Keys that are secret and may be given as `<key>_file` instead."""
