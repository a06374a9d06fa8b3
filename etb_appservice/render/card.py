"""The incident card: the pinned message that shows how an incident stands.

Plain text alone says everything. Everything on it is foreign text, so nothing goes in unescaped.
"""

from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

from etb_appservice.domain.incident import Card, Deadline, Responder
from etb_appservice.render.clean import one_line
from etb_appservice.render.markdown import escaped

_MOST_ROWS = 30
_STRONG = 2
_OBSTACLES = {
    "unmapped": "not invited: no Matrix id is configured",
    "clearance": "not invited: clearance too low",
    "inactive": "not invited: the ETB account is not active",
    "server": "not invited: the homeserver is not one of ours",
    "unknown": "not invited: unknown to ETB",
}
_MARKS = {"EMERGENCY": "🟣", "CRITICAL": "🔴", "HIGH": "🟠", "MEDIUM": "🟡", "LOW": "🟢", "INFO": "🔵"}
"""A colour for the eye; the word stands beside it."""


def card(shown: Card) -> tuple[str, str]:
    """(plain body, HTML) of a card; equal cards give equal texts."""
    number, title = one_line(shown.number, 60), one_line(shown.title)
    head = f"{number}: {title}" if title else number
    if shown.is_drill:
        head = f"DRILL {head}"
    mark = _MARKS.get(shown.severity.upper(), "⚪")
    # The severity, the state, and what sort of incident it is; words ETB didn't give are left out.
    facts = [one_line(word, 60) for word in (shown.severity, shown.status, shown.priority, shown.category) if word]
    level = shown.classification.name.replace("_", " ")
    people = [(_who(person), _who_html(person)) for person in shown.responders[:_MOST_ROWS]]
    deadlines = [(line, escaped(line)) for line in map(_deadline, shown.deadlines[:_MOST_ROWS])]
    left_over = (len(shown.responders) - len(people), len(shown.deadlines) - len(deadlines))

    body = [head, f"{mark} {' · '.join(facts)}", f"Classification: {level}"]
    html = [
        f"<h4>{mark} {escaped(head)}</h4>",
        f"<p>{_facts(facts)}<br>Classification: <strong>{escaped(level)}</strong></p>",
    ]
    for name, rows, more in (("People", people, left_over[0]), ("Deadlines", deadlines, left_over[1])):
        if rows:
            rest = [(f"and {more} more", f"and {more} more")] if more else []
            body += ["", f"{name}:", *(f"- {plain}" for plain, _ in rows + rest)]
            html += [
                f"<p><strong>{name}</strong></p>",
                "<ul>",
                *(f"<li>{rich}</li>" for _, rich in rows + rest),
                "</ul>",
            ]
    if _is_web(shown.url):
        body += ["", f"Open in ETB: {one_line(shown.url, 2000)}"]
        html.append(f'<p><a href="{escaped(shown.url)}">Open in ETB</a></p>')
    return "\n".join(body), "".join(html)


def _facts(words: list[str]) -> str:
    """Severity and state stand out from the rest."""
    return " · ".join(f"<strong>{escaped(w)}</strong>" if i < _STRONG else escaped(w) for i, w in enumerate(words))


def _roles(person: Responder) -> str:
    words = ", ".join(one_line(role, 60) for role in person.roles)
    obstacle = _OBSTACLES.get(person.obstacle, f"not invited: {person.obstacle}") if person.obstacle else ""
    return "".join((f", {words}" if words else "", f" ({obstacle})" if obstacle else ""))


def _who(person: Responder) -> str:
    known = f" {person.user_id}" if person.user_id else ""
    return one_line(f"{one_line(person.username, 200)}{known}{_roles(person)}", 600)


def _who_html(person: Responder) -> str:
    name = escaped(one_line(person.username, 200))
    if person.user_id:
        # Clients show such a link as the person's pill (Matrix specification, "matrix.to navigation").
        name = f'<a href="https://matrix.to/#/{quote(one_line(person.user_id, 300), safe="@:")}">{name}</a>'
    return f"{name}{escaped(_roles(person))}"


def _deadline(deadline: Deadline) -> str:
    name = one_line(deadline.name, 100) or one_line(deadline.kind, 100).replace("_", " ").lower() or "Deadline"
    status = f" ({one_line(deadline.status, 60).lower()})" if deadline.status else ""
    return f"{name}: {when(deadline.target_ms)}{status}"


def when(at_ms: int) -> str:
    """A moment as people in any zone can read it.

    >>> when(0)
    '1970-01-01 00:00 UTC'
    """
    try:
        return f"{datetime.fromtimestamp(at_ms / 1000, tz=UTC):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError, OSError):
        return "at an unknown time"


def _is_web(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)
