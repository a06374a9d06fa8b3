"""How fast each person may ask, and how often they were refused. In memory and bounded; a restart forgives."""

from collections import OrderedDict
from dataclasses import dataclass

from etb_appservice.domain.ids import UserId
from etb_appservice.domain.policy import CommandPolicy

_MOST_SENDERS = 10_000


class Pace:
    """How fast each sender may ask: a bucket of `burst` commands that refills by `per_minute`.

    Kept in memory and bounded; a restart forgives.
    """

    def __init__(self, policy: CommandPolicy) -> None:
        """Empty: everybody begins with a full bucket."""
        self._policy = policy
        self._buckets: OrderedDict[UserId, _Bucket] = OrderedDict()

    def allows(self, sender: UserId, now_s: float) -> bool:
        """Take one from the sender's bucket; False when it is empty."""
        bucket = self._bucket(sender, now_s)
        refill = (now_s - bucket.at_s) * self._policy.per_minute / 60
        bucket.left = min(float(self._policy.burst), bucket.left + refill)
        bucket.at_s = now_s
        if bucket.left < 1:
            return False
        bucket.left -= 1
        bucket.warned = False
        return True

    def may_warn(self, sender: UserId) -> bool:
        """True once until the sender's bucket holds something again: a flood gets one answer."""
        bucket = self._buckets.get(sender)
        if bucket is None or bucket.warned:
            return False
        bucket.warned = True
        return True

    def refused(self, sender: UserId) -> None:
        """Count a refusal."""
        if bucket := self._buckets.get(sender):
            bucket.refusals += 1

    def refusals(self, sender: UserId) -> int:
        """Refusals since the sender was last seen as new."""
        bucket = self._buckets.get(sender)
        return bucket.refusals if bucket else 0

    def _bucket(self, sender: UserId, now_s: float) -> "_Bucket":
        bucket = self._buckets.setdefault(sender, _Bucket(float(self._policy.burst), now_s))
        self._buckets.move_to_end(sender)
        if len(self._buckets) > _MOST_SENDERS:
            self._buckets.popitem(last=False)
        return bucket


@dataclass(slots=True)
class _Bucket:
    left: float
    at_s: float
    warned: bool = False
    refusals: int = 0
