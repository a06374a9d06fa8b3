"""Drills: incidents that are played. They look and work like real ones, but nobody outside is called to them."""

from etb_appservice.domain.incident import Incident
from etb_appservice.domain.policy import Policy

MARK = "DRILL"
"""What stands before the number of one."""


def is_drill(incident: Incident, policy: Policy) -> bool:
    """Whether ETB's tags say that it is a drill; ETB has no field for it, so the configuration names the tags.

    One that is: its pages stay in its room, and no statistics count it.
    """
    wanted = {tag.casefold() for tag in policy.drill_tags}
    return any(tag.casefold() in wanted for tag in incident.tags)
