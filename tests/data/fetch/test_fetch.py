"""Images from a server on the loopback that misbehaves in every way that a test can think of."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import signal
import socket
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmark.data.fetch import addresses, client
from benchmark.data.fetch.album import Album, Got
from benchmark.data.fetch.fetch import Report, fetch_images, render, wanted_images
from benchmark.data.fetch.limits import Limits
from benchmark.data.imports.importer import import_files
from benchmark.data.imports.options import Options
from benchmark.data.release import find_category
from tests.data.fetch.server import Server, picture, serving
from tests.fixtures_release import read_records, write_release, write_table

LIMITS = Limits(interval=0.0, seconds=2.0, attempts=3, backoff=0.05, allow_private=True)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


def release(tmp_path: Path, urls: Sequence[str]) -> Path:
    """A release whose first product of train lists these images, and nothing else any."""
    root = write_release(tmp_path / "root", images=False)
    for split in ("train", "dev", "test"):
        for kind in ("prd", "rvw"):
            records = read_records(root, "amazon", "electronics", kind, split)
            for number, record in enumerate(records):
                first = (kind, split, number) == ("prd", "train", 0)
                record["img_url"] = list(urls) if first else []
            write_table(root, "amazon", "electronics", kind, split, records)
    return root


def fetch(root: Path, limits: Limits = LIMITS, **options: Any) -> Report:
    return fetch_images(find_category(root, "amazon", "electronics"), limits, **options)


def album(root: Path) -> Album:
    return Album(root / "amazon" / "electronics")


def states(root: Path, server: Server) -> dict[str, str]:
    """Path -> `got`, or why not."""
    return {
        url.removeprefix(server.url): "got" if isinstance(known, Got) else known.failed
        for url, known in album(root).known.items()
    }


def test_every_kind_of_answer_is_got_or_named(tmp_path: Path, server: Server) -> None:
    expected = {
        "/image/1": "got",
        "/to/image/2": "got",
        "/to/to/to/image/3": "got",
        "/image-as-page/": "got",
        "/zipped/": "got",
        "/flaky/2": "got",
        "/flaky/3": "http 503",
        "/nothing": "http 404",
        "/slow/8": "timed out",
        "/drip/": "timed out",
        "/broken/": "broken off",
        "/page-as-image/": "not an image",
        "/too-short/": "not an image",
        "/says-huge/": "too many bytes",
        "/endless/": "too many bytes",
        "/zeros/20": "too many bytes",
        "/odd-encoding/": "unknown encoding",
        "/bomb/60000": "too many pixels",
        "/bomb/7500": "too many pixels",
        "/bomb/5000": "not an image",
        "/loop/": "too many redirects",
        "/to-file/": "not an http address",
    }
    root = release(tmp_path, [server.url + path for path in expected])
    limits = replace(LIMITS, bytes=1 << 20, concurrent=64, per_host=64, seconds=3.0)
    report = fetch(root, limits)
    assert states(root, server) == expected
    side = report.coverage["splits"]["train"]["product"]
    assert (side["wanted"], side["got"], side["left"], side["items_with_images"]) == (len(expected), 6, 0, 1)
    assert side["failed"] == dict(sorted(_counted(why for why in expected.values() if why != "got").items()))
    assert server.hits["/slow/8"] == server.hits["/broken/"] == 3, "as many attempts as the limits allow"
    assert server.hits["/nothing"] == server.hits["/bomb/60000"] == 1, "nothing would change"
    row = [cell.strip() for cell in render([report]).splitlines()[2].split("|")[1:-1]]
    assert row == ["amazon/electronics", "train", "product", "12", "1", "1", "22", "6", "16", "0"]
    assert (
        json.loads((album(root).folder / "coverage.json").read_text())["splits"] == report.coverage["splits"]
    )


def _counted(reasons: Iterator[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for reason in reasons:
        counts[reason] = counts.get(reason, 0) + 1
    return counts


def test_files_are_what_was_served_under_names_of_their_content(tmp_path: Path, server: Server) -> None:
    evil = f"{server.url}/image/4?../../../../../../tmp/x.jpg%00"
    root = release(tmp_path, [evil, f"{server.url}/image/4", f"{server.url}/image/5"])
    fetch(root)
    files = sorted(path for path in (album(root).folder / "files").rglob("*") if path.is_file())
    names = sorted(hashlib.sha256(picture(number)).hexdigest() for number in (4, 5))
    assert [path.name for path in files] == [f"{name}.png" for name in names]
    for path in files:
        assert path.stem == hashlib.sha256(path.read_bytes()).hexdigest()
        assert path.parent.name == path.stem[:2]
    assert album(root).bytes == sum(path.stat().st_size for path in files)


def test_a_bomb_of_zeros_takes_no_memory(tmp_path: Path, server: Server) -> None:
    root = release(tmp_path, [f"{server.url}/zeros/150"])
    tracemalloc.start()
    try:
        fetch(root, replace(LIMITS, bytes=1 << 20, seconds=60.0))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 40 << 20
    assert states(root, server) == {"/zeros/150": "too many bytes"}


def test_what_is_there_is_not_fetched_again(tmp_path: Path, server: Server) -> None:
    paths = ["/image/1", "/image/2", "/nothing", "/flaky/4"]
    root = release(tmp_path, [server.url + path for path in paths])
    fetch(root)
    assert states(root, server) == {
        "/image/1": "got",
        "/image/2": "got",
        "/nothing": "http 404",
        "/flaky/4": "http 503",
    }
    before = server.hits.copy()
    report = fetch(root)
    assert states(root, server)["/flaky/4"] == "got", "what another time may mend is tried again"
    assert server.hits["/flaky/4"] == before["/flaky/4"] + 2
    assert all(server.hits[path] == before[path] for path in paths[:3])
    assert report.got == 3
    path = album(root).path(album(root).known[f"{server.url}/image/2"])
    path.unlink()
    fetch(root)
    assert path.read_bytes() == picture(2)
    path.write_bytes(b"")
    fetch(root)
    assert path.read_bytes() == picture(2)
    fetch(root, retry=True)
    assert (server.hits["/image/1"], server.hits["/nothing"]) == (1, 2)


def test_a_ledger_that_a_crash_cut_off_is_read_on(tmp_path: Path, server: Server) -> None:
    root = release(tmp_path, [f"{server.url}/image/{number}" for number in range(4)])
    fetch(root)
    ledger = album(root).folder / "fetched.jsonl"
    content = ledger.read_bytes()
    for cut in (len(content) - 1, len(content) - 20, 5):
        ledger.write_bytes(content[:cut])
        assert fetch(root).got == 4
        for line in ledger.read_bytes().splitlines():
            assert line in content or line in content[:cut].splitlines()
    ledger.write_bytes(
        b'{"url": "u", "file": "../../x.png", "bytes": 1, "width": 1, "height": 1, "format": "PNG"}\n'
    )
    assert album(root).known == {}


def test_a_host_gets_few_requests_at_a_time_and_not_too_fast(tmp_path: Path) -> None:
    with serving(patience=0.05) as server:
        root = release(tmp_path, [f"{server.url}/image/{number}" for number in range(12)])
        fetch(root, replace(LIMITS, per_host=3, interval=0.02))
        assert 2 <= server.most <= 3
        starts = sorted(time_ for times in server.times.values() for time_ in times)
        assert starts[-1] - starts[0] >= 11 * 0.02 * 0.9


def test_a_wait_that_is_asked_for_is_kept_by_all(tmp_path: Path, server: Server) -> None:
    root = release(tmp_path, [f"{server.url}/busy/1", *(f"{server.url}/image/{n}" for n in range(3))])
    fetch(root, replace(LIMITS, per_host=1))
    first, second = server.times["/busy/1"]
    assert second - first >= 1.0
    assert min(server.times["/image/0"]) - first >= 1.0, "the whole host waits"
    assert set(states(root, server).values()) == {"got"}


def test_a_host_that_asks_for_hours_is_left_for_another_time(tmp_path: Path, server: Server) -> None:
    urls = [f"{server.url}/always-busy/7200", *(f"{server.url}/image/{n}" for n in range(3))]
    root = release(tmp_path, urls)
    with serving("127.0.0.2") as other:
        more = release(tmp_path / "more", [*urls, f"{other.url}/image/1"])
        fetch(more, replace(LIMITS, per_host=1))
        assert album(more).has(f"{other.url}/image/1"), "other hosts are not held up"
    fetch(root, replace(LIMITS, per_host=1))
    assert set(states(root, server).values()) == {"asked to wait too long"}
    assert server.hits.total() == 2


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        ("3", 3, 3),
        ("0", 0, 0),
        ("-3", 0, 0),
        ("soon", 0, 0),
        (None, 0, 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
        ("Wed, 21 Oct 2099 07:28:00 GMT", 1e9, 9e9),
        ("9" * 400, 1e8, 1e9),
    ],
)
def test_retry_after(value: str | None, low: float, high: float) -> None:
    assert low <= client.asked_wait(value) <= high


def test_a_dead_host_is_given_up(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        root = release(tmp_path, [f"http://127.0.0.1:{port}/{n}.png" for n in range(30)])
        report = fetch(root, replace(LIMITS, lost=8, per_host=2, backoff=0.0))
    failed = report.coverage["splits"]["train"]["product"]["failed"]
    assert failed.keys() == {"no connection", "host given up"}
    assert failed["host given up"] > 20


def test_the_machine_itself_is_refused_unless_allowed(tmp_path: Path, server: Server) -> None:
    root = release(tmp_path, [f"{server.url}/image/1", f"http://localhost:{server.port}/image/2"])
    fetch(root, replace(LIMITS, allow_private=False))
    assert {known.failed for known in album(root).known.values() if not isinstance(known, Got)} == {
        "private address"
    }
    assert server.hits.total() == 0
    assert fetch(root).got == 2, "what was private is asked for once it is allowed"


@pytest.fixture
def half_public(monkeypatch: pytest.MonkeyPatch) -> None:
    """127.0.0.1 counts as the internet, 127.0.0.2 as somebody's own network."""
    monkeypatch.setattr(addresses, "is_public", lambda text: text == "127.0.0.1")


def test_a_redirect_does_not_lead_inside(tmp_path: Path, server: Server, half_public: None) -> None:
    with serving("127.0.0.2") as inside:
        server.elsewhere = inside.url
        root = release(tmp_path, [f"{server.url}/away/image/1", f"{server.url}/image/2"])
        fetch(root, replace(LIMITS, allow_private=False))
        assert states(root, server) == {"/away/image/1": "private address", "/image/2": "got"}
        assert inside.hits.total() == 0
        fetch(root)
        assert inside.hits == {"/image/1": 1}


class Names:
    """A name server: answers by turns, and counts."""

    def __init__(self, **answers: list[str]) -> None:
        self.answers = {name.replace("_", "."): list(found) for name, found in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, loop: object, host: str, port: int, **_: object) -> list[Any]:
        self.asked.append(host)
        known = self.answers.get(host, [host])
        address = known.pop(0) if len(known) > 1 else known[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]


def test_a_name_that_changes_its_mind_gains_nothing(
    tmp_path: Path, server: Server, half_public: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Names(shop_test=["127.0.0.1", "127.0.0.2"])
    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", lambda loop, *a, **k: names(loop, *a, **k))
    with serving("127.0.0.2") as inside:
        root = release(tmp_path, [f"http://shop.test:{server.port}/image/{n}" for n in range(3)])
        assert fetch(root, replace(LIMITS, allow_private=False)).got == 3
        assert inside.hits.total() == 0
    assert names.asked.count("shop.test") == 1, "resolved once, and that is what is connected to"
    assert server.hosts == {f"shop.test:{server.port}": 3}
    monkeypatch.setattr(client, "_FRESH", -1.0)  # every request resolves anew
    again = release(tmp_path / "b", [f"http://shop.test:{server.port}/image/9"])
    fetch(again, replace(LIMITS, allow_private=False))
    assert [known.failed for known in album(again).known.values()] == ["private address"]


def test_certificates_are_of_the_name_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = pytest.importorskip("tests.data.fetch.certificates")
    server_side, client_side = tls.contexts(tmp_path, "shop.test")
    names = Names(shop_test=["127.0.0.1"], other_test=["127.0.0.1"])
    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", lambda loop, *a, **k: names(loop, *a, **k))
    with serving(tls=server_side) as server:
        urls = [f"https://{name}.test:{server.port}/image/1" for name in ("shop", "other")]
        root = release(tmp_path, urls)
        fetch(root, replace(LIMITS, attempts=1), verify=client_side)
        assert album(root).has(urls[0])
        assert album(root).known[urls[1]].failed == "no connection"
        assert server.hosts == {f"shop.test:{server.port}": 1}


def test_a_full_allotment_stops_and_a_larger_one_goes_on(tmp_path: Path, server: Server) -> None:
    root = release(tmp_path, [f"{server.url}/image/{number}" for number in range(10)])
    report = fetch(root, replace(LIMITS, disk=3 * len(picture()), per_host=1))
    side = report.coverage["splits"]["train"]["product"]
    assert side["failed"] == {"disk limit": 10 - side["got"]}
    assert 3 <= side["got"] <= 4
    assert fetch(root).got == 10


def test_an_interrupt_leaves_all_valid_and_goes_on(tmp_path: Path) -> None:
    with serving(patience=0.05) as server:
        root = release(tmp_path, [f"{server.url}/image/{number}" for number in range(40)])
        with pytest.raises(KeyboardInterrupt):
            fetch(root, replace(LIMITS, per_host=2), progress=interrupt)
        some = json.loads((album(root).folder / "coverage.json").read_text())["splits"]["train"]["product"]
        assert 5 <= some["got"] < 40
        assert some["left"] == 40 - some["got"]
        assert not list((album(root).folder).rglob(".*")), "nothing half written stays"
        served = {path for path in server.hits if album(root).has(server.url + path)}
        report = fetch(root, replace(LIMITS, per_host=16))
        assert report.got == 40
        assert all(server.hits[path] == 1 for path in served)


def interrupt(done: int, total: int, what: str) -> None:
    """Ctrl-C after a few images."""
    if done == 5:
        signal.raise_signal(signal.SIGINT)


def test_a_full_disk_is_the_machines_error(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Album, "add", full)
    root = release(tmp_path, [f"{server.url}/image/{number}" for number in range(5)])
    with pytest.raises(OSError, match="No space left") as error:
        fetch(root)
    assert error.value.errno == errno.ENOSPC


def test_images_that_an_import_lists_are_wanted(tmp_path: Path) -> None:
    """Of a plain table, with commas within addresses and between them, by way of the import's own SQL."""
    rows = [
        f'p{p},r{p}-{r},text {p} {r} is here,{1 + 15 * r},"//cdn/{p}/{r}._SX9,1_.jpg, http://y/{p}{r}.png"'
        for p in range(5)
        for r in range(2)
    ]
    source = tmp_path / "r.csv"
    source.write_text("\n".join(["product_id,review_id,content,votes,images", *rows]))
    import_files([str(source)], tmp_path / "root", Options(name="myshop", threads=1))
    wanted = wanted_images(find_category(tmp_path / "root", "myshop", "all"))
    reviews = {item: urls for side in wanted if side.side == "review" for item, urls in side.urls.items()}
    assert reviews == {
        f"r{p}-{r}": [f"https://cdn/{p}/{r}._SX9,1_.jpg", f"http://y/{p}{r}.png"]
        for p in range(5)
        for r in range(2)
    }


def test_progress_counts_to_the_end(tmp_path: Path, server: Server) -> None:
    said: list[tuple[int, int, str]] = []
    root = release(tmp_path, [f"{server.url}/image/{number}" for number in range(5)])
    fetch(root, progress=lambda *what: said.append(what))
    assert [done for done, _, _ in said] == [1, 2, 3, 4, 5]
    assert said[0][1:] == (5, "images of amazon/electronics")


def test_slow_hosts_do_not_hold_up_others(tmp_path: Path, server: Server) -> None:
    with serving("127.0.0.2") as quick:
        urls = [f"{server.url}/slow/{0.3 + n / 1000}" for n in range(8)] + [
            f"{quick.url}/image/{n}" for n in range(8)
        ]
        root = release(tmp_path, urls)
        fetch(root, replace(LIMITS, per_host=1, concurrent=2))
        last = [max(times[0] for times in one.times.values()) for one in (quick, server)]
        assert last[0] < last[1]
        assert server.hits.total() == quick.hits.total() == 8
