"""How far fetching goes: in time, requests, bytes, pixels. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Every bound of one fetch."""

    concurrent: int = 32
    """Requests at a time."""
    per_host: int = 4
    """Requests at a time to one host."""
    interval: float = 0.05
    """Seconds between the starts of two requests to one host, at least."""
    seconds: float = 30.0
    """For one request, from the connection to the last byte."""
    attempts: int = 4
    """Of one image, where another attempt may do better."""
    backoff: float = 1.0
    """Seconds before the second attempt; twice as many before each further one."""
    longest_wait: float = 120.0
    """Seconds of a `Retry-After` that are waited; a host that asks for more is left for another time."""
    lost: int = 20
    """Connections that fail one after another until a host is given up."""
    redirects: int = 5
    bytes: int = 20 << 20
    """Of one image, also after it is unpacked."""
    pixels: int = 50_000_000
    """Of one image."""
    disk: int = 50 << 30
    """Bytes of all images of a category."""
    allow_private: bool = False
    """Whether addresses of the machine itself and of its own network may be connected to."""
