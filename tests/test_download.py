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
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pneumo import atomic, download


class Entry(NamedTuple):
    name: str
    content: bytes = b"image"
    mode: int = 0  # Unix file type and permissions; 0: none, as from Windows


def zip_of(*entries: Entry, method: int = zipfile.ZIP_STORED) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", method) as file:
        for entry in entries:
            info = zipfile.ZipInfo("x")
            info.filename = info.orig_filename = entry.name
            info.external_attr = entry.mode << 16
            info.compress_type = method
            file.writestr(info, entry.content)
    return written.getvalue()


IMAGE = bytes(range(256)) * 400
SET = zip_of(
    Entry("chest_xray/", b""),
    Entry("chest_xray/.DS_Store"),
    Entry("chest_xray/train/NORMAL/IM-0115-0001.jpeg", IMAGE),
    Entry("chest_xray/train/PNEUMONIA/person1_bacteria_1.jpeg", IMAGE[::-1]),
    Entry("chest_xray/test/NORMAL/IM-0001-0001.jpeg", b""),
    Entry("chest_xray/test/NORMAL/._IM-0001-0001.jpeg"),
    Entry("__MACOSX/chest_xray/train/NORMAL/._IM-0115-0001.jpeg"),
)
FILES = {
    "SOURCE.json",
    "train/NORMAL/IM-0115-0001.jpeg",
    "train/PNEUMONIA/person1_bacteria_1.jpeg",
    "test/NORMAL/IM-0001-0001.jpeg",
}


@dataclass
class Served:
    """What the server gives, and what it has given. cut: answers end after so many bytes."""

    content: bytes = SET
    etag: str | None = '"one"'
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    has_ranges: bool = True
    heeds_if_range: bool = True
    has_length: bool = True
    length_error: int = 0
    content_type: str = "application/zip"
    redirect: str | None = None
    range_size: int | None = None  # that a part claims for the whole
    pause_s: float = 0.0
    num_sent: int = 0
    ranges: list[str | None] = field(default_factory=list)
    url: str = ""

    def offset_for(self, handler: BaseHTTPRequestHandler) -> int:
        wanted = handler.headers["Range"]
        condition = handler.headers["If-Range"]
        self.ranges.append(wanted)
        is_changed = self.heeds_if_range and condition not in (None, self.etag)
        if wanted is None or not self.has_ranges or is_changed:
            return 0
        return int(wanted.removeprefix("bytes=").removesuffix("-"))

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        if self.redirect is not None and handler.path == "/moved":
            handler.send_response(302)
            handler.send_header("Location", self.redirect)
            handler.end_headers()
            return
        offset = self.offset_for(handler)
        status = self.statuses.pop(0) if self.statuses else 206 if offset else 200
        if offset and offset >= len(self.content):
            status = 416
        self.send_head(handler, status=status, offset=offset)
        if status < 300:
            self.send_body(handler, offset=offset)

    def send_head(self, handler: BaseHTTPRequestHandler, *, status: int, offset: int) -> None:
        num_left = len(self.content) - offset + self.length_error if status < 300 else 0
        handler.send_response(status)
        handler.send_header("Content-Type", self.content_type)
        if self.etag:
            handler.send_header("ETag", self.etag)
        if self.has_length:
            handler.send_header("Content-Length", str(num_left))
        if status == 206:
            end, size = len(self.content) - 1, len(self.content) + self.length_error
            size = size if self.range_size is None else self.range_size
            handler.send_header("Content-Range", f"bytes {offset}-{end}/{size}")
        handler.end_headers()

    def send_body(self, handler: BaseHTTPRequestHandler, *, offset: int) -> None:
        end = offset + self.cuts.pop(0) if self.cuts else len(self.content)
        for start in range(offset, min(end, len(self.content)), 10_000):
            piece = self.content[start : min(start + 10_000, end)]
            handler.wfile.write(piece)
            self.num_sent += len(piece)
            time.sleep(self.pause_s)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "RETRY_WAITS_S", (0, 0))
    state = Served()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                state.answer(self)
            except ConnectionError:  # the client went away
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}/x.zip"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        server.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "data" / "chest_xray"


@pytest.fixture
def run(served: Served, target: Path) -> Callable[..., int]:
    def call(*options: str) -> int:
        return download.main(["--url", served.url, "--to", str(target), *options])

    return call


def files_in(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def part_of(target: Path) -> Path:
    return target.with_name("chest_xray.zip.part")


def assert_nothing_left(target: Path) -> None:
    assert list(target.parent.iterdir()) == []


def assert_only_part_left(target: Path) -> None:
    names = {path.name for path in target.parent.iterdir()}
    assert names == {"chest_xray.zip.part", "chest_xray.zip.part.json"}


def test_unpacks_the_set_without_its_top_folder_and_what_a_mac_adds(
    run: Callable[..., int], served: Served, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 0
    assert files_in(target) == FILES
    assert (target / "train/NORMAL/IM-0115-0001.jpeg").read_bytes() == IMAGE
    assert [path.name for path in target.parent.iterdir()] == ["chest_xray"]
    source = json.loads((target / "SOURCE.json").read_text())
    digest = hashlib.sha256(SET).hexdigest()
    assert source["url"] == served.url
    assert (source["size"], source["sha256"], source["files"]) == (len(SET), digest, 3)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", source["date"])
    printed = capsys.readouterr().out
    assert f"sha256 {digest}" in printed
    assert 1 <= printed.count("downloading: ") <= 10
    assert "(100 %)" in printed


def test_folder_is_as_open_as_any_other(run: Callable[..., int], target: Path) -> None:
    assert run() == 0
    assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE(target.parent.stat().st_mode)


def test_keeps_the_zip_on_request(run: Callable[..., int], target: Path) -> None:
    assert run("--keep-zip") == 0
    assert target.with_name("chest_xray.zip").read_bytes() == SET
    assert {path.name for path in target.parent.iterdir()} == {"chest_xray", "chest_xray.zip"}


def test_draws_a_bar_on_a_terminal(
    run: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert run() == 0
    printed = capsys.readouterr()
    assert "100%" in printed.err
    assert "downloading: " not in printed.out


@pytest.mark.parametrize("total", [1000, None])
def test_writes_a_line_for_each_tenth_elsewhere(
    total: int | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    size = total or 1_000_000_000  # without a total, a line every 100 MB
    with download.progress("fetching", total=total, start=size // 2) as advance:
        for _ in range(50):
            advance(size // 100)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert all(line.startswith("fetching: ") for line in lines)
    assert lines[-1].endswith("(100 %)" if total else " MB")


def test_file_without_a_declared_length(
    run: Callable[..., int], served: Served, target: Path
) -> None:
    served.has_length = False
    assert run() == 0
    assert files_in(target) == FILES


def test_follows_a_redirect_with_the_range(
    run: Callable[..., int], served: Served, target: Path
) -> None:
    served.redirect = served.url
    served.url = served.url.replace("/x.zip", "/moved")
    served.cuts = [50_000]
    assert run() == 0
    assert served.ranges == [None, "bytes=50000-"]
    assert files_in(target) == FILES


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("https://a.example/x", "http://a.example/x"),
        ("http://a.example/x", "file:///etc/passwd"),
        ("http://a.example/x", "ftp://a.example/x"),
    ],
)
def test_refuses_a_redirect_to_another_kind_of_address(old: str, new: str) -> None:
    request = urllib.request.Request(old)
    follow = download.SameSchemeRedirect().redirect_request
    with pytest.raises(download.DownloadError, match=rf"a redirect must .*; got '{new}'"):
        follow(request, io.BytesIO(), 302, "Found", HTTPMessage(), new)


def test_refused_redirect_is_one_message(
    run: Callable[..., int], served: Served, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served.redirect = "ftp://127.0.0.1/x.zip"
    served.url = served.url.replace("/x.zip", "/moved")
    assert run() == 1
    assert "error: a redirect must lead to http or https" in capsys.readouterr().err
    assert_nothing_left(target)


def test_resumes_a_broken_connection_and_fetches_no_byte_twice(
    run: Callable[..., int],
    served: Served,
    target: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # more cuts than retries: those that bring enough bytes do not count
    monkeypatch.setattr(download, "MIN_NEW_BYTES", len(SET) // 4)
    served.cuts = [len(SET) // 4] * 3
    assert run() == 0
    assert served.num_sent == len(SET)
    assert len(served.ranges) == 4
    assert files_in(target) == FILES
    assert "the connection broke off with 0.2 MB to come; trying again" in capsys.readouterr().out


def test_next_call_goes_on_where_the_last_gave_up(
    run: Callable[..., int], served: Served, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served.cuts = [100_000, 0, 0, 0]
    assert run() == 1
    assert "0.1 MB are kept in" in capsys.readouterr().err
    assert_only_part_left(target)
    assert part_of(target).read_bytes() == SET[:100_000]
    assert run() == 0
    assert served.ranges[-1] == "bytes=100000-"
    assert served.num_sent == len(SET)
    assert files_in(target) == FILES


def leave_part(target: Path, served: Served, *, content: bytes, etag: str | None) -> None:
    part = part_of(target)
    part.parent.mkdir()
    part.write_bytes(content)
    remote = download.Remote(url=served.url, size=len(SET), etag=etag, modified=None)
    download.save_remote(part, remote)


def test_starts_again_where_the_server_ignores_ranges(
    run: Callable[..., int], served: Served, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leave_part(target, served, content=SET[:1000], etag='"one"')
    served.has_ranges = False
    assert run() == 0
    assert "the server sends the file from its beginning again" in capsys.readouterr().out
    assert served.num_sent == len(SET)
    assert files_in(target) == FILES


def test_gives_up_on_a_server_that_ignores_ranges_and_always_breaks_off(
    run: Callable[..., int], served: Served, target: Path
) -> None:
    served.has_ranges = False
    served.cuts = [1000] * 9
    assert run() == 1
    assert served.num_sent == 3000
    assert_only_part_left(target)


@pytest.mark.parametrize("heeds_if_range", [True, False])
def test_starts_again_when_the_etag_has_changed(
    run: Callable[..., int], served: Served, target: Path, heeds_if_range: bool
) -> None:
    leave_part(target, served, content=b"older" * 1000, etag='"zero"')
    served.heeds_if_range = heeds_if_range
    assert run() == 0
    assert files_in(target) == FILES
    assert (target / "train/NORMAL/IM-0115-0001.jpeg").read_bytes() == IMAGE


def test_starts_again_when_the_size_has_changed(
    run: Callable[..., int], served: Served, target: Path
) -> None:
    served.etag = None
    leave_part(target, served, content=b"older" * 1000, etag=None)
    remote = download.Remote(url=served.url, size=len(SET) - 1, etag=None, modified=None)
    download.save_remote(part_of(target), remote)
    assert run() == 0
    assert served.ranges == ["bytes=5000-", None]
    assert files_in(target) == FILES


def test_starts_again_when_the_range_is_not_there(
    run: Callable[..., int], served: Served, target: Path
) -> None:
    leave_part(target, served, content=SET + b"more", etag='"one"')
    assert run() == 0
    assert served.ranges == [f"bytes={len(SET) + 4}-", None]
    assert files_in(target) == FILES


@pytest.mark.parametrize("note", ["", "{}", "[]", '{"url": 1, "x": 2}'])
def test_starts_again_when_nothing_says_whose_the_part_is(
    run: Callable[..., int], served: Served, target: Path, note: str
) -> None:
    leave_part(target, served, content=b"older", etag='"one"')
    part_of(target).with_name("chest_xray.zip.part.json").write_text(note)
    assert run() == 0
    assert served.ranges == [None]
    assert files_in(target) == FILES


def test_part_of_another_address_is_not_continued(
    run: Callable[..., int], served: Served, target: Path
) -> None:
    leave_part(target, served, content=b"older", etag='"one"')
    served.url += "?other"
    assert run() == 0
    assert served.ranges == [None]


def test_weak_etag_is_no_condition() -> None:
    known = download.Remote(url="", size=9, etag='W/"a"', modified="Mon, 01 Jan 2018 00:00:00 GMT")
    headers = download.range_headers(known, have=5)
    assert headers == {"Range": "bytes=5-", "If-Range": "Mon, 01 Jan 2018 00:00:00 GMT"}


def test_retries_a_busy_server(run: Callable[..., int], served: Served, target: Path) -> None:
    served.statuses = [503, 429]
    assert run() == 0
    assert files_in(target) == FILES


@pytest.mark.parametrize(("status", "num_requests"), [(404, 1), (403, 1), (500, 3)])
def test_refusal_says_what_to_do_by_hand(
    run: Callable[..., int],
    served: Served,
    target: Path,
    capsys: pytest.CaptureFixture[str],
    status: int,
    num_requests: int,
) -> None:
    served.statuses = [status] * 9
    assert run() == 1
    assert len(served.ranges) == num_requests
    message = capsys.readouterr().err
    assert f"error: cannot fetch {served.url}: the server answered {status} " in message
    assert "https://doi.org/10.17632/rscbjbr9sj" in message
    assert "PNEUMO_DATA=DIR" in message
    assert_nothing_left(target)


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_offline_is_said_at_once_and_keeps_the_part(
    run: Callable[..., int], served: Served, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served.url = f"http://127.0.0.1:{closed_port()}/x.zip"
    assert run() == 1
    assert_nothing_left(target)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.search(r"error: cannot fetch .*: no connection \(.*refused\)", printed.err)
    assert "Kaggle's data set" in printed.err
    target.parent.rmdir()
    leave_part(target, served, content=SET[:1000], etag='"one"')
    assert run() == 1
    assert part_of(target).read_bytes() == SET[:1000]


def test_unknown_host(
    run: Callable[..., int],
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert run() == 1
    assert "no connection ([Errno -2] Name or service not known)" in capsys.readouterr().err
    assert_nothing_left(target)


def test_silent_server(
    run: Callable[..., int],
    served: Served,
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(download, "TIMEOUT_S", 0.1)
    monkeypatch.setattr(download, "RETRY_WAITS_S", ())
    served.pause_s = 0.4
    assert run() == 1
    assert "the connection broke off (timed out)" in capsys.readouterr().err
    assert_only_part_left(target)


def test_web_page_does_not_replace_the_part(
    run: Callable[..., int], served: Served, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leave_part(target, served, content=SET[:1000], etag='"one"')
    served.content_type = "text/html; charset=utf-8"
    served.has_ranges = False
    assert run() == 1
    assert "gives a web page" in capsys.readouterr().err
    assert part_of(target).read_bytes() == SET[:1000]


def test_length_above_what_comes(
    run: Callable[..., int], served: Served, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served.length_error = 1000
    assert run() == 1
    assert "cannot fetch" in capsys.readouterr().err
    assert not target.exists()


def test_length_below_what_comes(
    run: Callable[..., int], served: Served, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served.length_error = -1000
    assert run() == 1
    assert "the zip is damaged or is none" in capsys.readouterr().err
    assert_nothing_left(target)


def flipped(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


@pytest.mark.parametrize(
    "content",
    [b"", b"no zip", SET[: len(SET) // 2], SET[:-1], SET[100:], flipped(SET, len(SET) // 3)],
    ids=["empty", "text", "half", "last byte missing", "start missing", "one bit"],
)
def test_damaged_zip_leaves_nothing(
    run: Callable[..., int],
    served: Served,
    target: Path,
    capsys: pytest.CaptureFixture[str],
    content: bytes,
) -> None:
    served.content = content
    assert run() == 1
    assert "error: the zip is damaged or is none" in capsys.readouterr().err
    assert_nothing_left(target)


@pytest.mark.parametrize(
    "bad",
    [
        Entry("../evil"),
        Entry("chest_xray/../../evil"),
        Entry("/evil"),
        Entry("//host/evil"),
        Entry("C:/evil"),
        Entry("c:evil"),
        Entry("..\\evil"),
        Entry("chest_xray\\evil"),
        Entry("chest_xray/evil\0.jpeg"),
        Entry("."),
        Entry("__MACOSX/../../evil"),
        Entry("chest_xray/evil", b"/etc/passwd", stat.S_IFLNK | 0o777),
        Entry("chest_xray/evil", b"", stat.S_IFIFO | 0o666),
    ],
    ids=lambda bad: repr(bad.name),
)
def test_refuses_entries_that_leave_the_target(
    run: Callable[..., int],
    served: Served,
    target: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    bad: Entry,
) -> None:
    served.content = zip_of(Entry("chest_xray/train/NORMAL/a.jpeg"), bad)
    assert run() == 1
    message = capsys.readouterr().err
    assert "every entry of the zip must be a plain file or folder within" in message
    assert f"got {bad.name!r}" in message
    assert_nothing_left(target)
    assert list(tmp_path.iterdir()) == [target.parent]


@pytest.mark.parametrize(("flags", "method"), [(download.ENCRYPTED, 0), (0, zipfile.ZIP_LZMA)])
def test_refuses_entries_that_need_more_than_inflating(flags: int, method: int) -> None:
    info = zipfile.ZipInfo("train/NORMAL/a.jpeg")
    info.header_offset, info.flag_bits, info.compress_type = 0, flags, method
    with pytest.raises(download.RefusedZipError, match=r"not encrypted, stored or deflated; got"):
        download.require_inside(info)


def test_refuses_a_zip_bomb(
    run: Callable[..., int], served: Served, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bomb = Entry("train/NORMAL/a.jpeg", bytes(10_000_000))
    served.content = zip_of(bomb, method=zipfile.ZIP_DEFLATED)
    assert run() == 1
    assert "the zip must unpack to at most 8,000.0 MB" in capsys.readouterr().err
    assert_nothing_left(target)


def test_refuses_a_declared_size_above_the_bound() -> None:
    info = zipfile.ZipInfo("train/NORMAL/a.jpeg")
    info.file_size = download.MAX_BYTES + 1
    with pytest.raises(download.RefusedZipError, match=r"at most 8,000\.0 MB in 100,000 entries"):
        download.require_modest([info], num_zip_bytes=download.MAX_BYTES)


@pytest.mark.parametrize("has_length", [True, False])
def test_refuses_a_file_above_the_bound(
    run: Callable[..., int],
    served: Served,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    has_length: bool,
) -> None:
    monkeypatch.setattr(download, "MAX_BYTES", 1000)
    served.has_length = has_length
    assert run() == 1
    assert "error: the zip must have at most 0.0 MB" in capsys.readouterr().err


def test_refuses_a_zip_of_something_else(
    run: Callable[..., int], served: Served, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served.content = zip_of(Entry("OCT2017/train/DRUSEN/a.jpeg"))
    assert run() == 1
    assert "must have a folder train/NORMAL; got ['OCT2017']" in capsys.readouterr().err
    assert_nothing_left(target)


@pytest.mark.parametrize("name", ["train/NORMAL/a.jpeg", "x/train/NORMAL/a.jpeg"])
def test_only_a_folder_around_everything_is_left_out(
    run: Callable[..., int], served: Served, target: Path, name: str
) -> None:
    served.content = zip_of(Entry(name))
    assert run() == 0
    assert files_in(target) == {"SOURCE.json", "train/NORMAL/a.jpeg"}


def test_nested_second_copy_stays_where_it_is(
    run: Callable[..., int], served: Served, target: Path
) -> None:
    served.content = zip_of(
        Entry("chest_xray/train/NORMAL/a.jpeg"), Entry("chest_xray/chest_xray/train/NORMAL/a.jpeg")
    )
    assert run() == 0
    assert "chest_xray/train/NORMAL/a.jpeg" in files_in(target)


def test_checksum(
    run: Callable[..., int], served: Served, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = hashlib.sha256(SET).hexdigest()
    assert run("--sha256", "0" * 64) == 1
    assert f"the zip's SHA-256 must be {'0' * 64}; got {digest}" in capsys.readouterr().err
    assert_only_part_left(target)
    assert run("--sha256", digest.upper()) == 0
    assert served.num_sent == len(SET)  # a mistyped checksum costs no second download
    assert files_in(target) == FILES


@pytest.mark.parametrize(
    "options",
    [
        ("--url", "file:///etc/passwd"),
        ("--url", "ftp://a.example/x.zip"),
        ("--url", "a.example/x.zip"),
        ("--url", "http://"),
        ("--url", "http://a.example:port/x"),
        ("--url", "http://me:secret@a.example/x"),
        ("--url", "http://a.example/x y"),
        ("--sha256", "12"),
        ("--to", "~no_such_user/data"),
    ],
    ids=repr,
)
def test_impossible_options(
    options: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        download.main(["--to", str(tmp_path / "data/chest_xray"), *options])
    assert re.search(rf"error: argument {options[0]}: must be .*; got '", capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


def test_never_overwrites(
    run: Callable[..., int], served: Served, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target.mkdir(parents=True)
    (target / "mine.txt").write_text("mine")
    assert run() == 1
    assert "must be new or empty, nothing is overwritten" in capsys.readouterr().err
    assert served.ranges == []
    assert files_in(target.parent) == {"chest_xray/mine.txt"}


def test_never_overwrites_a_kept_zip_or_a_file(
    run: Callable[..., int], served: Served, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target.parent.mkdir()
    target.with_name("chest_xray.zip").write_text("mine")
    assert run("--keep-zip") == 1
    assert "leave out --keep-zip" in capsys.readouterr().err
    target.write_text("mine")
    assert run() == 1
    assert f"the target must be a folder; {target} is a file" in capsys.readouterr().err
    assert served.ranges == []


def test_root_of_a_disk_is_no_target(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    root = Path.cwd().anchor
    assert download.main(["--url", served.url, "--to", root]) == 1
    assert "not its root; got /: give a folder in it" in capsys.readouterr().err


def test_link_to_an_empty_folder_is_filled(
    run: Callable[..., int], target: Path, tmp_path: Path
) -> None:
    (tmp_path / "big").mkdir()
    target.parent.mkdir()
    target.symlink_to(tmp_path / "big")
    assert run() == 0
    assert files_in(tmp_path / "big") == FILES
    assert target.is_symlink()


def test_empty_target_is_filled(run: Callable[..., int], target: Path) -> None:
    target.mkdir(parents=True)
    assert run() == 0
    assert files_in(target) == FILES


def test_leftovers_of_a_killed_run_are_replaced(run: Callable[..., int], target: Path) -> None:
    mine, left_dir = target.with_name("chest_xray.unpacking"), atomic.temporary(target)
    dead = left_dir.with_name(left_dir.name.replace(str(os.getpid()), "999999999"))
    for folder in (mine, dead / "train"):
        folder.mkdir(parents=True)
        (folder / "half.jpeg").write_bytes(b"half")
    atomic._clear_once.cache_clear()  # as in another process
    assert run() == 0
    wanted = {f"chest_xray/{name}" for name in FILES} | {"chest_xray.unpacking/half.jpeg"}
    assert files_in(target.parent) == wanted


@pytest.mark.parametrize("name", ["chest_xray.zip.part", "chest_xray.zip.part.json"])
@pytest.mark.parametrize("kind", [os.symlink, os.link])
def test_nothing_is_written_through_a_link(
    run: Callable[..., int],
    target: Path,
    name: str,
    kind: Callable[[Path, Path], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    target.parent.mkdir()
    mine = target.parent / "mine"
    mine.write_text("mine")
    kind(mine, target.with_name(name))
    assert run() == 1
    assert "as a link or no file: move it away" in capsys.readouterr().err
    assert mine.read_text() == "mine"


def test_a_pipe_in_the_place_of_the_zip_is_not_waited_for(
    run: Callable[..., int], target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target.parent.mkdir()
    os.mkfifo(part_of(target))
    assert run() == 1
    assert "as a link or no file" in capsys.readouterr().err


def test_a_size_below_the_offset_is_that_of_another_file(
    run: Callable[..., int], served: Served, target: Path
) -> None:
    """Less than no bytes to come would be a bound that is never reached."""
    served.cuts = [100_000]
    served.range_size = 10
    assert run() == 0
    assert served.ranges == [None, "bytes=100000-", None]
    assert files_in(target) == FILES


def test_a_server_of_one_byte_an_answer_is_given_up(
    run: Callable[..., int], served: Served, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    served.cuts = [1] * 50
    assert run() == 1
    assert len(served.ranges) == 3
    assert "the same command goes on from there" in capsys.readouterr().err


def test_disk_too_small_is_said_before_a_byte_is_written(
    run: Callable[..., int],
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(2 * len(SET) - 1))
    assert run() == 1
    assert re.search(r"error: the disk of .* must have 0\.4 MB free", capsys.readouterr().err)
    assert_nothing_left(target)


def test_disk_that_fills_up_while_unpacking_leaves_only_the_part(
    run: Callable[..., int],
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", fail)
    assert run() == 1
    message = capsys.readouterr().err
    assert "must be writable, with room; got [Errno 28] No space left on device" in message
    assert_only_part_left(target)


def test_folder_that_cannot_be_made(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert download.main(["--url", served.url, "--to", str(tmp_path / "file/data")]) == 1
    assert "must be writable" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="no file locks")
def test_second_download_to_the_same_place_is_refused(
    run: Callable[..., int], served: Served, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target.parent.mkdir()
    with download.only_one(part_of(target)):
        assert run() == 1
    assert "only one download may write" in capsys.readouterr().err
    assert served.ranges == []


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to a process there")
def test_ctrl_c_says_how_to_go_on(served: Served, target: Path) -> None:
    served.pause_s = 0.05
    options = ["--url", served.url, "--to", str(target)]
    command = [sys.executable, "-W", "error", "-m", "pneumo.download", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # the first tenth is there
        process.send_signal(signal.SIGINT)
        _, message = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "Traceback" not in message
    assert "the same command goes on from there" in message
    assert f"python -m pneumo.download {' '.join(options)}" in message
    assert_only_part_left(target)
    have = part_of(target).read_bytes()
    assert 0 < len(have) < len(SET)
    assert SET.startswith(have)


def test_ctrl_c_while_unpacking_leaves_only_the_part(
    run: Callable[..., int], target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copyfileobj", stop)
    assert run() == 130
    assert_only_part_left(target)


def test_help_has_examples_and_needs_no_heavy_package() -> None:
    code = (
        "import sys; from pneumo import download; "
        "assert not {'torch', 'numpy', 'pandas', 'hydra'} & set(sys.modules); "
        "download.main(['--help'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "python -m pneumo.download --to /big/disk/chest_xray" in done.stdout
