"""Classification: how sensitive an incident is, and how far that lets anybody look.

It is never unknown: ETB says it, or a total map of severity and category does (docs/etb-contract.md 2.5, 7.2).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum


class Classification(IntEnum):
    """The five levels, lowest to highest; a clearance is a level of the same scale."""

    PUBLIC = 1
    INTERNAL = 2
    CONFIDENTIAL = 3
    RESTRICTED = 4
    TOP_SECRET = 5

    @classmethod
    def read(cls, value: object) -> "Classification | None":
        """Read a level as ETB may spell it: a name, a number, or an object with `name` and `level`.

        >>> Classification.read("Top Secret"), Classification.read({"name": "x", "level": 3})
        (<Classification.TOP_SECRET: 5>, <Classification.CONFIDENTIAL: 3>)
        """
        match value:
            case bool() | None:
                return None
            case int() if value in cls._value2member_map_:
                return cls(value)
            case str():
                return cls.__members__.get(value.strip().upper().replace(" ", "_").replace("-", "_"))
            case {"level": int(level)} if level is not True and level in cls._value2member_map_:
                return cls(level)
            case {"name": str(name)}:
                return cls.read(name)
            case _:
                return None


@dataclass(frozen=True, slots=True)
class ClassificationMap:
    """The total map for incidents whose classification ETB doesn't state. `default` is mandatory."""

    default: Classification
    by_category: Mapping[str, Classification] = field(default_factory=dict)
    by_severity: Mapping[str, Classification] = field(default_factory=dict)
    sensitive: Classification = Classification.CONFIDENTIAL

    def level(
        self, *, severity: str, category: str, is_sensitive: bool, stated: Classification | None = None
    ) -> Classification:
        """What ETB states, else the highest level that severity or category asks for, else `default`.

        `is_sensitive` never lowers it: the stricter of the two counts. Keys are compared without regard to case.
        """
        asked = [
            found
            for table, word in ((self.by_category, category), (self.by_severity, severity))
            for key, found in table.items()
            if key.casefold() == word.casefold()
        ]
        level = stated or max(asked, default=self.default)
        return max(level, self.sensitive) if is_sensitive else level
