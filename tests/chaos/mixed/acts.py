"""What people of a mixed run do alike from whichever side: their words, files, what they change of their own."""

import random
from collections.abc import Awaitable, Callable

from tests.chaos.mixed.book import Book, Operation, Said

EMOJI = ("\N{THUMBS UP SIGN}", "\N{WHITE HEAVY CHECK MARK}", "\N{ROCKET}")
WORDS = ("queue", "disk", "mail", "index", "cache", "node", "is", "was", "slow", "full", "again", "fine")


def sentence(chance: random.Random, number: int) -> str:
    """Plain words, the same on both sides, with the number of the operation."""
    return f"op{number} {' '.join(chance.choices(WORDS, k=chance.randint(1, 8)))}"


def content_of(chance: random.Random) -> bytes:
    """A small file."""
    return b"log of " + chance.randbytes(chance.randint(10, 2000))


async def edit(
    book: Book,
    chance: random.Random,
    operation: Operation,
    is_own: Callable[[Said], bool],
    change: Callable[[Said, str], Awaitable[bool]],
) -> bool:
    """Give a message of one's own another text; False where there is none. `change`: was it acknowledged?"""
    about = book.pick(chance, operation.room, lambda one: is_own(one) and not one.sha256)
    if about is None:
        return False
    text = f"{sentence(chance, about.number)} edit{operation.number}"
    with book.does(operation, "edit", about):
        if await change(about, text):
            about.text = text
    return True


async def take_away(
    book: Book,
    chance: random.Random,
    operation: Operation,
    is_own: Callable[[Said], bool],
    what: str,
    remove: Callable[[Said], Awaitable[bool]],
) -> bool:
    """Take a message of one's own away; False where there is none. `remove`: was it acknowledged?"""
    about = book.pick(chance, operation.room, is_own)
    if about is None:
        return False
    about.is_leaving = True
    with book.does(operation, what, about):
        about.is_gone = await remove(about)
    return True
