from dataclasses import replace

from etb_appservice.domain.rotation import Rotated, accepted, is_unfinished, rotated

HOUR = 3600 * 1000


def once(given: str = "first", new: str = "second", *, now_ms: int = 0, before: Rotated | None = None) -> Rotated:
    return rotated("hs_token", [given], before, new, now_ms=now_ms, until_ms=now_ms + HOUR)


def test_without_a_rotation_the_settings_count() -> None:
    assert accepted(["a", "b"], None, 0) == ("a", "b")


def test_the_former_one_counts_until_its_overlap_ends_and_never_again() -> None:
    rotation = once()
    for given in ("first", "second"):
        assert accepted([given], rotation, HOUR - 1) == ("second", "first")
        assert accepted([given], rotation, HOUR) == ("second",)
    ended = rotation.ended(HOUR)
    assert ended is not None
    assert "first" not in [one.value for one in ended.former]
    for given in ("first", "second"):
        assert accepted([given], ended, 0) == ("second",)
    assert ended.ended(HOUR) is None


def test_a_second_rotation_keeps_the_first_ones_end() -> None:
    rotation = once("second", "third", now_ms=HOUR // 2, before=once())
    assert accepted(["third"], rotation, HOUR - 1) == ("third", "second", "first")
    assert accepted(["first"], rotation, HOUR) == ("third", "second")
    assert accepted(["first"], rotation, 2 * HOUR) == ("third",)


def test_what_was_set_by_hand_since_counts_alone() -> None:
    assert accepted(["other"], once(), 0) == ("other",)
    assert not is_unfinished(["other"], once())


def test_all_secrets_of_a_webhook_are_replaced_by_the_one() -> None:
    rotation = rotated("webhook_secret", ["a", "b"], None, "c", now_ms=0, until_ms=HOUR)
    assert accepted(["a", "b"], rotation, 0) == ("c", "a", "b")
    assert accepted(["c"], rotation, HOUR) == ("c",)
    assert accepted(["c", "by hand"], rotation, HOUR) == ("c", "by hand")


def test_settings_with_a_former_value_are_unfinished() -> None:
    rotation = once()
    assert is_unfinished(["first"], rotation)
    assert is_unfinished(["first"], replace(rotation, former=rotation.former))
    assert not is_unfinished(["second"], rotation)
    assert not is_unfinished(["first"], None)


def test_no_value_shows() -> None:
    shown = repr(once())
    assert "first" not in shown
    assert "second" not in shown
