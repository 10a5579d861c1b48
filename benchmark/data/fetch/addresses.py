"""Which network addresses may be connected to: the public internet's, unless told otherwise. Torch-free.

A name is resolved once, the answer is checked, and what was checked is connected to: a name server that answers
"public" first and "127.0.0.1" afterwards (rebinding) gains nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket

from benchmark.data.fetch.reasons import PRIVATE, UNKNOWN_HOST, RefusedError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


async def resolve(host: str, port: int, allow_private: bool) -> str:
    """An address of the host, as text: the first that may be connected to. RefusedError if it has none, or only
    such as are not public (loopback, private, link-local, multicast, reserved)."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise RefusedError(UNKNOWN_HOST) from None
    for _, _, _, _, (text, *_) in found:
        if allow_private or is_public(str(text)):
            return str(text)
    raise RefusedError(PRIVATE if found else UNKNOWN_HOST)


def is_public(text: str) -> bool:
    """Whether an address is one of the public internet; also of an IPv4 address within an IPv6 one."""
    try:
        address: Address = ipaddress.ip_address(text)
    except ValueError:  # with a zone (fe80::1%eth0): of the local link
        return False
    if isinstance(address, ipaddress.IPv6Address):
        within = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            within = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        if within is not None:
            return is_public(str(within))
        if address.teredo is not None or address.is_site_local:
            return False
    return address.is_global and not address.is_multicast
