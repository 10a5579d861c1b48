"""Workers over ssh, where there is an sshd: one of our own, with keys of its own, on a high port of the loopback."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.test_dask import BENCH, RUNS, files_of

pytest.importorskip("distributed")
pytest.importorskip("asyncssh")

PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
SSHD = shutil.which("sshd", path=PATH)
pytestmark = [
    pytest.mark.skipif(SSHD is None, reason="there is no sshd (openssh-server)"),
    pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="there is no ssh-keygen"),
]
SEPARATION = Path("/run/sshd")
"""Where sshd, as root, locks up the part of itself that talks to strangers."""


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        port: int = asked.getsockname()[1]
        return port


@pytest.fixture
def config(tmp_path: Path) -> Iterator[str]:
    """A `--cluster-config` that reaches the sshd of this test."""
    home, port = tmp_path / "home", free_port()
    home.mkdir(mode=0o700)
    for name in ("host", "user"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(home / name)]
        subprocess.run(words, check=True)
    shutil.copy(home / "user.pub", home / "authorized_keys")
    host_key = (home / "host.pub").read_text()
    (home / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}")
    lines = [
        f"Port {port}",
        "ListenAddress 127.0.0.1",
        f"HostKey {home / 'host'}",
        f"AuthorizedKeysFile {home / 'authorized_keys'}",
        f"PidFile {home / 'pid'}",
        *("PasswordAuthentication no", "KbdInteractiveAuthentication no", "UsePAM no", "StrictModes no"),
        "PermitRootLogin prohibit-password",
    ]
    (home / "sshd_config").write_text("\n".join(lines) + "\n")
    made = os.geteuid() == 0 and not SEPARATION.exists()
    if made:
        SEPARATION.mkdir(mode=0o755)
    with (home / "log").open("w") as log:
        server = subprocess.Popen([str(SSHD), "-D", "-e", "-f", str(home / "sshd_config")], stderr=log)
    try:
        _wait(server, port, home / "log")
        toml = tmp_path / "cluster.toml"
        toml.write_text(
            'interface = "lo"\n[ssh]\n'
            f'port = {port}\nusername = "{getpass.getuser()}"\nclient_keys = ["{home / "user"}"]\n'
            f'known_hosts = "{home / "known_hosts"}"\n'
        )
        yield str(toml)
    finally:
        server.terminate()
        server.wait()
        if made:
            with contextlib.suppress(OSError):
                SEPARATION.rmdir()


def _wait(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if server.poll() is not None:
            pytest.skip(f"sshd does not start here: {log.read_text().strip()[-300:]}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    pytest.skip("sshd does not answer here")


def run_over_ssh(words: list[str], config: str, home: Path) -> subprocess.CompletedProcess[str]:
    words = [*BENCH, *RUNS, *words, "--cluster", "ssh:127.0.0.1", "--cluster-config", config]
    # a home without keys, settings or known hosts: only what the file says counts
    environment = os.environ | {"HOME": str(home)}
    return subprocess.run(words, capture_output=True, text=True, timeout=240, env=environment)


def test_runs_over_ssh_are_those_of_this_machine(
    config: str, where: list[str], corpus: Path, cache: Path, tmp_path: Path
) -> None:
    there = tmp_path / "there"
    short = ["--seeds", "0,1", "--set", "epochs=2"]
    options = ["--data", str(corpus), "--cache", str(cache), "--results", str(there)]
    done = run_over_ssh([*short, *options], config, tmp_path)
    assert done.returncode == 0, done.stderr
    subprocess.run([*BENCH, *RUNS, *short, *where], check=True, capture_output=True)
    assert len(files_of(there)) == 6
    assert files_of(there) == files_of(tmp_path / "results")
    assert not list(there.glob(".claims/*"))


def test_a_host_that_lets_nobody_in_is_named(config: str, where: list[str], tmp_path: Path) -> None:
    stranger = tmp_path / "stranger"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(stranger)], check=True)
    file = Path(config)
    file.write_text(file.read_text().replace(str(tmp_path / "home" / "user"), str(stranger)))
    done = run_over_ssh(["--seeds", "0", *where], config, tmp_path)
    assert done.returncode == 5, done.stderr
    assert "Traceback" not in done.stderr
    assert "ssh:127.0.0.1" in done.stderr
    assert "Permission denied" in done.stderr


def test_a_host_that_does_not_answer_is_named(where: list[str], tmp_path: Path) -> None:
    toml = tmp_path / "cluster.toml"
    toml.write_text(f'interface = "lo"\n[ssh]\nport = {free_port()}\n')
    done = run_over_ssh(["--seeds", "0", *where], str(toml), tmp_path)
    assert done.returncode == 5, done.stderr
    assert "Traceback" not in done.stderr
    assert "ssh:127.0.0.1" in done.stderr
