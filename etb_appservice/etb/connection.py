"""How ETB is reached: one frozen value that the configuration builds. It must never print its token."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from yarl import URL

from etb_appservice.etb.paths import EtbPaths
from etb_appservice.etb.spelling import Spelling

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class EtbConnection:
    """Where ETB is and how to speak to it (docs/etb-contract.md 1.2, 12).

    Raises ValueError, naming the key, when `base_url`, `token` or `auth_scheme` can't be right.
    """

    base_url: str
    """`https://host[:port][/prefix]`, without query or user."""
    token: str = field(repr=False)
    auth_scheme: str = "Token"
    """`Token`, or `Bearer` for set-ups with JWT."""
    timeout_s: float = 10.0
    """For one request, from the first byte out to the last byte in."""
    verify_tls: bool = True
    paths: Mapping[str, str] = field(default_factory=dict)
    """`<module>.<resource>` to a path template; replaces the default and every candidate."""
    enums: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Field name to (upstream spelling to ours)."""
    page_limit: int = 1000
    """Pages of one list that are read at most; a page has up to 100 rows."""
    body_limit_bytes: int = 8 * MIB
    web_url_template: str = ""
    """Where a person opens an incident, with `{id}` or `{number}`; empty when there is no such page."""

    def __post_init__(self) -> None:
        """Refuse what could only fail later, or send the token where it doesn't belong."""
        url = URL(self.base_url)
        if url.scheme not in {"http", "https"} or not url.host:
            raise ValueError("etb.base_url must begin with http:// or https:// and name a host")
        if url.user or url.password or url.query_string or url.fragment:
            raise ValueError("etb.base_url must hold neither a user, nor a query, nor a fragment")
        if not self.token or not (self.token.isascii() and self.token.isprintable()) or " " in self.token:
            raise ValueError("etb.token must be printable ASCII without spaces")
        if not self.auth_scheme.isascii() or not self.auth_scheme.isalpha():
            raise ValueError("etb.auth_scheme must be one word, such as Token or Bearer")
        for name, value in (("timeout_s", self.timeout_s), ("page_limit", self.page_limit)):
            if value <= 0:
                raise ValueError(f"etb.{name} must be above zero")
        EtbPaths.with_overrides(self.paths)

    @property
    def spelling(self) -> Spelling:
        """The enum maps, ready for use."""
        return Spelling(self.enums)
