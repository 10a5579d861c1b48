"""A server on the loopback that behaves, or does not, by the path that is asked for."""

from __future__ import annotations

import gzip
import io
import ssl
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image


def picture(number: int = 0, size: tuple[int, int] = (40, 30), format_: str = "PNG") -> bytes:
    """An image of random pixels, different for each number."""
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format_)
    return out.getvalue()


def png_bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header promises `width` x `height` pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


class Server(ThreadingHTTPServer):
    """Counts what it is asked for (`hits`), and how many requests it answered at a time (`most`)."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, address: str = "127.0.0.1", patience: float = 0.0) -> None:
        super().__init__((address, 0), _Handler)
        self.patience = patience
        self.hits: Counter[str] = Counter()
        self.times: dict[str, list[float]] = {}
        self.hosts: Counter[str] = Counter()
        self.active = self.most = 0
        self.lock = threading.Lock()
        self.elsewhere = ""

    @property
    def url(self) -> str:
        host, port = self.server_address[:2]
        return f"http://{host}:{port}"

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""


@contextmanager
def serving(
    address: str = "127.0.0.1", patience: float = 0.0, tls: ssl.SSLContext | None = None
) -> Iterator[Server]:
    server = Server(address, patience)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = self.server
        with server.lock:
            server.hits[self.path] += 1
            server.times.setdefault(self.path, []).append(time.monotonic())
            server.hosts[self.headers["Host"]] += 1
            server.active += 1
            server.most = max(server.most, server.active)
        try:
            time.sleep(server.patience)
            name, _, argument = self.path.strip("/").partition("/")
            getattr(self, f"_{name.replace('-', '_')}", self._missing)(argument)
        finally:
            with server.lock:
                server.active -= 1

    def answer(self, content: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"content_length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def _image(self, number: str) -> None:
        self.answer(picture(int(number)), content_type="image/png")

    def _missing(self, _: str) -> None:
        self.answer(b"no", 404)

    def _slow(self, seconds: str) -> None:
        time.sleep(float(seconds))
        self.answer(picture())

    def _drip(self, _: str) -> None:
        content = picture()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        for byte in content:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            time.sleep(0.05)

    def _broken(self, _: str) -> None:
        self.answer(picture()[:100], content_length="5000")
        self.close_connection = True

    def _page_as_image(self, _: str) -> None:
        self.answer(b"<html>not found, but politely</html>", content_type="image/jpeg")

    def _image_as_page(self, _: str) -> None:
        self.answer(picture(7), content_type="text/html")

    def _too_short(self, _: str) -> None:
        self.answer(picture(), content_length="50")
        self.close_connection = True

    def _says_huge(self, _: str) -> None:
        self.answer(b"x", content_length=str(1 << 40))
        self.close_connection = True

    def _endless(self, _: str) -> None:
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        for _step in range(2000):
            self.wfile.write(bytes(1 << 16))

    def _bomb(self, size: str) -> None:
        self.answer(png_bomb(int(size), int(size)), content_type="image/png")

    def _zeros(self, megabytes: str) -> None:
        pack = zlib.compressobj(wbits=31)
        packed = [pack.compress(bytes(1 << 20)) for _ in range(int(megabytes))]
        self.answer(b"".join([*packed, pack.flush()]), content_encoding="gzip")

    def _zipped(self, _: str) -> None:
        self.answer(gzip.compress(picture(8)), content_encoding="gzip")

    def _odd_encoding(self, _: str) -> None:
        self.answer(picture(), content_encoding="br")

    def _to(self, path: str) -> None:
        self.answer(b"", 302, location=f"/{path}")

    def _loop(self, _: str) -> None:
        self.answer(b"", 302, location=self.path)

    def _away(self, path: str) -> None:
        self.answer(b"", 301, location=f"{self.server.elsewhere}/{path}")

    def _to_file(self, _: str) -> None:
        self.answer(b"", 302, location="file:///etc/passwd")

    def _busy(self, wait: str) -> None:
        """429 the first time, with `Retry-After`."""
        if self.server.hits[self.path] > 1:
            self.answer(picture(9))
        else:
            self.answer(b"", 429, retry_after=wait)

    def _always_busy(self, wait: str) -> None:
        self.answer(b"", 429, retry_after=wait)

    def _flaky(self, times: str) -> None:
        """503 so many times."""
        ill = self.server.hits[self.path] <= int(times)
        self.answer(b"" if ill else picture(10), 503 if ill else 200)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""
