"""Do the pinned versions install, from wheels alone, on each Python and each operating system?

    make resolve                                  # everything
    python scripts/resolve.py --python 3.14 --platform windows

Resolves torch and all of `.[dev,docs]` under constraints.txt for each pair, and says which fail and why. Nothing is
installed. The resolver is uv: it evaluates `; python_version < "3.12"` and `; sys_platform == "win32"` for the
machine that is asked about, where `pip install --dry-run --python-version` evaluates them for the one it runs on,
and it reads a wheel's metadata alone, where pip downloads the wheel (torch's for Linux with CUDA: gigabytes) from
an index that does not serve metadata by itself.

Exit code 1 if a pair fails that is not listed in `KNOWN`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS = {
    "linux": "x86_64-manylinux_2_28",
    "linux-arm": "aarch64-manylinux_2_28",
    "macos": "aarch64-apple-darwin",
    "macos-intel": "x86_64-apple-darwin",
    "windows": "x86_64-pc-windows-msvc",
}
EXTRAS = ("test", "dev", "docs")
MACOS = "14.0"
"""The oldest macOS that torch 2.13 has a wheel for."""
KNOWN = {"macos-intel": "torch has had no wheels for Intel Macs since 2.3"}
"""Platforms that cannot work, and why; reported, but no failure of ours."""
FROM_SOURCE = ("jsonpath-rw",)
"""Packages that publish no wheel, pure Python all: what mlcroissant needs, for the tests alone."""


@dataclass(frozen=True)
class Outcome:
    python: str
    platform: str
    packages: tuple[str, ...]
    """`name==version` of all that would be installed; empty if it cannot be."""
    problem: str

    @property
    def expected(self) -> bool:
        return not self.problem or self.platform in KNOWN


def requirements() -> list[str]:
    """What `pip install torch '.[dev,docs]'` asks for, without the project itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = list(project["dependencies"])
    for extra in EXTRAS:
        lines += project["optional-dependencies"][extra]
    return [line for line in lines if not line.startswith(f"{project['name']}[")]


def resolve(python: str, platform: str, wanted: list[str]) -> Outcome:
    """Ask uv what would be installed there."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requirements.in"
        file.write_text("\n".join(wanted) + "\n", encoding="utf-8")
        command = [
            *(sys.executable, "-m", "uv", "pip", "compile", str(file)),
            *("--constraints", str(ROOT / "constraints.txt"), "--only-binary", ":all:"),
            *(f"--no-binary={name}" for name in FROM_SOURCE),
            *("--python-version", python, "--python-platform", PLATFORMS[platform]),
            *("--no-python-downloads", "--no-header", "--no-annotate", "--quiet"),
        ]
        environment = {**os.environ, "MACOSX_DEPLOYMENT_TARGET": MACOS}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        return Outcome(python, platform, (), " ".join(done.stderr.split()))
    return Outcome(python, platform, tuple(line for line in done.stdout.splitlines() if "==" in line), "")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--python", action="append", choices=PYTHONS, help="only this one (repeatable)")
    parser.add_argument("--platform", action="append", choices=PLATFORMS, help="only this one (repeatable)")
    chosen = parser.parse_args(arguments)
    wanted = requirements()
    failed = False
    for platform in chosen.platform or PLATFORMS:
        for python in chosen.python or PYTHONS:
            outcome = resolve(python, platform, wanted)
            failed |= not outcome.expected
            if not outcome.problem:
                print(
                    f"{platform} {python}: {len(outcome.packages)} packages, wheels but for {', '.join(FROM_SOURCE)}",
                    flush=True,
                )
            elif outcome.expected:
                print(f"{platform} {python}: known not to work: {KNOWN[platform]}", flush=True)
            else:
                print(f"{platform} {python}: FAILS: {outcome.problem}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
