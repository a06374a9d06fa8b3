"""Whose address a request is from, where proxies stand in front: as the operator's own say, and nobody else.

Source: X-Forwarded-For as proxies write it: each adds whom it was asked by at the right.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network
_MOST = 2000
"""Characters that are looked at, from the right."""


def caller_address(peer: str, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """The right-most address that is no trusted proxy's. `forwarded`: the headers, as they came.

    >>> from ipaddress import ip_network
    >>> ours = [ip_network("10.0.0.0/8")]
    >>> caller_address("10.0.0.1", ["6.6.6.6, 192.0.2.7", "10.0.0.2"], ours)
    '192.0.2.7'
    >>> caller_address("192.0.2.7", ["6.6.6.6"], ours), caller_address("10.0.0.1", ["unknown"], ours)
    ('192.0.2.7', '10.0.0.1')
    """
    found = peer
    said = ",".join(forwarded)
    named = said[-_MOST:].split(",")[1 if len(said) > _MOST else 0 :]  # the first one may be cut
    while _is_trusted(found, trusted) and named:
        before = _address(named.pop())
        if before is None:  # nothing to the left of it can be believed
            break
        found = str(before)
    return found


def _is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    found = _address(address)
    return found is not None and any(found in network for network in trusted)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """With or without a port; an IPv4 address in IPv6's clothes is one of IPv4."""
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found
