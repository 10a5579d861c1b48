"""One address -> the bytes of its image, politely and within limits. Torch-free; needs httpx.

Requests go to the network address that was checked, under the host's name (`Host`, and the name that its
certificate must bear). Redirects are followed here, each as a new address; cookies, proxies of the environment and
authentication are not used.
"""

from __future__ import annotations

import asyncio
import email.utils
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmark import __version__
from benchmark.data.fetch import reasons
from benchmark.data.fetch.addresses import resolve
from benchmark.data.fetch.limits import Limits
from benchmark.data.fetch.reasons import RefusedError
from benchmark.data.fetch.urls import checked

if TYPE_CHECKING:
    import ssl

    import httpx

HEADERS = {
    "User-Agent": f"mrhp-bench/{__version__} (images of a review data set)",
    "Accept": "image/*,*/*;q=0.5",
    "Accept-Encoding": "identity",
}
_REDIRECTS = (301, 302, 303, 307, 308)
_FRESH = 60.0
"""Seconds that a resolved name is used for."""


@dataclass
class Host:
    """What is known of one host (scheme, name, port), and the connections to it."""

    slots: asyncio.Semaphore
    transport: httpx.AsyncHTTPTransport
    not_before: float = 0.0
    """When the next request may start (`time.monotonic`)."""
    lost: int = 0
    """Connections that failed, one after another."""
    closed: str = ""
    """Why nothing more is asked of it; empty while it may be asked."""
    address: str = ""
    resolved: float = float("-inf")
    resolving: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass
class Client:
    """Fetches from any number of hosts. To be closed."""

    limits: Limits
    verify: ssl.SSLContext
    slots: asyncio.Semaphore = field(init=False)
    hosts: dict[tuple[str, str, int], Host] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.slots = asyncio.Semaphore(self.limits.concurrent)

    async def close(self) -> None:
        for host in self.hosts.values():
            await host.transport.aclose()

    async def get(self, url: str) -> bytes:
        """The content, after as many attempts and redirects as the limits allow; RefusedError if it is not to be
        had."""
        for attempt in range(self.limits.attempts):
            try:
                return await self._follow(url)
            except RefusedError as refused:
                last = attempt == self.limits.attempts - 1
                if last or not refused.again or refused.reason in (reasons.WAIT, reasons.GIVEN_UP):
                    raise
                if not refused.wait:  # else the host's own clock holds the next request back
                    await asyncio.sleep(self.limits.backoff * 2**attempt)
        raise AssertionError("no attempt")

    async def _follow(self, url: str) -> bytes:
        target = checked(url)
        for _ in range(self.limits.redirects + 1):
            host = self._host(target)
            answer = await self._ask(host, target)
            if isinstance(answer, bytes):
                return answer
            target = checked(answer)
        raise RefusedError(reasons.REDIRECTS)

    def _host(self, target: httpx.URL) -> Host:
        import httpx

        port = target.port or (443 if target.scheme == "https" else 80)
        key = (target.scheme, target.host, port)
        if key not in self.hosts:
            # connections of its own: those to another host at the same address bear another name
            transport = httpx.AsyncHTTPTransport(verify=self.verify, trust_env=False)
            self.hosts[key] = Host(asyncio.Semaphore(self.limits.per_host), transport)
        return self.hosts[key]

    async def _ask(self, host: Host, target: httpx.URL) -> bytes | str:
        """The content, or where it is said to be."""
        try:
            async with self._turn(host):
                answer = await self._request(host, target)
        except RefusedError as refused:
            host.lost = host.lost + 1 if refused.reason in reasons.ABOUT_THE_HOST else 0
            if host.lost >= self.limits.lost:
                host.closed = host.closed or reasons.GIVEN_UP
            if refused.wait > self.limits.longest_wait:
                host.closed = reasons.WAIT
                raise RefusedError(reasons.WAIT) from None
            host.not_before = max(host.not_before, time.monotonic() + refused.wait)
            raise
        host.lost = 0
        return answer

    @asynccontextmanager
    async def _turn(self, host: Host) -> AsyncIterator[None]:
        """Holds a place among the requests to the host and among all, when the host may be asked again."""
        async with host.slots:
            while True:
                if host.closed:
                    raise RefusedError(host.closed)
                wait = host.not_before - time.monotonic()
                if wait <= 0:
                    break
                await asyncio.sleep(wait)
            host.not_before = time.monotonic() + self.limits.interval
            async with self.slots:
                yield

    async def _request(self, host: Host, target: httpx.URL) -> bytes | str:
        import httpx

        try:
            async with asyncio.timeout(self.limits.seconds):
                response = await host.transport.handle_async_request(await self._prepared(host, target))
                try:
                    return await self._read(response, target)
                finally:
                    await response.aclose()
        except (TimeoutError, httpx.TimeoutException):
            raise RefusedError(reasons.TIMED_OUT) from None
        except httpx.ConnectError:
            raise RefusedError(reasons.NO_CONNECTION) from None
        except (httpx.TransportError, httpx.StreamError):
            raise RefusedError(reasons.BROKEN_OFF) from None

    async def _prepared(self, host: Host, target: httpx.URL) -> httpx.Request:
        """The request, addressed to where the name was found to be."""
        import httpx

        async with host.resolving:
            if time.monotonic() - host.resolved > _FRESH:
                port = target.port or (443 if target.scheme == "https" else 80)
                host.address = await resolve(target.host, port, self.limits.allow_private)
                host.resolved = time.monotonic()
        return httpx.Request(
            "GET",
            target.copy_with(host=host.address),
            headers={**HEADERS, "Host": target.netloc.decode("ascii")},
            extensions={"sni_hostname": target.raw_host.decode("ascii").strip("[]")},
        )

    async def _read(self, response: httpx.Response, target: httpx.URL) -> bytes | str:
        if response.status_code in _REDIRECTS and "location" in response.headers:
            return _joined(target, response.headers["location"])
        if response.status_code != 200:
            raise RefusedError(
                f"http {response.status_code}", asked_wait(response.headers.get("retry-after"))
            )
        declared = response.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > self.limits.bytes:
            raise RefusedError(reasons.TOO_LARGE)
        content = bytearray()
        unpack = Unpacker(response.headers.get("content-encoding", ""))
        async for chunk in response.aiter_raw():
            content += unpack(chunk, self.limits.bytes - len(content))
        unpack.end()
        return bytes(content)


def _joined(target: httpx.URL, location: str) -> str:
    import httpx

    try:
        return str(target.join(location))
    except (httpx.InvalidURL, ValueError, UnicodeError):
        raise RefusedError(reasons.BAD_ADDRESS) from None


def asked_wait(value: str | None) -> float:
    """Seconds of a `Retry-After` (a number, or a date: RFC 9110, 10.2.3); 0 without one that can be read."""
    if not value:
        return 0.0
    if value.strip().isdecimal():
        return float(value.strip()[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


class Unpacker:
    """Undoes a content encoding that nobody asked for, never beyond a number of bytes."""

    def __init__(self, encoding: str) -> None:
        name = encoding.strip().lower()
        if name not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise RefusedError(reasons.ENCODING)
        self._inner = None if name in ("", "identity") else zlib.decompressobj(wbits=47)

    def __call__(self, chunk: bytes, room: int) -> bytes:
        """What the chunk holds; RefusedError if that is more than `room` bytes, or damaged."""
        if self._inner is None:
            made = chunk
        else:
            try:
                made = self._inner.decompress(chunk, room + 1)
            except zlib.error:
                raise RefusedError(reasons.NOT_AN_IMAGE) from None
        if len(made) > room:
            raise RefusedError(reasons.TOO_LARGE)
        return made

    def end(self) -> None:
        """RefusedError if something is missing."""
        if self._inner is not None and not self._inner.eof:
            raise RefusedError(reasons.BROKEN_OFF)
