"""The sections about what stands around the service: homeserver, databases, ETB."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from etb_appservice.config.sections.section import Section
from etb_appservice.config.values import (
    Address,
    DatabaseUrl,
    EncryptionKey,
    HeaderSecret,
    ListenAddress,
    Localpart,
    MatrixUser,
    Seconds,
    ServerName,
    Token,
    Url,
    WebhookSecret,
    WebUrl,
    decode_base64,
)


class Homeserver(Section):
    """The Matrix homeserver this service belongs to."""

    secret_keys = ("admin_token",)

    url: Url
    """Where this service reaches the homeserver's client API."""
    domain: ServerName
    """The homeserver's server name: what stands after the colon in its users' ids."""
    request_timeout_s: Seconds = 30.0
    """How long one request to the homeserver may take; a `/sync`, which it holds open, may take 30 s more."""
    admin_user: MatrixUser | None = None
    """A user of its own that is an administrator of the homeserver, for `purge` and `media`; never the bot, and
    outside of this service's names. Off without it."""
    admin_token: Token | None = None
    """An access token of `admin_user`. Secret."""
    admin_token_file: Path | None = None
    """A file that holds `admin_token`."""

    @model_validator(mode="after")
    def _admin_is_whole(self) -> Self:
        if (self.admin_user is None) != (self.admin_token is None):
            raise ValueError("admin_user and admin_token belong together: give both, or none")
        if self.admin_user is not None and not self.admin_user.endswith(f":{self.domain}"):
            raise ValueError(f"admin_user must be a user of {self.domain}")
        return self


class Appservice(Section):
    """How the homeserver and this service know each other; the same values stand in the registration file."""

    secret_keys = ("as_token", "hs_token")

    id: str = Field(default="etb", pattern=r"^[A-Za-z0-9._-]{1,64}$")
    """The registration's id."""
    url: Url
    """Where the homeserver reaches this service."""
    listen: ListenAddress = Address("127.0.0.1", 29333)
    """Address on which the homeserver's transactions, `/health`, `/ready` and `/metrics` are served. Private."""
    as_token: Token
    """The token with which this service speaks to the homeserver. Secret."""
    as_token_file: Path | None = None
    """A file that holds `as_token`."""
    hs_token: Token
    """The token with which the homeserver speaks to this service. Secret."""
    hs_token_file: Path | None = None
    """A file that holds `hs_token`."""
    sender_localpart: Localpart = "_etb"
    """A name that nobody uses, not even the bot: Synapse refuses `/sync` to a registration's sender."""
    user_prefix: Localpart = "_etb_"
    """What the localparts of Matrix users that belong to this service begin with."""

    @model_validator(mode="after")
    def _two_tokens(self) -> Self:
        if self.as_token.get_secret_value() == self.hs_token.get_secret_value():
            raise ValueError("as_token and hs_token must differ")
        return self


class Bot(Section):
    """The one that speaks in the rooms."""

    localpart: Localpart = "etb"
    """The bot's name on the homeserver."""
    displayname: str = Field(default="ETB", min_length=1, max_length=200)
    """What people see as its name."""
    device_name: str = Field(default="etb-appservice", min_length=1, max_length=200)
    """What people see as the name of its device when they verify it."""


class Database(Section):
    """Where the service keeps what must not be lost.

    Two databases, one for the service and one for Matrix encryption: two files on SQLite, two schemas on
    PostgreSQL.
    """

    secret_keys = ("url", "crypto_url")

    url: DatabaseUrl
    """`sqlite:///file` (four slashes for an absolute path, three for one beside this file) or
    `postgresql://user:password@host/database`. Secret, since it may hold a password."""
    url_file: Path | None = None
    """A file that holds `url`."""
    crypto_url: DatabaseUrl | None = None
    """The database for Matrix encryption. Without it: a second file beside the first (`etb.db` and
    `etb-crypto.db`), or the schema `crypto` of the same PostgreSQL database. Secret."""
    crypto_url_file: Path | None = None
    """A file that holds `crypto_url`."""

    @property
    def kind(self) -> Literal["sqlite", "postgresql"]:
        """Which database the service's own tables live in."""
        return "sqlite" if self.etb_url.startswith("sqlite:") else "postgresql"

    @property
    def etb_url(self) -> str:
        """The URL of the service's own tables, in the clear: `sqlite:///path` or `postgresql://...`."""
        return _postgresql(self.url.get_secret_value())

    @property
    def etb_crypto_url(self) -> str:
        """The URL of the encryption tables, in the clear; on PostgreSQL they have a schema of their own."""
        if self.crypto_url is not None:
            return _postgresql(self.crypto_url.get_secret_value())
        if self.kind == "sqlite":
            path = Path(self.etb_url.removeprefix("sqlite:///"))
            return f"sqlite:///{path.with_name(path.stem + '-crypto' + path.suffix)}"
        return self.etb_url


def _postgresql(url: str) -> str:
    return "postgresql://" + url.removeprefix("postgres://") if url.startswith("postgres://") else url


class Encryption(Section):
    """Encryption of what is stored, and patience with messages whose key is late."""

    secret_keys = ("key",)

    key: EncryptionKey
    """32 bytes in base64 (`openssl rand -base64 32`). Everything this service stores is sealed under it: without
    it nothing can be read again. Also as `CHAT_ENCRYPTION_KEY`. Secret."""
    key_file: Path | None = None
    """A file that holds `key`."""
    tell_after_s: Seconds = 30.0
    """After how long the room is told that a message can't be read."""
    give_up_after_s: Seconds = 7 * 24 * 3600.0
    """After how long the key is no longer waited for."""

    @property
    def key_bytes(self) -> bytes:
        """The 32 bytes."""
        return decode_base64(self.key.get_secret_value())

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.tell_after_s > self.give_up_after_s:
            raise ValueError("tell_after_s must not be longer than give_up_after_s")
        return self


class Etb(Section):
    """The incident system ETB."""

    secret_keys = ("token",)

    base_url: Url
    """Where ETB's API is. Also as `ETB_BASE_URL`."""
    token: HeaderSecret
    """The token of this service's account in ETB. Also as `ETB_TOKEN`. Secret."""
    token_file: Path | None = None
    """A file that holds `token`."""
    auth_scheme: Literal["Token", "Bearer"] = "Token"
    """The word before the token in the `Authorization` header. Also as `ETB_AUTH_SCHEME`."""
    timeout_s: Seconds = 10.0
    """How long one request to ETB may take. Also as `ETB_TIMEOUT_S`."""
    verify_tls: bool = True
    """Whether ETB's certificate is checked; false only for a test. Also as `ETB_VERIFY_TLS`."""
    poll: bool = True
    """Whether ETB is asked for changed incidents. May be off only where the webhook is on; its modules and who is
    on call, of which no webhook tells, are looked at all the same."""
    poll_interval_s: Seconds = 15.0
    """How often ETB is asked. Also as `ETB_POLL_INTERVAL_S`."""
    web_url: WebUrl = ""
    """Where a person opens an incident in ETB, with `{id}` or `{number}` for its own; empty gives no links."""
    paths: dict[str, str] = Field(default_factory=dict)
    """Paths that differ from the defaults, by name such as `incidents.list`. Also as `ETB_PATHS`, as JSON."""
    enums: dict[str, dict[str, str]] = Field(default_factory=dict)
    """By field, ETB's spelling and ours: `severity: {Sev1: CRITICAL}`. Also as `ETB_ENUM_MAP`, as JSON."""

    @model_validator(mode="after")
    def _paths_are_paths(self) -> Self:
        if any(not path.startswith("/") or path.startswith("//") for path in self.paths.values()):
            raise ValueError("every path in `paths` must start with one slash")
        return self


class Webhook(Section):
    """`POST /hooks/etb/incident/`, by which ETB can tell of a change at once (Standard Webhooks)."""

    enabled: bool = False
    """Whether webhooks are taken."""
    secrets: tuple[WebhookSecret, ...] = ()
    """Secrets (`whsec_...`), any of which may sign: two while one replaces the other. Secret."""
    secret_files: tuple[Path, ...] = ()
    """Files that hold one secret each, beside or instead of `secrets`."""

    @model_validator(mode="after")
    def _signed(self) -> Self:
        if self.enabled and not self.secrets:
            raise ValueError("webhooks are enabled, but `secrets` and `secret_files` are empty")
        return self
