"""Who belongs to a partner, and nobody else."""

import pytest

from etb_appservice.domain.ids import UserId
from etb_appservice.domain.partners import Partner

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
