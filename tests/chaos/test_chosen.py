"""Which seams are died at: a seed decides, and repeats."""

from tests.chaos.doomed import chosen
from tests.harness.seed import seed

SEAMS = [f"{when} step {number}#1" for number in range(50) for when in ("before", "after")]
ALWAYS = ("step 7#1",)


def test_a_seed_chooses_the_same_again_and_another_seed_others() -> None:
    first = chosen(SEAMS, ALWAYS, most=20, by="a")
    assert chosen(SEAMS, ALWAYS, most=20, by="a") == first
    assert chosen(SEAMS, ALWAYS, most=20, by="b") != first
    assert len(first) == 20
    assert {"before step 7#1", "after step 7#1"} <= set(first)
    assert first == [seam for seam in SEAMS if seam in first], "in the order in which they are passed"


def test_a_seam_that_was_passed_in_one_run_only_changes_no_other_choice() -> None:
    first = chosen(SEAMS, ALWAYS, most=20, by="a")
    again = chosen(["before something else#1", *SEAMS], ALWAYS, most=20, by="a")
    assert len(set(first) - set(again)) <= 1


def test_with_a_seed_for_each_commit_every_seam_has_its_turn() -> None:
    met = {seam for number in range(100) for seam in chosen(SEAMS, ALWAYS, most=20, by=str(number))}
    assert met == set(SEAMS)


def test_there_is_a_seed() -> None:
    assert seed()
