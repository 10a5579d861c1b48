"""Images fetched a second from a server on the loopback, and images turned to features a second of processor time.

    python -m tests.speed.images [--images 2000]

Not collected by pytest. The server is a process of its own; images are photographs of 600 x 450 pixels (JPEG, about
60 KB), each decoded to its end when it is fetched. The extractor is examples/lite0.py with its real weights.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import resource
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from PIL import Image

from benchmark.data.features.extract import make_features
from benchmark.data.features.registry import choose
from benchmark.data.fetch.fetch import fetch_images
from benchmark.data.fetch.limits import Limits
from benchmark.data.release import find_category
from tests.fixtures_release import read_records, write_release, write_table

ROOT = Path(__file__).resolve().parents[2]


def photograph(number: int) -> bytes:
    """Smooth, as photographs are, with some noise, and no two alike."""
    random = np.random.default_rng(number)
    coarse = Image.fromarray(random.integers(0, 256, (30, 40, 3), dtype=np.uint8)).resize((600, 450), 3)
    pixels = np.asarray(coarse, np.int16) + random.integers(-12, 13, (450, 600, 3))
    out = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=85)
    return out.getvalue()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stock: dict[int, bytes] = {}

    def do_GET(self) -> None:
        number = int(self.path.rpartition("/")[2])
        # a few photographs, made different by their last bytes, which decoders skip
        content = self.stock[number % len(self.stock)] + number.to_bytes(4, "big")
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


def serve(port: multiprocessing.Queue[int]) -> None:
    _Handler.stock = {number: photograph(number) for number in range(20)}
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    port.put(server.server_address[1])
    server.serve_forever()


def processor_seconds() -> float:
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def list_images(root: Path, port: int, images: int) -> int:
    """Shares the images out among the training products, whose number comes back; nothing else lists any."""
    for split in ("train", "dev", "test"):
        for kind in ("prd", "rvw"):
            records = read_records(root, "amazon", "electronics", kind, split)
            for row, record in enumerate(records):
                mine = range(row, images, len(records)) if (split, kind) == ("train", "prd") else ()
                record["img_url"] = [f"http://127.0.0.1:{port}/{number}" for number in mine]
            write_table(root, "amazon", "electronics", kind, split, records)
    return len(read_records(root, "amazon", "electronics", "prd", "train"))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--features", type=int, default=200)
    count = parser.parse_args()
    ports: multiprocessing.Queue[int] = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve, args=(ports,), daemon=True)
    server.start()
    port = ports.get()
    with tempfile.TemporaryDirectory() as scratch:
        root = write_release(Path(scratch), images=False)
        folder = find_category(root, "amazon", "electronics")
        few = -(-count.features // list_images(root, port, count.images))
        limits = Limits(interval=0.0, per_host=16, allow_private=True)
        wall, used = time.perf_counter(), processor_seconds()
        report = fetch_images(folder, limits)
        wall, used = time.perf_counter() - wall, processor_seconds() - used
        print(
            f"fetched {report.got:,} of {report.wanted:,}, {report.coverage['bytes'] / 1e6:.0f} MB: "
            f"{report.got / wall:.0f} a second, {report.got / used:.0f} a processor second"
        )
        choice = choose(f"{ROOT / 'examples' / 'lite0.py'}:Lite0")
        wall, used = time.perf_counter(), processor_seconds()
        made = make_features(folder, choice, per_item=few)
        wall, used = time.perf_counter() - wall, processor_seconds() - used
        images = made.items["train"]["product"]["images"]
        print(
            f"features of {images} images: {images / wall:.1f} a second, {images / used:.1f} a processor second"
        )
    server.terminate()


if __name__ == "__main__":
    main()
