"""No process of ours calls anybody: commands run under a hook that ends them if they try."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, SMALL, Patch, start

HOOK = """
import os, sys
def watch(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect"):
        place = arguments[-1] if event == "socket.connect" else arguments[0]
        local = isinstance(place, (str, bytes)) and event == "socket.connect"  # a Unix socket
        host = place[0] if isinstance(place, tuple) else place
        if not local and host not in ("127.0.0.1", "::1", "localhost"):
            sys.stderr.write(f"CALLED {event} {place}\\n")
            os._exit(77)
sys.addaudithook(watch)
"""


@pytest.mark.slow
def test_no_command_calls_out(
    phantoms: Path, cache_dir: Path, tmp_path: Path, monkeypatch: Patch
) -> None:
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(HOOK)
    (tmp_path / "home").mkdir()
    environment = {
        "PYTHONPATH": f"{tmp_path / 'hook'}:{ROOT}",
        "HOME": str(tmp_path / "home"),
        "PNEUMO_DATA": str(phantoms),
        "PNEUMO_CACHE": str(cache_dir),
    }
    for name in ("NO_ALBUMENTATIONS_UPDATE", "ORT_DISABLE_TELEMETRY"):
        monkeypatch.delenv(name, raising=False)
    # native code is out of the hook's sight, not of strace's
    calls = tmp_path / "calls"
    # by seccomp the process stops at these calls alone, not at each
    what = ("--seccomp-bpf", "-f", "-qq", "-e", "trace=connect,sendto")
    trace = ["strace", *what, "-A", "-o", str(calls)]
    can_trace = (
        shutil.which("strace") and not subprocess.run([*trace, "true"], check=False).returncode
    )
    radiograph = str(next(iter(sorted(phantoms.rglob("*.jpeg")))))
    commands = (
        ("train", *SMALL, "trainer.max_epochs=1", "hydra.run.dir=run"),
        ("evaluate", "run"),
        ("predict", "run", radiograph),
        ("heatmap", "run", radiograph, "--out", "maps"),
        ("export", "run", "--check", radiograph),
        ("report", "run"),
    )
    # in one process, since each start of torch takes seconds
    code = "import sys; from pneumo.__main__ import run\n"
    code += f"for verb, *words in {commands!r}:\n    if run(verb, words): sys.exit(verb)"
    words = (*(trace if can_trace else ()), sys.executable, "-c", code)
    done = start(*words, cwd=tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    for line in calls.read_text().splitlines() if can_trace else ():
        local = "127.0.0.1" in line or '"::1"' in line
        assert local or ("AF_INET" not in line), line
    # ONNX Runtime leaves its files where it reports
    left = [p for p in (tmp_path / "home").rglob("*") if "onnx" in str(p).lower()]
    assert left == []


def test_telemetry_is_off_before_libraries_are_imported(monkeypatch: Patch) -> None:
    code = "import pneumo, os; print(os.environ['ORT_DISABLE_TELEMETRY'], end='')"
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    assert start(sys.executable, "-c", code).stdout == "1"
