import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from etb_appservice.domain.audit import GENESIS, AuditEntry, first_break

TEXT = st.text(st.characters(exclude_categories=[]), max_size=20)
DETAILS = st.dictionaries(TEXT, TEXT | st.integers() | st.booleans() | st.none(), max_size=4)


def chain(count: int = 5) -> tuple[list[AuditEntry], list[bytes]]:
    entries: list[AuditEntry] = []
    previous = GENESIS
    for seq in range(1, count + 1):
        entry = AuditEntry(
            seq=seq,
            at_ms=1000 + seq,
            tag="command.run",
            actor="@a:x",
            subject=f"s{seq}",
            details={"status": "SUCCESS", "number": seq, "flag": True, "none": None},
            hashes={"arguments": "ab" * 32},
            previous=previous,
        )
        previous = entry.digest()
        entries.append(entry)
    return entries, [entry.digest() for entry in entries]


def test_an_untouched_chain_holds() -> None:
    assert first_break(*chain()) is None
    assert first_break([], []) is None


def test_the_canonical_bytes_never_change() -> None:
    [entry], [digest] = chain(1)
    assert entry.canonical() == (
        b'{"actor":"@a:x","at":1001,"details":{"flag":true,"none":null,"number":1,"status":"SUCCESS"},'
        b'"hashes":{"arguments":"' + b"ab" * 32 + b'"},"previous":"' + b"00" * 32 + b'",'
        b'"seq":1,"subject":"s1","tag":"command.run","v":1}'
    )
    assert digest.hex() == "7eecb1018f87da0f4e6106d2ff415d2db3528717788b80c6b5df120ce0a19656"


def test_every_field_of_every_entry_is_guarded() -> None:
    entries, digests = chain()
    changes = {
        "seq": 99,
        "at_ms": 0,
        "tag": "command.refused",
        "actor": "@b:x",
        "subject": "s",
        "details": {},
        "hashes": {},
        "previous": bytes(31) + b"\x01",
    }
    for position in range(len(entries)):
        for name, value in changes.items():
            tampered = [*entries]
            tampered[position] = replace(entries[position], **{name: value})  # type: ignore[arg-type]
            assert first_break(tampered, digests) == position + 1, name


def test_an_entry_that_was_rewritten_with_its_digest_breaks_the_next_one() -> None:
    entries, digests = chain()
    entries[1] = replace(entries[1], subject="another")
    digests[1] = entries[1].digest()
    assert first_break(entries, digests) == 3


def test_a_removed_or_swapped_entry_breaks_the_chain_where_it_was() -> None:
    entries, digests = chain()
    assert first_break(entries[:2] + entries[3:], digests[:2] + digests[3:]) == 3
    assert first_break(entries[1:], digests[1:]) == 1
    swapped = [entries[0], entries[2], entries[1], *entries[3:]]
    assert first_break(swapped, [entry.digest() for entry in swapped]) == 2


@given(DETAILS, TEXT, TEXT)
def test_canonical_bytes_are_ascii_json_that_says_the_same_whatever_is_in_it(
    details: dict[str, str | int | bool | None], actor: str, subject: str
) -> None:
    entry = AuditEntry(
        seq=1, at_ms=2, tag="t", actor=actor, subject=subject, details=details, hashes={}, previous=GENESIS
    )
    read = json.loads(entry.canonical().decode("ascii"))
    assert (read["actor"], read["subject"]) == (
        json.loads(json.dumps(actor)),
        json.loads(json.dumps(subject)),
    )
    shuffled = replace(entry, details=dict(reversed(details.items())))
    assert shuffled.canonical() == entry.canonical()
