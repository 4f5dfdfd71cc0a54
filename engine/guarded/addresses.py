"""Which IP addresses lie outside: everything that is not known to be public is inside.

The blocks are IANA's special-purpose registries
(https://www.iana.org/assignments/iana-ipv4-special-registry, https://www.iana.org/assignments/iana-ipv6-special-registry).
Python's own `is_global` takes some forms that carry an inside IPv4 address (NAT64, 6to4) for global, and what it says
has changed between releases, so it is only asked besides.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_INSIDE_4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this host
            "10.0.0.0/8",
            "100.64.0.0/10",  # behind a provider's NAT
            "127.0.0.0/8",
            "169.254.0.0/16",  # link-local, and the clouds' metadata
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",  # multicast, reserved, broadcast
        ),
    )
)
_PUBLIC_6 = IPv6Network("2000::/3")
"""All that is handed out as global unicast: loopback, mapped and NAT64 forms, unique local, link-local and multicast
lie elsewhere."""
_INSIDE_6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # Teredo, ORCHID, benchmarks
            "2001:db8::/32",
            "2002::/16",  # 6to4: an IPv4 address is in it
            "3fff::/20",
        ),
    )
)


def is_outside(address: str) -> bool:
    """Whether an IP address, in the form a resolver gives it, is surely a public one."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    if not found.is_global:
        return False
    if isinstance(found, IPv4Address):
        return not any(found in block for block in _INSIDE_4)
    assert isinstance(found, IPv6Address)
    return found.scope_id is None and found in _PUBLIC_6 and not any(found in block for block in _INSIDE_6)
