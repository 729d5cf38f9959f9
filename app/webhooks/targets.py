"""Allowed targets of webhooks: public addresses, and the exceptions of the operator.

The policy protects the services of the private network. It checks the address that a connection is
made to. The host name and the notation of the URL do not matter.
"""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_URL_LENGTH = 2000

# A host name, an IPv4 address or an IPv6 address, and a port. Percent-encoding is not allowed,
# because programs decode it differently.
_AUTHORITY = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]*)?")

# Networks with public addresses. Of IPv6, only 2000::/3 is assigned (RFC 4291, section 2.4).
_UNICAST: Mapping[int, Network] = {
    4: ipaddress.ip_network("0.0.0.0/0"),
    6: ipaddress.ip_network("2000::/3"),
}

# Networks that `is_global` accepts although they are reserved or lead to IPv4 addresses.
_RESERVED: Sequence[Network] = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",  # "this network" (RFC 791)
        "100.64.0.0/10",  # addresses of carriers (RFC 6598)
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
"""The well-known prefix for IPv4 addresses behind a NAT64 gateway (RFC 6052, section 2.1)."""


def is_public(address: Address) -> bool:
    """Return whether `address` belongs to the public internet.

    An IPv6 address that contains an IPv4 address, mapped or behind NAT64, is public if that is.
    """
    if isinstance(address, ipaddress.IPv6Address):
        address = _embedded(address) or _without_zone(address)
    if address not in _UNICAST[address.version]:
        return False
    return address.is_global and not any(
        address in network for network in _RESERVED if network.version == address.version
    )


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that a connection to `address` reaches, or None."""
    if _without_zone(address) in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped


def _without_zone(address: ipaddress.IPv6Address) -> ipaddress.IPv6Address:
    return ipaddress.IPv6Address(int(address))


@dataclass(frozen=True, slots=True)
class TargetPolicy:
    """The targets that are allowed in addition to public addresses.

    Attributes:
        networks: Addresses that are allowed under any host name.
        hosts: Host names, in lower case, that are allowed with any address.
    """

    networks: Sequence[Network] = ()
    hosts: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, entries: Sequence[str]) -> "TargetPolicy":
        """Return the policy with the exceptions `entries`: CIDRs, addresses and host names."""
        networks: list[Network] = []
        hosts: list[str] = []
        for entry in entries:
            try:
                networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                hosts.append(entry.lower().rstrip("."))
        return cls(tuple(networks), frozenset(hosts))

    def allows(self, host: str, address: Address) -> bool:
        """Return whether a webhook may connect to `address`, to which `host` was resolved."""
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
    """Return the fault of `entry` as an exception to the policy, or None."""
    try:
        ipaddress.ip_network(entry, strict=False)
    except ValueError:
        if "/" in entry or ":" in entry or not entry.isascii():
            return "must be CIDRs, addresses or host names, with commas between them"
    return None


def fault_of_url(url: str) -> str | None:
    """Return the fault of the text of a webhook's URL, or None. The host is not resolved."""
    if len(url) > MAX_URL_LENGTH or not re.fullmatch(r"[!-\[\]-~]*", url):
        return f"must be a URL of at most {MAX_URL_LENGTH} visible ASCII characters"
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
