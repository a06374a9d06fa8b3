"""Who belongs to a partner, and nobody else."""

import pytest

from etb_appservice.domain.ids import UserId
from etb_appservice.domain.partners import Partner, acl_hosts, server_acl

SERVERS = frozenset({"cert.example"})


@pytest.mark.parametrize(
    ("pattern", "localpart", "fits"),
    [
        ("*", "anybody", True),
        ("cert-*", "cert-ann", True),
        ("cert-*", "xcert-ann", False),
        ("*-duty", "ann-duty", True),
        ("*-duty", "ann-duty2", False),
        ("a*b*c", "a-b-c", True),
        ("a*b*c", "acb", False),
        ("a**c", "abc", True),
        ("ann", "ann", True),
        ("ann", "anna", False),
        ("a.n", "axn", False),
        ("ab*ba", "aba", False),
    ],
)
def test_a_pattern_means_only_its_stars(pattern: str, localpart: str, fits: bool) -> None:
    partner = Partner(name="B", servers=SERVERS, patterns=(pattern,))
    assert partner.includes(UserId(f"@{localpart}:cert.example")) is fits


def test_another_homeserver_is_never_a_partners() -> None:
    partner = Partner(name="B", servers=SERVERS)
    assert partner.includes(UserId("@ann:cert.example"))
    assert not partner.includes(UserId("@ann:cert.example:8448"))
    assert not partner.includes(UserId("@ann:xcert.example"))
    assert not partner.includes(UserId("ann:cert.example"))


def test_who_is_named_keeps_the_others_of_the_homeserver_out() -> None:
    partner = Partner(name="B", servers=SERVERS, people=frozenset({UserId("@ann:cert.example")}))
    assert partner.includes(UserId("@ann:cert.example"))
    assert not partner.includes(UserId("@bob:cert.example"))


@pytest.mark.parametrize(
    ("own", "servers", "hosts", "addresses"),
    [
        ("x.org", [], ("x.org",), False),
        ("x.org", ["b.org:8448", "b.org"], ("b.org", "x.org"), False),
        ("127.0.0.2:81", ["b.org"], ("127.0.0.2", "127.0.0.2:81", "b.org"), True),
        ("x.org", ["[::1]:8448"], ("[::1]", "x.org"), True),
        ("x.org", ["[::1]"], ("[::1]", "x.org"), True),
    ],
)
def test_an_acl_names_hosts_and_admits_addresses_only_where_one_is_named(
    own: str, servers: list[str], hosts: tuple[str, ...], *, addresses: bool
) -> None:
    assert acl_hosts(own, servers) == hosts
    assert server_acl(hosts) == {"allow": list(hosts), "allow_ip_literals": addresses, "deny": []}
