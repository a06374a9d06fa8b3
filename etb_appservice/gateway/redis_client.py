"""A client of Redis that tries once: whoever asks decides what becomes of a failure."""

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff


def client_of(url: str, *, answer_s: float, connect_s: float) -> Redis:
    """Made without connecting. What is repeated unseen may be done twice, or hide that something was missed."""
    return Redis.from_url(
        url,
        socket_timeout=answer_s,
        socket_connect_timeout=connect_s,
        retry=Retry(NoBackoff(), 0),
        retry_on_error=[],
    )
