"""The sections about the chat API: who calls, its sockets and files, and who speaks for its users in Matrix."""

from pathlib import Path
from typing import Self

from pydantic import model_validator

from etb_appservice.config.sections.section import Section
from etb_appservice.config.values import Address, Count, ListenAddress, Minutes, Network, Origin, RedisUrl, Seconds


class Gateway(Section):
    """The public side: what ETB and people's browsers reach."""

    listen: ListenAddress = Address("127.0.0.1", 29334)
    """Address on which webhooks and the chat API are served. Put a reverse proxy with TLS in front of it."""
    enabled: bool = True
    """Whether the chat API is served."""
    public_url: Origin = ""
    """Where browsers reach this service, such as `https://chat.example.org`. Links in answers begin with it, and
    pages of it may call; without it links are paths."""
    origins: tuple[Origin, ...] = ()
    """Origins of further web pages that may call, such as ETB's own. A browser on any other page is refused."""
    trusted_proxies: tuple[Network, ...] = ()
    """Addresses or networks of the reverse proxies in front of it. What they say of who has asked them
    (`X-Forwarded-For`) stands in the access log of files; of anybody else it is not believed."""
    token_cache_s: Seconds = 60.0
    """For how long ETB's word on whose token it is counts. A token that ETB revokes works so much longer."""
    per_minute: Count = 600
    """How many requests one person may send per minute."""
    burst: Count = 100
    """How many of these at once."""
    page_size: Count = 20
    """How many rows a page of a list has where the caller asks for no number."""
    most_page_size: Count = 100
    """How many it has at most."""

    @model_validator(mode="after")
    def _pages_fit(self) -> Self:
        if self.page_size > self.most_page_size:
            raise ValueError("page_size must not be larger than most_page_size")
        return self


class SocketSettings(Section):
    """WebSockets of the chat API, on the same address."""

    secret_keys = ("redis_url",)

    redis_url: RedisUrl | None = None
    """A Redis through which this process and those beside it (`etb-appservice serve`) tell each other what is new,
    such as `redis://:password@host:6379/0`. What goes through it is encrypted. Without it there is none beside.
    Secret."""
    redis_url_file: Path | None = None
    """A file that holds `redis_url`."""
    token_in_url: bool = False
    """Whether `?token=` in the URL is taken. Off: URLs stand in the logs of proxies; browsers use a ticket or the
    subprotocol."""
    per_person: Count = 20
    """How many sockets one person may have open."""
    most: Count = 5000
    """How many there may be in all."""
    idle_minutes: Minutes = 480
    """After how many minutes a socket that asks for nothing is closed; 0 for never. One that doesn't answer pings
    is closed within a minute."""


class Files(Section):
    """Files that people upload and fetch by the chat API."""

    most_mib: Count = 50
    """The size of one file in MiB, in both directions. Synapse's `max_upload_size` must allow it."""
    blocked: tuple[str, ...] = (
        "application/vnd.microsoft.portable-executable",
        "application/x-elf",
        "application/x-mach-binary",
    )
    """Types that aren't taken, as they are found in the bytes, whatever a file is called: programs by default."""
    alone_after_s: Seconds = 60.0
    """How long an uploaded file waits for a message that names it, before it is sent by itself."""
    at_once: Count = 16
    """How many uploads and downloads may be under way at the same moment; whoever comes later is asked to wait."""


class GhostSettings(Section):
    """The Matrix users that speak for ETB users who write on ETB's web page."""

    idle_days: Count = 30
    """How long somebody's device is kept unused; the same one is made again when they next say something."""
    drain_every_s: Seconds = 300.0
    """How often what other people's clients have sent to these devices is thrown away."""
    most_devices: Count = 500
    """How many of them have a device at once; those unused for the longest time lose theirs first."""
    avatars: bool = True
    """Whether each has a picture: initials on a colour of their own. Like their names, homeservers see it."""
