"""Where a webhook may go: no address that only this network's own machines should reach.

The rule is applied to addresses, not to names or notations: whatever spelling a URL has, what
counts is the address that is connected to.
"""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_URL = 2000

# A name, an IPv4 address or an IPv6 address, and a port: nothing encoded, which programs would read
# in several ways.
_AUTHORITY = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]*)?")

# Where the public addresses lie: of IPv6, nothing else is given out (RFC 4291, section 2.4).
_UNICAST: Mapping[int, Network] = {
    4: ipaddress.ip_network("0.0.0.0/0"),
    6: ipaddress.ip_network("2000::/3"),
}

# What `is_global` lets pass although it is reserved, or leads into IPv4 by another door.
_RESERVED: Sequence[Network] = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",  # this network (RFC 791)
        "100.64.0.0/10",  # carriers' own addresses (RFC 6598)
        "192.0.0.0/24",  # protocol assignments (RFC 6890)
        "192.88.99.0/24",  # 6to4 relays (RFC 7526)
        "224.0.0.0/4",  # multicast (RFC 5771)
        "240.0.0.0/4",  # reserved, and broadcast (RFC 1112)
        "2001::/23",  # protocol assignments, Teredo among them (RFC 2928)
        "2002::/16",  # 6to4 (RFC 3056)
        "3fff::/20",  # documentation (RFC 9637)
    )
)


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""The well-known prefix behind which a NAT64 gateway reaches IPv4 (RFC 6052, section 2.1)."""


def is_public(address: Address) -> bool:
    """Return whether `address` belongs to the public internet.

    An IPv4 address that stands in an IPv6 address, mapped or behind NAT64, decides for it.
    """
    if isinstance(address, ipaddress.IPv6Address):
        address = _embedded(address) or ipaddress.IPv6Address(
            int(address)
        )  # the latter without a scope
    if address not in _UNICAST[address.version]:
        return False
    return address.is_global and not any(
        address in network for network in _RESERVED if network.version == address.version
    )


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that is reached by `address`, or None."""
    if ipaddress.IPv6Address(int(address)) in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped


@dataclass(frozen=True, slots=True)
class Policy:
    """Which targets are allowed beside the public ones: networks, and host names (lower case)."""

    networks: Sequence[Network] = ()
    hosts: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, entries: Sequence[str]) -> "Policy":
        """Return the policy that `entries`, CIDRs, addresses or host names, describe."""
        networks: list[Network] = []
        hosts: list[str] = []
        for entry in entries:
            try:
                networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                hosts.append(entry.lower().rstrip("."))
        return cls(tuple(networks), frozenset(hosts))

    def allows(self, host: str, address: Address) -> bool:
        """Tell whether a connection to `address`, which `host` was resolved to, may be made."""
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return (
            is_public(address)
            or host.lower().rstrip(".") in self.hosts
            or any(
                address in network
                for network in self.networks
                if network.version == address.version
            )
        )


def fault_of_exception(entry: str) -> str | None:
    """Return what is wrong with `entry` as an exception to the policy, or None."""
    try:
        ipaddress.ip_network(entry, strict=False)
    except ValueError:
        if "/" in entry or ":" in entry or not entry.isascii():
            return "must be CIDRs, addresses or host names, with commas between them"
    return None


def fault_of_url(url: str) -> str | None:
    """Return what is wrong with `url` as a webhook's target, as far as its text tells, or None."""
    if len(url) > MAX_URL or not re.fullmatch(r"[!-\[\]-~]*", url):
        return f"must be a URL of at most {MAX_URL} visible ASCII characters"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "must be a URL such as https://example.com/hook"
    if parts.username is not None or parts.password is not None:
        return "must not hold credentials: receivers verify the signature instead"
    if parts.scheme not in ("http", "https") or not _AUTHORITY.fullmatch(parts.netloc) or port == 0:
        return "must be an http or https URL such as https://example.com/hook"
    if parts.fragment:
        return "must not have a fragment"
    return None
