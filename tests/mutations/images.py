"""Faults of fetching images and of turning them to features."""

from __future__ import annotations

from tests.mutations.fault import Fault

ADDRESSES, CLIENT = "benchmark/data/fetch/addresses.py", "benchmark/data/fetch/client.py"
FETCH, EXTRACT = "benchmark/data/fetch/fetch.py", "benchmark/data/features/extract.py"
FETCH_TEST, URLS_TEST = "tests/data/fetch/test_fetch.py", "tests/data/fetch/test_urls.py"
EXTRACT_TEST, HF_TEST = "tests/data/features/test_extract.py", "tests/data/features/test_hf.py"
ALIGN_TEST = "tests/data/features/test_roi_align.py"

IMAGES = (
    Fault(
        "an IPv4 address within an IPv6 one is not looked at",
        ADDRESSES,
        "        if within is not None:\n            return is_public(str(within))\n",
        "",
        URLS_TEST,
    ),
    Fault(
        "a redirect's address is taken as checked",
        CLIENT,
        "await resolve(target.host, port, self.limits.allow_private)",
        "await resolve(target.host, port, self.limits.allow_private or len(self.hosts) > 1)",
        FETCH_TEST,
    ),
    Fault(
        "the name is connected to, not the address that was checked",
        CLIENT,
        "            target.copy_with(host=host.address),",
        "            target,",
        FETCH_TEST,
    ),
    Fault(
        "a certificate of any name will do",
        CLIENT,
        'extensions={"sni_hostname": target.raw_host.decode("ascii").strip("[]")},',
        'extensions={"sni_hostname": "shop.test"},',
        FETCH_TEST,
    ),
    Fault(
        "packed zeros are unpacked without end",
        CLIENT,
        "made = self._inner.decompress(chunk, room + 1)",
        "made = self._inner.decompress(chunk)",
        FETCH_TEST,
    ),
    Fault(
        "Retry-After holds back nobody",
        CLIENT,
        "host.not_before = max(host.not_before, time.monotonic() + refused.wait)",
        "pass",
        FETCH_TEST,
    ),
    Fault(
        "a picture's pixels are counted after it is decoded",
        "benchmark/data/pictures.py",
        "        if width * height > most_pixels:\n",
        "        picture.load()\n        if width * height > most_pixels:\n",
        FETCH_TEST,
    ),
    Fault(
        "what failed for good is asked for again",
        FETCH,
        "return not (retry or allowed_now or may_change(known.failed))",
        "return False",
        FETCH_TEST,
    ),
    Fault(
        "RoIAlign is half a cell off",
        "benchmark/data/features/roi_align.py",
        "(2 * x_VR / width - 1)",
        "((2 * x_VR + 1) / width - 1)",
        ALIGN_TEST,
        fast=True,
    ),
    Fault(
        "the worst boxes instead of the best",
        "benchmark/data/features/hf_detr.py",
        "score_Q.argsort(descending=True, stable=True)",
        "score_Q.argsort(descending=False, stable=True)",
        HF_TEST,
    ),
    Fault(
        "the class token is taken for the first patch",
        "benchmark/data/features/hf_grid.py",
        "states[:, leading:]",
        "states[:, : height * width]",
        HF_TEST,
    ),
    Fault(
        "what made the features is not in the fingerprint",
        "benchmark/data/pack.py",
        '            self._hash("extractor", descriptor.canonical(record))\n',
        "            pass\n",
        EXTRACT_TEST,
    ),
    Fault(
        "an item whose images changed keeps its features",
        EXTRACT,
        "if made is None or made.files != task.files:",
        "if made is None:",
        EXTRACT_TEST,
    ),
    Fault(
        "features of another origin are written into",
        EXTRACT,
        "        if not replace:\n",
        "        if False:\n",
        EXTRACT_TEST,
    ),
)
