"""What the section `break_glass` may say."""

import pytest

from etb_appservice.config.sections.rooms import BreakGlassSettings


def test_it_is_off_unless_both_roles_have_holders() -> None:
    assert BreakGlassSettings().first == ()
    assert BreakGlassSettings(first=("operator",), second=("compliance", "@ciso:x.org")).most_hours == 8
    with pytest.raises(ValueError, match="must both have holders"):
        BreakGlassSettings(first=("operator",))


def test_one_person_alone_could_never_agree() -> None:
    with pytest.raises(ValueError, match="the same one person"):
        BreakGlassSettings(first=("@a:x.org",), second=("@a:x.org",))
    assert BreakGlassSettings(first=("operator",), second=("operator",))


def test_a_holder_is_an_id_or_a_word() -> None:
    for word in ("operators", "@nobody", "Incident Manager"):
        with pytest.raises(ValueError, match="must be a Matrix user id, `operator`, or one of responder"):
            BreakGlassSettings(first=(word,), second=("operator",))
