"""Which addresses a cell lists, which of them may be asked for, and where they may lead."""

from __future__ import annotations

import asyncio

import pytest

from benchmark.data.fetch.addresses import is_public, resolve
from benchmark.data.fetch.reasons import PRIVATE, UNKNOWN_HOST, RefusedError
from benchmark.data.fetch.urls import checked, urls_of

AMAZON = "https://images.example/I/41x._AC_UL115_SR115,115_.jpg"


@pytest.mark.parametrize(
    ("cell", "urls"),
    [
        (None, []),
        (float("nan"), []),
        ("", []),
        ("[]", []),
        ([], []),
        (["http://x/1.jpg", " http://x/2.jpg "], ["http://x/1.jpg", "http://x/2.jpg"]),
        (["http://x/1.jpg", "http://x/1.jpg", "", None, 3], ["http://x/1.jpg"]),
        ("['http://x/1.jpg', 'http://x/2.jpg']", ["http://x/1.jpg", "http://x/2.jpg"]),
        ('["http://x/1.jpg"]', ["http://x/1.jpg"]),
        ("[unreadable", ["[unreadable"]),
        (AMAZON, [AMAZON]),
        (f"{AMAZON}, {AMAZON}?2 | //x/3.jpg", [AMAZON, f"{AMAZON}?2", "https://x/3.jpg"]),
        (["//cdn.example/a.jpg"], ["https://cdn.example/a.jpg"]),
        ([{"thumb": "http://x/t.jpg", "large": "http://x/l.jpg", "hi_res": None}], ["http://x/l.jpg"]),
        ([{"small_image_url": "http://x/s", "medium_image_url": "http://x/m"}], ["http://x/m"]),
        ("[" * 100_000, ["[" * 100_000]),
    ],
)
def test_addresses_of_a_cell(cell: object, urls: list[str]) -> None:
    assert urls_of(cell) == urls


@pytest.mark.parametrize(
    "url",
    [
        *(
            "file:///etc/passwd",
            "ftp://x/y",
            "javascript:alert(1)",
            "data:image/png;base64,AAAA",
            "gopher://x",
        ),
        *(
            "http://",
            "https:///x.png",
            "",
            "x.png",
            "http://user:word@x/y.png",
            "http://x:99999/",
            "http://[::1",
            "http://xn--80",
            "http://x/\ud800",
        ),
        *("http://x/" + "a" * 5000, "http://x\n.example/"),
    ],
)
def test_only_plain_web_addresses_are_asked(url: str) -> None:
    with pytest.raises(RefusedError, match="not an http address"):
        checked(url)


def test_an_address_is_kept_as_it_is_but_for_its_fragment() -> None:
    assert (
        str(checked("https://x.example:8443/a%20b/c.jpg?d=e#f")) == "https://x.example:8443/a%20b/c.jpg?d=e"
    )


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
        *("100.64.0.1", "224.0.0.1", "255.255.255.255", "198.18.0.1", "192.0.2.1", "240.0.0.1"),
        *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00::1", "ff02::1", "fec0::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:a00:1::"),
    ],
)
def test_addresses_that_are_not_the_internets(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_addresses_of_the_internet(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "0177.0.0.1", "::1"])
def test_the_machine_itself_is_found_under_all_its_names(host: str) -> None:
    with pytest.raises(RefusedError) as refused:
        asyncio.run(resolve(host, 80, allow_private=False))
    assert refused.value.reason in (PRIVATE, UNKNOWN_HOST)
    if host in ("127.0.0.1", "2130706433", "0x7f.1"):
        assert asyncio.run(resolve(host, 80, allow_private=True)) == "127.0.0.1"
