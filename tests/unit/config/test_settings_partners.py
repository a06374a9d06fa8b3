"""Partners in the settings: a homeserver is one organisation's, and nobody is two people."""

import json
from pathlib import Path
from typing import Any

import pytest

from etb_appservice.config import load
from etb_appservice.config.load import ConfigError
from etb_appservice.config.policy import policy
from etb_appservice.domain.classification import Classification
from etb_appservice.domain.partners import Partner
from tests.unit.config.test_load import MINIMAL, write

CERT: dict[str, Any] = {"servers": ["cert.net"], "people": ["@ann:cert.net"]}


def read(folder: Path, **sections: Any) -> Any:
    lines = [f"{name}: {json.dumps(section)}\n" for name, section in sections.items()]
    return load(write(folder, MINIMAL + "".join(lines)), {}).settings


def test_partners_reach_the_policy_as_they_are_written(tmp_path: Path) -> None:
    row = {
        "servers": ["cert.net", "b.net"],
        "patterns": ["duty-*"],
        "ceiling": "restricted",
        "roles": ["responder"],
    }
    settings = read(tmp_path, partners={"cert": row, "vendor": {"servers": ["vendor.net"]}})
    assert policy(settings).partners == (
        Partner(
            name="cert",
            servers=frozenset({"cert.net", "b.net"}),
            patterns=("duty-*",),
            ceiling=Classification.RESTRICTED,
            roles=frozenset({"responder"}),
        ),
        Partner(name="vendor", servers=frozenset({"vendor.net"})),
    )


def test_two_partners_may_share_a_homeserver_when_both_say_who_is_theirs(tmp_path: Path) -> None:
    other = {"servers": ["cert.net"], "patterns": ["b-*"]}
    assert len(policy(read(tmp_path, partners={"cert": CERT, "other": other})).partners) == 2


@pytest.mark.parametrize(
    ("sections", "complaint"),
    [
        ({"partners": {"cert": {"servers": []}}}, "servers"),
        ({"partners": {"Cert B": CERT}}, "partners"),
        ({"partners": {"cert": {**CERT, "people": ["@ann:else.net"]}}}, "@ann:else.net is on none"),
        ({"partners": {"cert": {**CERT, "patterns": ["a b"]}}}, "patterns"),
        ({"partners": {"cert": {**CERT, "ceiling": "HIGH"}}}, "ceiling"),
        ({"partners": {"cert": {**CERT, "roles": ["boss"]}}}, "roles"),
        ({"partners": {"cert": {"servers": ["example.org"]}}}, "example.org is one of ours"),
        ({"partners": {"cert": CERT}, "rooms": {"servers": ["cert.net"]}}, "cert.net is one of ours"),
        ({"partners": {"cert": CERT, "other": {"servers": ["cert.net"]}}}, "cert.net is cert's too"),
        ({"partners": {"other": {"servers": ["cert.net"]}, "cert": CERT}}, "cert.net is other's too"),
        ({"partners": {"cert": CERT}, "people": {"entries": {"ann": "@a:cert.net"}}}, "ann is on a partner's"),
        (
            {"partners": {"cert": CERT}, "people": {"template": "@{username}:cert.net"}},
            "people.template makes ids",
        ),
    ],
)
def test_what_would_make_it_unclear_who_somebody_is_is_refused(
    tmp_path: Path, sections: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        read(tmp_path, **sections)
