"""The download, against a real server on the loopback that can misbehave in the usual ways."""

import hashlib
import io
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests
from filelock import FileLock

from pneumo import download
from tests.conftest import Call, Called, Patch

Run = Callable[..., Called]


class Entry(NamedTuple):
    name: str
    content: bytes = b"image"
    mode: int = 0  # Unix file type and permissions; 0: none, as from Windows


def zip_of(*entries: Entry, method: int = zipfile.ZIP_STORED) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", method) as file:
        for entry in entries:
            info = zipfile.ZipInfo(entry.name)
            info.external_attr = entry.mode << 16
            info.compress_type = method
            file.writestr(info, entry.content)
    return written.getvalue()


IMAGE = bytes(range(256)) * 400
SET = zip_of(
    Entry("chest_xray/", b""),
    Entry("chest_xray/train/NORMAL/IM-0115-0001.jpeg", IMAGE),
    Entry("chest_xray/train/PNEUMONIA/person1_bacteria_1.jpeg", IMAGE[::-1]),
    Entry("chest_xray/test/NORMAL/IM-0001-0001.jpeg", b""),
    Entry("__MACOSX/chest_xray/train/NORMAL/._IM-0115-0001.jpeg"),
)
FILES = {
    "SOURCE.json",
    "train/NORMAL/IM-0115-0001.jpeg",
    "train/PNEUMONIA/person1_bacteria_1.jpeg",
    "test/NORMAL/IM-0001-0001.jpeg",
}


@dataclass
class Server:
    """Its content and faults, and the requests it got. cuts: answers end after so many bytes."""

    content: bytes = SET
    etag: str | None = '"one"'
    modified: str | None = None
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    has_ranges: bool = True
    has_length: bool = True
    content_type: str = "application/zip"
    redirect: str | None = None
    pause_s: float = 0.0
    num_sent: int = 0
    ranges: list[str | None] = field(default_factory=list)
    conditions: list[str | None] = field(default_factory=list)
    url: str = ""

    def offset_for(self, handler: BaseHTTPRequestHandler) -> int:
        wanted, condition = handler.headers["Range"], handler.headers["If-Range"]
        self.ranges.append(wanted)
        self.conditions.append(condition)
        is_changed = condition not in (None, self.etag, self.modified)
        if wanted is None or not self.has_ranges or is_changed:
            return 0
        return int(wanted.removeprefix("bytes=").removesuffix("-"))

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        if self.redirect is not None and handler.path == "/moved":
            handler.send_response(302)
            handler.send_header("Location", self.redirect)
            handler.end_headers()
            return
        offset, end = self.offset_for(handler), len(self.content)
        status = self.statuses.pop(0) if self.statuses else 206 if offset else 200
        if offset and offset >= end:
            status = 416
        handler.send_response(status)
        handler.send_header("Content-Type", self.content_type)
        for name, value in (("ETag", self.etag), ("Last-Modified", self.modified)):
            if value:
                handler.send_header(name, value)
        if self.has_length:
            handler.send_header("Content-Length", str(end - offset if status < 300 else 0))
        if status == 206:
            handler.send_header("Content-Range", f"bytes {offset}-{end - 1}/{end}")
        handler.end_headers()
        if status < 300:
            self.send_body(handler, offset=offset)

    def send_body(self, handler: BaseHTTPRequestHandler, *, offset: int) -> None:
        end = min(len(self.content), offset + self.cuts.pop(0)) if self.cuts else len(self.content)
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


def files_in(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def left_in(target: Path) -> set[str]:
    """Names beside the target, and endings of files that the next call resumes from."""
    names = {path.name for path in target.parent.iterdir()} - {"chest_xray.download"}
    kinds = {path.suffix for path in target.parent.glob("chest_xray.download/*")}
    return (names | kinds) - {""}


def part_of(target: Path) -> Path:
    (part,) = target.parent.glob("chest_xray.download/*.part")
    return part


def give_up_at(num_bytes: int, run: Run, server: Server) -> str:
    """A first call that ends with the part and this message; then the server works again."""
    server.cuts = [num_bytes, 0]
    message = run(code=2).err
    server.cuts, server.num_sent = [], 0
    server.ranges.clear()
    return message


def test_the_set_is_unpacked_without_its_top_folder_and_macos_files(
    run: Run, server: Server, target: Path
) -> None:
    plain, server.url = server.url, server.url.replace("http://", "http://me:secret@")
    printed = run()
    assert files_in(target) == FILES
    assert (target / "train/NORMAL/IM-0115-0001.jpeg").read_bytes() == IMAGE
    assert [path.name for path in target.parent.iterdir()] == ["chest_xray"]
    source = json.loads((target / "SOURCE.json").read_text())
    digest = hashlib.sha256(SET).hexdigest()
    assert (source["url"], source["size"], source["sha256"]) == (plain, len(SET), digest)
    assert datetime.fromisoformat(source["date"]).utcoffset() is not None
    assert f"sha256 {digest}" in printed.err
    assert "%" not in printed.err  # no bar in a log
    assert f"data.root={target}" in printed.out


def test_the_zip_is_kept_on_request_and_bars_are_drawn_on_a_terminal(
    run: Run, target: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    shown = run("--keep-zip").err
    assert target.with_name("chest_xray.zip").read_bytes() == SET
    assert left_in(target) == {"chest_xray", "chest_xray.zip"}
    assert re.search(r"downloading: 100%.*unpacking: 100%", shown, re.DOTALL)


def test_a_busy_server_without_a_declared_length(run: Run, server: Server, target: Path) -> None:
    server.has_length, server.statuses = False, [503, 429]
    run()
    assert files_in(target) == FILES


def test_a_broken_connection_is_resumed(run: Run, server: Server, target: Path) -> None:
    server.redirect, server.url = server.url, server.url.replace("/x.zip", "/moved")
    server.cuts = [40_000] * 4  # more than there are retries
    message = run().err
    assert len(server.ranges) == 5
    assert server.num_sent <= len(SET) + 4 * download.CHUNK_BYTES
    assert files_in(target) == FILES
    assert "the connection broke off (IncompleteRead" in message


@pytest.mark.parametrize("etag", ['"one"', None, 'W/"one"'])  # a weak one is no condition
def test_the_next_call_resumes(run: Run, server: Server, target: Path, etag: str | None) -> None:
    server.etag, server.modified = etag, "Mon, 01 Jan 2018 00:00:00 GMT"
    message = give_up_at(8 * download.CHUNK_BYTES, run, server)
    assert "error: the zip could not be downloaded" in message
    assert "The same command resumes from 0.1 MB" in message
    have = part_of(target).read_bytes()
    assert have == SET[: len(have)]
    run()
    assert server.ranges == [f"bytes={len(have)}-"]
    assert server.conditions[-1] == ('"one"' if etag == '"one"' else server.modified)
    assert server.num_sent == len(SET) - len(have)
    assert files_in(target) == FILES


@pytest.mark.parametrize(
    "change",
    [
        {"etag": '"two"'},
        {"has_ranges": False},
        {"etag": None, "has_ranges": False},
    ],
    ids=str,
)
def test_the_download_starts_again_if_the_answer_is_not_the_rest(
    run: Run, server: Server, target: Path, change: dict[str, Any]
) -> None:
    server.content = SET[::-1] + bytes(100_000)  # also a file that becomes shorter
    give_up_at(100_000, run, server)
    server.content = SET
    for name, value in change.items():
        setattr(server, name, value)
    assert "starting again from 0 MB" in run().err
    assert files_in(target) == FILES
    assert (target / "train/NORMAL/IM-0115-0001.jpeg").read_bytes() == IMAGE


def test_a_part_of_another_address_is_not_continued(run: Run, server: Server) -> None:
    give_up_at(100_000, run, server)
    server.url += "?other"
    run()
    assert server.ranges == [None]


@pytest.mark.parametrize(("status", "num_requests"), [(404, 1), (500, 4)])
def test_a_refusal_gives_the_way_by_hand(
    run: Run, server: Server, target: Path, status: int, num_requests: int
) -> None:
    server.statuses = [status] * 9
    message = run(code=2).err
    assert len(server.ranges) == num_requests
    assert f"error: the zip could not be downloaded; {server.url}: {status} " in message
    assert "https://doi.org/10.17632/rscbjbr9sj" in message
    assert "PNEUMO_DATA=DIR" in message
    assert left_in(target) == set()


def test_offline_and_silent_servers(
    run: Run, server: Server, target: Path, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT_S", 0.1)
    server.pause_s = 0.4
    assert re.search(r"could not be downloaded; .*: timed out", run(code=2).err)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    server.url = f"http://127.0.0.1:{port}/x.zip"
    shutil.rmtree(target.parent)
    message = run(code=2).err
    assert re.search(r"could not be downloaded; .*\[Errno \d+\] Connection refused", message)
    assert list(target.parent.iterdir()) == []


def test_a_web_page_does_not_replace_the_part(run: Run, server: Server, target: Path) -> None:
    give_up_at(100_000, run, server)
    have = part_of(target).read_bytes()
    server.content, server.content_type = b"<html>log in</html>", "text/html; charset=utf-8"
    server.etag = None
    assert "gives a web page: open it in a browser" in run(code=2).err
    assert part_of(target).read_bytes() == have


@pytest.mark.parametrize("url", ["file:///etc/passwd", "a.example/x.zip", "http://a:port/x"])
def test_impossible_addresses(url: str, target: Path, call: Call) -> None:
    error = call("download", "--url", url, "--to", target, code=2).err
    assert "error: the zip could not be downloaded" in error
    assert list(target.parent.iterdir()) == []


def test_a_redirect_from_https_to_another_scheme_is_refused(run: Run, server: Server) -> None:
    server.redirect, server.url = "ftp://127.0.0.1/x", server.url.replace("/x.zip", "/moved")
    assert "found for 'ftp://127.0.0.1/x'" in run(code=2).err
    server.redirect = None
    with (  # a server with a certificate would be needed for more
        download._session("HTTPS://a.example/x") as session,
        pytest.raises(requests.exceptions.InvalidSchema),
    ):
        session.get(server.url)


def flipped(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no zip", "not a zip"),
        (SET[: len(SET) // 2], "not a zip"),
        (flipped(SET, len(SET) // 3), "Bad CRC-32"),
        (zip_of(Entry("OCT2017/train/DRUSEN/a.jpeg")), "there is no train/NORMAL"),
        (zip_of(Entry("a", bytes(10_001)), method=zipfile.ZIP_DEFLATED), "0.0 MB unpacked"),
    ],
    ids=["text", "half", "one bit", "another set", "bomb"],
)
def test_a_damaged_or_other_zip_leaves_nothing(
    run: Run,
    server: Server,
    target: Path,
    monkeypatch: Patch,
    content: bytes,
    reason: str,
) -> None:
    if reason.endswith("unpacked"):
        monkeypatch.setattr(download, "MAX_BYTES", 10_000)
    server.content = content
    message = run(code=2).err
    assert "error: the file must be the set's zip, whole; it is another or damaged" in message
    assert reason in message
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize(
    "bad",
    [Entry("chest_xray/../../../evil"), Entry("/evil"), Entry("a", b"/etc", stat.S_IFLNK | 0o777)],
    ids=lambda bad: repr(bad.name),
)
def test_nothing_is_written_outside_the_target(
    run: Run, server: Server, target: Path, tmp_path: Path, bad: Entry
) -> None:
    server.content = zip_of(Entry("train/NORMAL/a.jpeg"), bad)  # without a folder around
    run()
    assert files_in(tmp_path) - {f"data/chest_xray/{name}" for name in files_in(target)} == set()
    assert [path for path in tmp_path.rglob("*") if path.is_symlink()] == []
    assert not Path("/evil").exists()


def test_the_checksum(run: Run, server: Server, target: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        run("--sha256", "12")
    assert server.ranges == []
    digest = hashlib.sha256(SET).hexdigest()
    message = run("--sha256", "0" * 64, code=2).err
    assert f"the zip's SHA-256 must be {'0' * 64}; got {digest}" in message
    assert left_in(target) == {".zip"}
    run("--sha256", digest.upper())
    assert server.num_sent == len(SET)  # a mistyped checksum costs no second download
    assert left_in(target) == {"chest_xray"}


def test_nothing_is_overwritten(run: Run, server: Server, target: Path) -> None:
    target.mkdir(parents=True)
    (target / "mine.txt").write_text("mine")
    assert f"an empty folder, nothing is overwritten; {target} exists" in run(code=2).err
    (target / "mine.txt").rename(target.with_name("chest_xray.zip"))
    assert "chest_xray.zip exists: " in run("--keep-zip", code=2).err
    with FileLock(target.with_name("chest_xray.download") / "lock"):
        assert "only one download may write" in run(code=2).err
    assert server.ranges == []
    assert files_in(target.parent) == {"chest_xray.zip", "chest_xray.download/lock"}


def test_a_link_to_an_empty_folder_is_filled_and_leftovers_are_replaced(
    run: Run, target: Path, tmp_path: Path
) -> None:
    left = tmp_path / "big.download" / "unpacked/chest_xray/train/NORMAL"
    left.mkdir(parents=True)
    (left / "half.jpeg").write_bytes(b"half")
    (tmp_path / "big").mkdir()
    target.parent.mkdir()
    target.symlink_to(tmp_path / "big")
    run()
    assert files_in(tmp_path) == {f"big/{name}" for name in FILES}
    assert target.is_symlink()


def test_a_place_that_is_no_folder(run: Run, target: Path) -> None:
    target.parent.write_text("")
    assert "must be writable, with room" in run(code=2).err


def test_a_part_that_is_whole_but_was_not_renamed(run: Run, server: Server, target: Path) -> None:
    give_up_at(100_000, run, server)
    part_of(target).write_bytes(SET)
    run()
    assert files_in(target) == FILES
    assert server.ranges == [f"bytes={len(SET)}-", None]


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
        run(code=code)
    assert left_in(target) == {".zip"}
    run()
    assert len(server.ranges) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to a process there")
def test_ctrl_c_leaves_a_part_that_resumes(server: Server, target: Path) -> None:
    server.pause_s = 0.05
    options = ["--url", server.url, "--to", str(target)]
    command = [sys.executable, "-W", "error", "-m", "pneumo.download", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while server.num_sent < 100_000 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, message = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "Traceback" not in message
    assert "the same command again resumes there" in message
    have = part_of(target).read_bytes()
    assert 0 < len(have) < len(SET)
    assert SET.startswith(have)
