"""Where the gate may connect to: an address that is checked once and then used, so that no name can change in between.

Private, loopback, link-local, multicast and reserved addresses are refused unless the operator allows their network; so
are their disguises (IPv4 mapped or translated into IPv6).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from stacksona_adapters.errors import ConfigurationError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
_SPECIAL = "0.0.0.0/8 100.64.0.0/10 192.0.0.0/24 198.18.0.0/15 240.0.0.0/4 2001::/23 2002::/16"
_REFUSED = tuple(ipaddress.ip_network(network) for network in _SPECIAL.split())


class AddressRefused(Exception):
    """The gate does not connect to this address."""


@dataclass(frozen=True)
class Target:
    """An endpoint whose address has been checked.

    Attributes:
        url: The URL with the address in place of the name.
        host: The `Host` header.
        name: The server's name, for TLS.
    """

    url: str
    host: str
    name: str


def parse_networks(values: Sequence[str]) -> tuple[Network, ...]:
    """Networks that the operator allows.

    Args:
        values: In CIDR form, such as `10.0.0.0/8`.

    Raises:
        ConfigurationError: If one is not a network.
    """
    try:
        return tuple(ipaddress.ip_network(value) for value in values)
    except ValueError as error:
        raise ConfigurationError(f"{error}; give allowed networks like 10.0.0.0/8.") from error


def permitted(address: Address, allowed: Sequence[Network]) -> bool:
    """Whether the gate may connect to an address."""
    if any(address.version == network.version and address in network for network in allowed):
        return True
    inner = _inner(address)
    if inner is not None:
        return permitted(inner, allowed)
    if any(address.version == network.version and address in network for network in _REFUSED):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _inner(address: Address) -> Address | None:
    """The IPv4 address inside of an IPv6 one."""
    if not isinstance(address, ipaddress.IPv6Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if any(address in network for network in _NAT64):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


async def resolve(url: str, allowed: Sequence[Network]) -> Target:
    """Look a URL's host up and check every address that it has.

    Args:
        url: An http or https URL.
        allowed: Networks that the operator allows.

    Raises:
        AddressRefused: If the URL is not usable or any of its addresses is refused.
        OSError: If the name cannot be looked up.
    """
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as error:
        raise AddressRefused(f"the URL cannot be used: {error}") from error
    if parts.scheme not in ("http", "https") or not host or parts.username is not None:
        raise AddressRefused("the URL must be http or https, with a host and without a user")
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [ipaddress.ip_address(str(info[4][0]).partition("%")[0]) for info in found]
    for address in addresses:
        if not permitted(address, allowed):
            raise AddressRefused(f"{host} is at {address}, where this gate does not connect to")
    chosen = f"[{addresses[0]}]" if addresses[0].version == 6 else str(addresses[0])
    pinned = parts._replace(netloc=f"{chosen}:{port}", fragment="").geturl()
    return Target(pinned, parts.netloc, host)
