"""The download, against a real server on the loopback that can misbehave in the usual ways."""

import hashlib
import io
import json
import os
import re
import shutil
import socket
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from pneumo import download
from tests.conftest import Call, Called, Patch

Run = Callable[..., Called]


def zip_of(contents: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", method) as file:
        for name, content in contents.items():
            file.writestr(name, content)
    return written.getvalue()


IMAGE = bytes(range(256)) * 400
FILES = {
    "train/NORMAL/IM-0115-0001.jpeg": IMAGE,
    "train/PNEUMONIA/person1_bacteria_1.jpeg": IMAGE[::-1],
    "test/NORMAL/IM-0001-0001.jpeg": b"",
}
SET = zip_of(
    {f"chest_xray/{name}": content for name, content in FILES.items()}
    | {"__MACOSX/chest_xray/train/NORMAL/._IM-0115-0001.jpeg": b"image"}
)


@dataclass
class Server:
    """Its content and faults, and the requests it got. cuts: answers end after so many bytes."""

    content: bytes = SET
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    has_ranges: bool = True
    has_length: bool = True
    content_type: str = "application/zip"
    pause_s: float = 0.0
    num_sent: int = 0
    ranges: list[str | None] = field(default_factory=list)
    url: str = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        if handler.path == "/moved":
            handler.send_response(302)
            handler.send_header("Location", "/x.zip")
            handler.end_headers()
            return
        wanted = handler.headers["Range"]
        self.ranges.append(wanted)
        offset = int(wanted[6:-1]) if wanted and self.has_ranges else 0  # of bytes=N-
        end = len(self.content)
        status = self.statuses.pop(0) if self.statuses else 206 if offset else 200
        if offset and offset >= end:
            status = 416
        handler.send_response(status)
        handler.send_header("Content-Type", self.content_type)
        if self.has_length:
            handler.send_header("Content-Length", str(end - offset if status < 300 else 0))
        handler.end_headers()
        if status < 300:
            end = min(end, offset + self.cuts.pop(0)) if self.cuts else end
            for start in range(offset, end, 10_000):
                piece = self.content[start : min(start + 10_000, end)]
                handler.wfile.write(piece)
                self.num_sent += len(piece)
                time.sleep(self.pause_s)


@pytest.fixture
def server(monkeypatch: Patch) -> Iterator[Server]:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(download, "RETRIES", download.RETRIES.new(backoff_factor=0))
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                state.answer(self)
            except ConnectionError:  # the client went away
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        state.url = f"http://127.0.0.1:{http.server_port}/x.zip"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        http.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "data" / "chest_xray"


@pytest.fixture
def run(server: Server, target: Path, call: Call) -> Run:
    def download(*options: str, code: int = 0) -> Called:
        return call("download", "--url", server.url, "--to", target, *options, code=code)

    return download


def is_filled(target: Path) -> bool:
    found = {p.relative_to(target).as_posix(): p for p in target.rglob("*") if p.is_file()}
    source = found.pop("SOURCE.json", None)
    return source is not None and {name: p.read_bytes() for name, p in found.items()} == FILES


def give_up_at(num_bytes: int, run: Run, server: Server) -> str:
    """A first call that ends with the part and this message; then the server works again."""
    server.cuts = [num_bytes, 0]
    message = run(code=2).err
    server.cuts, server.num_sent = [], 0
    server.ranges.clear()
    return message


@pytest.mark.parametrize("terminal", [False, True])
def test_the_set_is_unpacked_without_its_top_folder_and_macos_files(
    run: Run, server: Server, target: Path, monkeypatch: Patch, terminal: bool
) -> None:
    target.mkdir(parents=True)  # an empty folder is filled
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    plain, server.url = server.url, server.url.replace("http://", "http://me:secret@")
    server.has_length, server.statuses = False, [503, 429]  # a busy server
    printed = run()
    assert is_filled(target)
    assert [path.name for path in target.parent.iterdir()] == ["chest_xray"]
    source = json.loads((target / "SOURCE.json").read_text())
    digest = hashlib.sha256(SET).hexdigest()
    assert (source["url"], source["size"], source["sha256"]) == (plain, len(SET), digest)
    assert datetime.fromisoformat(source["date"]).utcoffset() is not None
    bars = re.search(r"downloading: .*unpacking: 100%", printed.err, re.DOTALL)
    assert bool(bars) == ("%" in printed.err) == terminal  # no bar in a log
    assert f"data.root={target}" in printed.out


def test_a_broken_connection_is_resumed(run: Run, server: Server, target: Path) -> None:
    server.url = server.url.replace("/x.zip", "/moved")
    server.cuts = [40_000] * 4  # more than there are retries
    assert "the connection was lost (IncompleteRead" in run().err
    assert len(server.ranges) == 5
    assert server.num_sent <= len(SET) + 4 * download.CHUNK_BYTES
    assert is_filled(target)


@pytest.mark.parametrize("has_ranges", [True, False])
def test_the_next_call_resumes(run: Run, server: Server, target: Path, has_ranges: bool) -> None:
    message = give_up_at(8 * download.CHUNK_BYTES, run, server)
    assert "error: the zip could not be downloaded" in message
    assert "The same command resumes from 0.1 MB" in message
    (part,) = target.parent.glob("chest_xray.download/*.part")
    have = part.read_bytes()
    assert have == SET[: len(have)]
    web_page = {"content": b"<html>log in</html>", "content_type": "text/html; charset=utf-8"}
    vars(server).update(web_page, has_ranges=False)
    assert "returns a web page: open it in a browser" in run(code=2).err
    assert part.read_bytes() == have
    working = {"content": SET, "content_type": "application/zip"}
    vars(server).update(working, has_ranges=has_ranges, num_sent=0)
    run()
    assert server.ranges[-1] == f"bytes={len(have)}-"
    assert server.num_sent == pytest.approx(len(SET) - len(have) * has_ranges, abs=100)
    assert is_filled(target)


def test_a_part_is_of_its_address_and_may_be_whole(run: Run, server: Server, target: Path) -> None:
    plain = server.url
    for server.url in (f"{plain}?other", plain):
        give_up_at(100_000, run, server)
    parts = sorted(target.parent.glob("chest_xray.download/*.part"))
    assert len(parts) == 2
    for part in parts:
        part.write_bytes(SET)
    run()
    assert is_filled(target)
    assert server.ranges == [f"bytes={len(SET)}-"]


def test_servers_that_refuse_or_are_missing(run: Run, server: Server, monkeypatch: Patch) -> None:
    for status, num_requests in ((404, 1), (500, 4)):
        server.statuses, server.ranges = [status] * num_requests, []
        message = run(code=2).err
        assert len(server.ranges) == num_requests
        assert f"error: the zip could not be downloaded; {server.url}: {status} " in message
        assert "https://doi.org/10.17632/rscbjbr9sj" in message  # the way by hand
        assert "PNEUMO_DATA=DIR" in message
    monkeypatch.setattr(download, "TIMEOUT_S", 0.1)
    server.pause_s = 0.4
    assert re.search(r"could not be downloaded; .*: timed out", run(code=2).err)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    for url, reason in (
        (f"http://127.0.0.1:{port}/x.zip", r"\[Errno \d+\] Connection refused"),
        *((url, "") for url in ("file:///etc/passwd", "a.example/x.zip", "http://a:port/x")),
    ):
        server.url = url
        assert re.search(f"error: the zip could not be downloaded; .*{reason}", run(code=2).err)


def flipped(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (SET[: len(SET) // 2], "not a zip"),
        (flipped(SET, len(SET) // 3), "Bad CRC-32"),
        (zip_of({"OCT2017/train/DRUSEN/a.jpeg": b""}), "there is no train/NORMAL"),
        (zip_of({"a": bytes(10_001)}, zipfile.ZIP_DEFLATED), "0.0 MB unpacked"),
    ],
    ids=["half", "one bit", "another set", "bomb"],
)
def test_a_damaged_or_other_zip_is_removed(
    run: Run, server: Server, target: Path, monkeypatch: Patch, content: bytes, reason: str
) -> None:
    if reason.endswith("unpacked"):
        monkeypatch.setattr(download, "MAX_BYTES", 10_000)
    server.content = content
    message = run(code=2).err
    assert "error: the file must be the complete zip of the set; it is another" in message
    assert reason in message
    assert not target.exists()
    assert not list(target.parent.glob("chest_xray.download/*.*"))


def test_nothing_is_overwritten(run: Run, server: Server, target: Path) -> None:
    target.mkdir(parents=True)
    (target / "mine.txt").write_text("mine")
    assert f"an empty folder, nothing is overwritten; {target} exists" in run(code=2).err
    (target / "mine.txt").unlink()
    work = target.with_name("chest_xray.download")
    work.mkdir()
    (work / "unpacked").mkdir()  # by the other one
    with FileLock(work / "lock"):
        assert "only one download may write" in run(code=2).err
    assert (work / "unpacked").is_dir()
    assert server.ranges == []


@pytest.mark.parametrize(
    ("error", "code"), [(OSError(28, "No space left on device"), 2), (KeyboardInterrupt(), 130)]
)
def test_interrupted_unpacking_leaves_only_the_zip(
    run: Run, server: Server, target: Path, monkeypatch: Patch, error: BaseException, code: int
) -> None:
    def fail(*args: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", fail)
        assert ("the same command again resumes there" in run(code=code).err) == (code == 130)
    (left,) = target.parent.glob("chest_xray.download/*.*")  # that the next call resumes from
    assert left.suffix == ".zip"
    run()
    assert len(server.ranges) == 1
    assert is_filled(target)
