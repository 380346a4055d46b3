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

Run = Callable[..., int]
Capture = pytest.CaptureFixture[str]


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
class Served:
    """What the server gives, and what it has given. cut: answers end after so many bytes."""

    content: bytes = SET
    etag: str | None = '"one"'
    modified: str | None = None
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    has_ranges: bool = True
    heeds_if_range: bool = True
    has_length: bool = True
    max_range: int | None = None  # bytes that an answer to a range brings at most
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
        is_changed = self.heeds_if_range and condition not in (None, self.etag, self.modified)
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
        end = len(self.content)
        if status == 206 and self.max_range is not None:
            end = min(end, offset + self.max_range)
        self.send_head(handler, status=status, offset=offset, end=end)
        if status < 300:
            self.send_body(handler, offset=offset, end=end)

    def send_head(
        self, handler: BaseHTTPRequestHandler, *, status: int, offset: int, end: int
    ) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", self.content_type)
        for name, value in (("ETag", self.etag), ("Last-Modified", self.modified)):
            if value:
                handler.send_header(name, value)
        if self.has_length:
            handler.send_header("Content-Length", str(end - offset if status < 300 else 0))
        if status == 206:
            handler.send_header("Content-Range", f"bytes {offset}-{end - 1}/{len(self.content)}")
        handler.end_headers()

    def send_body(self, handler: BaseHTTPRequestHandler, *, offset: int, end: int) -> None:
        end = min(end, offset + self.cuts.pop(0)) if self.cuts else end
        for start in range(offset, end, 10_000):
            piece = self.content[start : min(start + 10_000, end)]
            handler.wfile.write(piece)
            self.num_sent += len(piece)
            time.sleep(self.pause_s)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(download, "RETRIES", download.RETRIES.new(backoff_factor=0))
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
def run(served: Served, target: Path) -> Run:
    def call(*options: str) -> int:
        return download.main(["--url", served.url, "--to", str(target), *options])

    return call


def files_in(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def left_in(target: Path) -> set[str]:
    """What is beside the target, with its kind: nothing, or what the next call goes on from."""
    names = {path.name for path in target.parent.iterdir()} - {"chest_xray.download"}
    kinds = {path.suffix for path in target.parent.glob("chest_xray.download/*")}
    return (names | kinds) - {""}


def part_of(target: Path) -> Path:
    (part,) = target.parent.glob("chest_xray.download/*.part")
    return part


def test_unpacks_the_set_without_its_top_folder_and_what_a_mac_adds(
    run: Run, served: Served, target: Path, capsys: Capture
) -> None:
    assert run() == 0
    assert files_in(target) == FILES
    assert (target / "train/NORMAL/IM-0115-0001.jpeg").read_bytes() == IMAGE
    assert [path.name for path in target.parent.iterdir()] == ["chest_xray"]
    source = json.loads((target / "SOURCE.json").read_text())
    digest = hashlib.sha256(SET).hexdigest()
    assert (source["url"], source["size"], source["sha256"]) == (served.url, len(SET), digest)
    assert datetime.fromisoformat(source["date"]).utcoffset() is not None
    printed = capsys.readouterr()
    assert f"sha256 {digest}" in printed.err
    assert "%" not in printed.err  # no bar in a log
    assert f"data.root={target}" in printed.out


def test_draws_bars_on_a_terminal(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert run() == 0
    assert re.search(r"downloading: 100%.*unpacking: 100%", capsys.readouterr().err, re.DOTALL)


def test_keeps_the_zip_on_request(run: Run, target: Path) -> None:
    assert run("--keep-zip") == 0
    assert target.with_name("chest_xray.zip").read_bytes() == SET
    assert left_in(target) == {"chest_xray", "chest_xray.zip"}


def test_password_of_the_address_is_not_written(run: Run, served: Served, target: Path) -> None:
    plain, served.url = served.url, served.url.replace("http://", "http://me:secret@")
    assert run() == 0
    assert json.loads((target / "SOURCE.json").read_text())["url"] == plain


def test_file_without_a_declared_length(run: Run, served: Served, target: Path) -> None:
    served.has_length = False
    assert run() == 0
    assert files_in(target) == FILES


def test_resumes_a_broken_connection(
    run: Run, served: Served, target: Path, capsys: Capture
) -> None:
    served.redirect, served.url = served.url, served.url.replace("/x.zip", "/moved")
    served.cuts = [40_000] * 4  # more than there are retries
    assert run() == 0
    assert len(served.ranges) == 5
    assert served.num_sent <= len(SET) + 4 * download.CHUNK_BYTES
    assert files_in(target) == FILES
    assert "the connection broke off (IncompleteRead" in capsys.readouterr().err


def give_up_at(num_bytes: int, run: Run, served: Served) -> None:
    """A first call that ends with the part, then a server as good as new."""
    served.cuts = [num_bytes, 0]
    assert run() == 2
    served.cuts, served.num_sent = [], 0
    served.ranges.clear()


@pytest.mark.parametrize("etag", ['"one"', None, 'W/"one"'])  # a weak one is no condition
def test_next_call_goes_on_where_the_last_gave_up(
    run: Run, served: Served, target: Path, capsys: Capture, etag: str | None
) -> None:
    served.etag, served.modified = etag, "Mon, 01 Jan 2018 00:00:00 GMT"
    give_up_at(8 * download.CHUNK_BYTES, run, served)
    message = capsys.readouterr().err
    assert "error: there must be a connection to the server that lasts" in message
    assert "0.1 MB are kept, from which the same command resumes" in message
    have = part_of(target).read_bytes()
    assert have == SET[: len(have)]
    assert run() == 0
    assert served.ranges == [f"bytes={len(have)}-"]
    assert served.conditions[-1] == ('"one"' if etag == '"one"' else served.modified)
    assert served.num_sent == len(SET) - len(have)
    assert files_in(target) == FILES


@pytest.mark.parametrize(
    "change",
    [
        {"etag": '"two"'},
        {"etag": '"two"', "heeds_if_range": False},
        {"has_ranges": False},
        {"max_range": 10_000},
    ],
    ids=str,
)
def test_starts_again_where_the_answer_is_not_the_rest(
    run: Run, served: Served, target: Path, capsys: Capture, change: dict[str, Any]
) -> None:
    served.content = SET[::-1]
    give_up_at(100_000, run, served)
    served.content = SET
    for name, value in change.items():
        setattr(served, name, value)
    assert run() == 0
    assert "from the beginning again" in capsys.readouterr().err
    assert files_in(target) == FILES
    assert (target / "train/NORMAL/IM-0115-0001.jpeg").read_bytes() == IMAGE


def test_starts_again_where_the_file_has_become_shorter(
    run: Run, served: Served, target: Path
) -> None:
    served.content = SET + bytes(100_000)
    give_up_at(len(SET) + 50_000, run, served)
    served.content = SET
    assert run() == 0
    assert served.ranges[1:] == [None]
    assert files_in(target) == FILES


def test_starts_again_where_the_server_names_no_version(
    run: Run, served: Served, target: Path, capsys: Capture
) -> None:
    served.etag = None
    served.cuts = [100_000, 50_000]
    assert run() == 2
    assert "nothing was kept to resume from" in capsys.readouterr().err
    assert run() == 0
    assert served.ranges == [None] * 3


def test_part_of_another_address_is_not_continued(run: Run, served: Served) -> None:
    give_up_at(100_000, run, served)
    served.url += "?other"
    assert run() == 0
    assert served.ranges == [None]


def test_gives_up_on_a_server_without_ranges_that_always_breaks_off(
    run: Run, served: Served
) -> None:
    served.has_ranges = False
    served.cuts = [50_000] * 9
    assert run() == 2
    assert served.num_sent == 100_000


def test_retries_a_busy_server(run: Run, served: Served, target: Path) -> None:
    served.statuses = [503, 429]
    assert run() == 0
    assert files_in(target) == FILES


@pytest.mark.parametrize(("status", "num_requests"), [(404, 1), (403, 1), (500, 4)])
def test_refusal_says_what_to_do_by_hand(
    run: Run, served: Served, target: Path, capsys: Capture, status: int, num_requests: int
) -> None:
    served.statuses = [status] * 9
    assert run() == 2
    assert len(served.ranges) == num_requests
    message = capsys.readouterr().err
    assert f"error: the server must give the file; {served.url}: {status} " in message
    assert "https://doi.org/10.17632/rscbjbr9sj" in message
    assert "PNEUMO_DATA=DIR" in message
    assert left_in(target) == set()


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_offline(run: Run, served: Served, target: Path, capsys: Capture) -> None:
    served.url = f"http://127.0.0.1:{closed_port()}/x.zip"
    assert run() == 2
    message = capsys.readouterr().err
    assert re.search(r"error: there must be a connection .*\[Errno \d+\] Connection ref", message)
    assert "Kaggle's data set" in message
    assert list(target.parent.iterdir()) == []


def test_silent_server(
    run: Run, served: Served, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(download, "TIMEOUT_S", 0.1)
    served.pause_s = 0.4
    assert run() == 2
    assert re.search(
        r"a connection to the server that lasts; .*: timed out", capsys.readouterr().err
    )


def test_web_page_does_not_replace_the_part(
    run: Run, served: Served, target: Path, capsys: Capture
) -> None:
    give_up_at(100_000, run, served)
    have = part_of(target).read_bytes()
    served.content, served.content_type = b"<html>log in</html>", "text/html; charset=utf-8"
    served.etag = None
    assert run() == 2
    assert "gives a web page: open it in a browser" in capsys.readouterr().err
    assert part_of(target).read_bytes() == have


@pytest.mark.parametrize("url", ["file:///etc/passwd", "a.example/x.zip", "http://a:port/x"])
def test_impossible_address(url: str, target: Path, capsys: Capture) -> None:
    assert download.main(["--url", url, "--to", str(target)]) == 2
    message = capsys.readouterr().err
    assert "error: the address must be a whole one of http or https" in message
    assert list(target.parent.iterdir()) == []


def test_refuses_a_redirect_to_another_kind_of_address(
    run: Run, served: Served, capsys: Capture
) -> None:
    served.redirect, served.url = "ftp://127.0.0.1/x", served.url.replace("/x.zip", "/moved")
    assert run() == 2
    assert "found for 'ftp://127.0.0.1/x'" in capsys.readouterr().err
    served.redirect = None
    with (  # a server with a certificate would be needed for more
        download._session("HTTPS://a.example/x") as session,
        pytest.raises(requests.exceptions.InvalidSchema),
    ):
        session.get(served.url)


def flipped(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


def encrypted(content: bytes) -> bytes:
    """The flag of the first entry in the directory at the end."""
    return flipped(content, content.index(b"PK\1\2") + 8)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a zip"),
        (b"no zip", "not a zip"),
        (SET[: len(SET) // 2], "not a zip"),
        (flipped(SET, len(SET) // 3), "Bad CRC-32"),
        (encrypted(zip_of(Entry("train/NORMAL/a.jpeg"))), "is encrypted"),
        (zip_of(Entry("OCT2017/train/DRUSEN/a.jpeg")), "there is no train/NORMAL"),
        (zip_of(Entry("a", bytes(10_001)), method=zipfile.ZIP_DEFLATED), "0.0 MB unpacked"),
        (zip_of(), "there is no train/NORMAL"),
    ],
    ids=["empty", "text", "half", "one bit", "encrypted", "another set", "bomb", "no entries"],
)
def test_damaged_or_other_zip_leaves_nothing(
    run: Run,
    served: Served,
    target: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes,
    reason: str,
) -> None:
    if reason.endswith("unpacked"):
        monkeypatch.setattr(download, "MAX_BYTES", 10_000)
    served.content = content
    assert run() == 2
    message = capsys.readouterr().err
    assert "error: the file must be the set's zip, whole; it is another or damaged" in message
    assert reason in message
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize(
    "bad",
    [
        Entry("../evil"),
        Entry("chest_xray/../../../evil"),
        Entry("/evil"),
        Entry("chest_xray/evil", b"/etc/passwd", stat.S_IFLNK | 0o777),
    ],
    ids=lambda bad: repr(bad.name),
)
def test_nothing_is_written_outside_the_target(
    run: Run, served: Served, target: Path, tmp_path: Path, bad: Entry
) -> None:
    served.content = zip_of(Entry("chest_xray/train/NORMAL/a.jpeg"), bad)
    assert run() == 0
    assert files_in(tmp_path) - {f"data/chest_xray/{name}" for name in files_in(target)} == set()
    assert [path for path in tmp_path.rglob("*") if path.is_symlink()] == []
    assert not Path("/evil").exists()


@pytest.mark.parametrize("name", ["train/NORMAL/a.jpeg", "x/train/NORMAL/a.jpeg"])
def test_one_folder_around_everything_is_left_out(
    run: Run, served: Served, target: Path, name: str
) -> None:
    served.content = zip_of(Entry(name))
    assert run() == 0
    assert files_in(target) == {"SOURCE.json", "train/NORMAL/a.jpeg"}


def test_checksum(run: Run, served: Served, target: Path, capsys: Capture) -> None:
    digest = hashlib.sha256(SET).hexdigest()
    assert run("--sha256", "0" * 64) == 2
    assert f"the zip's SHA-256 must be {'0' * 64}; got {digest}" in capsys.readouterr().err
    assert left_in(target) == {".zip"}
    assert run("--sha256", digest.upper()) == 0
    assert served.num_sent == len(SET)  # a mistyped checksum costs no second download
    assert left_in(target) == {"chest_xray"}


def test_impossible_checksum(run: Run, served: Served, capsys: Capture) -> None:
    with pytest.raises(SystemExit, match="2"):
        run("--sha256", "12")
    assert "argument --sha256: must be 64 hexadecimal digits; got '12'" in capsys.readouterr().err
    assert served.ranges == []


def test_never_overwrites(run: Run, served: Served, target: Path, capsys: Capture) -> None:
    target.mkdir(parents=True)
    (target / "mine.txt").write_text("mine")
    assert run() == 2
    assert "must be new or an empty folder within a disk" in capsys.readouterr().err
    (target / "mine.txt").rename(target.with_name("chest_xray.zip"))
    assert run("--keep-zip") == 2
    assert "leave out --keep-zip" in capsys.readouterr().err
    assert served.ranges == []
    assert files_in(target.parent) == {"chest_xray.zip"}


def test_root_of_a_disk_is_no_target(
    run: Run, served: Served, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target.mkdir(parents=True)
    monkeypatch.setattr(Path, "is_mount", lambda path: path == target)  # as a container's volume
    assert run() == 2
    assert served.ranges == []


def test_link_to_an_empty_folder_is_filled(run: Run, target: Path, tmp_path: Path) -> None:
    (tmp_path / "big").mkdir()
    target.parent.mkdir()
    target.symlink_to(tmp_path / "big")
    assert run() == 0
    assert files_in(tmp_path / "big") == FILES
    assert target.is_symlink()


def test_leftovers_of_a_killed_run_are_replaced(run: Run, target: Path) -> None:
    left = target.with_name("chest_xray.download") / "unpacked/chest_xray/train/NORMAL"
    left.mkdir(parents=True)
    (left / "half.jpeg").write_bytes(b"half")
    assert run() == 0
    assert files_in(target.parent) == {f"chest_xray/{name}" for name in FILES}


class Usage(NamedTuple):
    free: int


def test_disk_too_small_is_said_before_a_byte_is_written(
    run: Run, target: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(2 * len(SET) - 1))
    assert run() == 2
    message = capsys.readouterr().err
    assert re.search(r"must be writable, with room .*: 0\.4 MB must be free; 0\.4 MB are;", message)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "code"), [(OSError(28, "No space left on device"), 2), (KeyboardInterrupt(), 130)]
)
def test_broken_off_unpacking_leaves_only_the_zip(
    run: Run,
    served: Served,
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
) -> None:
    def fail(*args: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", fail)
        assert run() == code
    assert left_in(target) == {".zip"}
    assert run() == 0
    assert len(served.ranges) == 1


def test_folder_that_cannot_be_made(run: Run, target: Path, capsys: Capture) -> None:
    target.parent.write_text("")
    assert run() == 2
    assert "must be writable, with room" in capsys.readouterr().err


def test_second_download_to_the_same_place_is_refused(
    run: Run, served: Served, target: Path, capsys: Capture
) -> None:
    with FileLock(target.with_name("chest_xray.download") / "lock"):
        assert run() == 2
    assert "only one download may write" in capsys.readouterr().err
    assert served.ranges == []


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to a process there")
def test_ctrl_c_says_how_to_go_on(served: Served, target: Path) -> None:
    served.pause_s = 0.05
    options = ["--url", served.url, "--to", str(target)]
    command = [sys.executable, "-W", "error", "-m", "pneumo.download", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while served.num_sent < 100_000 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, message = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "Traceback" not in message
    assert "the same command again resumes there" in message
    have = part_of(target).read_bytes()
    assert 0 < len(have) < len(SET)
    assert SET.startswith(have)


def test_help_has_examples_and_needs_no_heavy_package() -> None:
    code = (
        "import sys; from pneumo import download; "
        "assert not {'torch', 'numpy', 'pandas', 'hydra'} & set(sys.modules); "
        "download.main(['--help'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "python -m pneumo.download --to /big/disk/chest_xray" in done.stdout
