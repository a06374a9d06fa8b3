"""A house for every test, on a database of its own."""

from tests.harness.kit import fast_folder, house, logged, make_house

__all__ = ["fast_folder", "house", "logged", "make_house"]
