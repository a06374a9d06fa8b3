"""Checked kinds of values that settings are made of: addresses, URLs, Matrix names, secrets, levels.

Pure: nothing here reads a file or the network, and no error text may repeat a value, which could be a secret.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from etb_appservice.domain.classification import Classification
from etb_appservice.domain.clearance import OurRole
from etb_appservice.domain.ids import UserId, Username
from etb_appservice.domain.reactions import bare

_SERVER_NAME = re.compile(r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9.-]{1,230})(?::[0-9]{1,5})?")
_LOCALPART = re.compile(r"[a-z0-9._=/+-]{1,200}")
_USER_ID = re.compile(r"@[a-z0-9._=/+-]{1,200}:" + _SERVER_NAME.pattern)
_KEY_BYTES = 32
_WEBHOOK_SECRET_BYTES = range(24, 65)
_PORTS = range(65536)
_TOKEN_LENGTH = 16
_EMOJI_LENGTH = 32


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens. Port 0 asks the system for a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        """As it is written in the settings."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _address(value: Any) -> Any:
    if isinstance(value, Address):
        return value
    if isinstance(value, str):
        host, colon, port = value.rpartition(":")
        host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        if colon and host and port.isascii() and port.isdigit() and int(port) in _PORTS:
            return Address(host, int(port))
    raise ValueError("must be an address with a port, such as 127.0.0.1:29333")


def _emoji(value: str) -> str:
    if not bare(value) or len(value) > _EMOJI_LENGTH:
        raise ValueError("must be an emoji")
    return bare(value)


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - reading it is the check of the port
    except ValueError:
        raise ValueError("is not a URL") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be a URL that starts with http:// or https://")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must be a plain URL, without a user, a query or a fragment")
    return value.rstrip("/")


def _origin(value: str) -> str:
    if value and urlsplit(_url(value)).path:
        raise ValueError("must be an origin, such as https://etb.example.org, without a path")
    return value.rstrip("/").lower()


def _web_url(value: str) -> str:
    if value:
        plain = value.replace("{id}", "x").replace("{number}", "x")
        if plain == value or re.search(r"[{}]", plain):
            raise ValueError("must hold {id} or {number} where the incident's own goes, and no other braces")
        _url(plain.partition("?")[0].partition("#")[0])
    return value


def _server_name(value: str) -> str:
    if not _SERVER_NAME.fullmatch(value):
        raise ValueError("must be a Matrix server name, such as example.org, without http://")
    return value


def _localpart(value: str) -> str:
    if not _LOCALPART.fullmatch(value):
        raise ValueError("may hold only small letters, digits and . _ = / + -")
    return value


def is_user_id(text: str) -> bool:
    """Whether `text` is a Matrix user id (Matrix specification, "User identifiers")."""
    return len(text) <= 255 and bool(_USER_ID.fullmatch(text))  # noqa: PLR2004 - the specification's limit


def _user_id(value: str) -> UserId:
    if not is_user_id(value):
        raise ValueError("must be a Matrix user id, such as @alice:example.org")
    return UserId(value)


def _glass_holder(value: str) -> str:
    if value not in {"operator", *get_args(OurRole)} and not is_user_id(value):
        words = ", ".join(get_args(OurRole))
        raise ValueError(f"must be a Matrix user id, `operator`, or one of {words}")
    return value


def _people_template(value: str) -> str:
    if value and (value.count("{username}") != 1 or not is_user_id(value.replace("{username}", "a"))):
        raise ValueError("must be a Matrix user id with {username} in it, such as @{username}:example.org")
    return value


def _level(value: Any) -> Any:
    level = value if isinstance(value, Classification) else Classification.read(value)
    if level is None:
        raise ValueError(f"must be one of {', '.join(Classification.__members__)}")
    return level


def _not_a_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004 - pydantic collects ValueErrors only
    return value


def _number_as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _token(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if len(text) < _TOKEN_LENGTH or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(f"must be at least {_TOKEN_LENGTH} printable ASCII characters without spaces")
    return value


def _header_secret(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be printable ASCII characters without spaces")
    return value


def decode_base64(text: str) -> bytes:
    """Bytes of base64, in the usual or the URL-safe alphabet, padded or not; raises ValueError."""
    bare = text.strip().rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not base64") from None


def _encryption_key(value: SecretStr) -> SecretStr:
    if len(decode_base64(value.get_secret_value())) != _KEY_BYTES:
        raise ValueError("must be 32 bytes in base64; `openssl rand -base64 32` makes such a key")
    return value


def _webhook_secret(value: SecretStr) -> SecretStr:
    if len(decode_base64(value.get_secret_value().removeprefix("whsec_"))) not in _WEBHOOK_SECRET_BYTES:
        raise ValueError("must be whsec_ and then 24 to 64 bytes in base64, as Standard Webhooks asks")
    return value


def _database_url(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if text.startswith("sqlite:///"):
        if text == "sqlite:///" or ":memory:" in text or "?" in text:
            raise ValueError("must name a file, such as sqlite:////var/lib/etb-appservice/etb.db")
        return value
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"postgresql", "postgres"} and len(parts.path) > 1 and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("must start with sqlite:/// or be postgresql://user:password@host/database")
    return value


def _redis_url(value: SecretStr) -> SecretStr:
    try:
        parts = urlsplit(value.get_secret_value())
        parts.port  # noqa: B018 - reading it is the check of the port
        usable = bool(parts.path) if parts.scheme == "unix" else bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable or parts.scheme not in {"redis", "rediss", "unix"}:
        raise ValueError("must be a redis, rediss or unix URL, such as redis://:password@host:6379/0")
    return value


def _network(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return ip_network(value)
    except ValueError:
        raise ValueError("must be an IP address or network, such as 10.0.0.0/8 or 127.0.0.1") from None


ListenAddress = Annotated[Address, BeforeValidator(_address)]
Url = Annotated[str, AfterValidator(_url)]
Origin = Annotated[str, AfterValidator(_origin)]
WebUrl = Annotated[str, AfterValidator(_web_url)]
ServerName = Annotated[str, AfterValidator(_server_name)]
Localpart = Annotated[str, AfterValidator(_localpart)]
MatrixUser = Annotated[UserId, AfterValidator(_user_id)]
GlassHolder = Annotated[str, AfterValidator(_glass_holder)]
EtbUsername = Annotated[Username, Field(min_length=1, max_length=200)]
PeopleTemplate = Annotated[str, AfterValidator(_people_template)]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
Level = Annotated[Classification, BeforeValidator(_level)]
Seconds = Annotated[float, BeforeValidator(_not_a_bool), Field(gt=0, le=366 * 24 * 3600)]
Count = Annotated[int, BeforeValidator(_not_a_bool), Field(ge=1, le=1_000_000)]
Minutes = Annotated[int, BeforeValidator(_not_a_bool), Field(ge=0, le=366 * 24 * 60)]
Emoji = Annotated[str, AfterValidator(_emoji)]
PartnerName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,39}$")]
Pattern = Annotated[str, Field(pattern=r"^[a-z0-9._=/+*-]{1,100}$")]
Percent = Annotated[int, BeforeValidator(_not_a_bool), Field(ge=1, le=100)]
RoomVersion = Annotated[str, BeforeValidator(_number_as_text), Field(pattern=r"^[A-Za-z0-9.-]{1,32}$")]
Token = Annotated[SecretStr, AfterValidator(_token)]
HeaderSecret = Annotated[SecretStr, AfterValidator(_header_secret)]
EncryptionKey = Annotated[SecretStr, AfterValidator(_encryption_key)]
WebhookSecret = Annotated[SecretStr, AfterValidator(_webhook_secret)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url)]
RedisUrl = Annotated[SecretStr, AfterValidator(_redis_url)]
