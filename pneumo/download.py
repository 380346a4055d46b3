"""Fetches the public chest X-rays and unpacks them to where ``data=auto`` looks for them.

The zip comes without an account from the data set's page (Kermany, Zhang, Goldbaum: "Labeled
Optical Coherence Tomography (OCT) and Chest X-Ray Images for Classification", CC BY 4.0,
https://doi.org/10.17632/rscbjbr9sj). Its authors publish no checksum that we know of, so the
size, the CRC of every file in it and, where the caller gives one, a SHA-256 are what is checked.
"""

import argparse
import hashlib
import json
import os
import re
import shlex
import shutil
import stat
import struct
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path, PurePosixPath
from typing import IO, cast
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from tqdm import tqdm

from pneumo import __version__, atomic, untrusted

if sys.platform != "win32":
    import fcntl

DOI = "10.17632/rscbjbr9sj"
# ChestXRay2017.zip of the page above.
URL = (
    "https://data.mendeley.com/public-files/datasets/rscbjbr9sj/files/"
    "f12eaf6d-6023-432f-acc9-80c9d7393433/file_downloaded"
)
TARGET_DIR = Path("data/chest_xray")

TIMEOUT_S = 30.0  # silence on the line that counts as a broken connection
RETRY_WAITS_S: tuple[float, ...] = (1, 2, 4, 8)  # between attempts that bring too few bytes
CHUNK_BYTES = 1 << 18
MIN_NEW_BYTES = CHUNK_BYTES  # that an attempt must bring to count as one that goes on
# The set is 1.2 GB of 5,856 JPEGs, which zip hardly shrinks; more than these is another file.
MAX_BYTES = 8_000_000_000
MAX_ENTRIES = 100_000
MAX_RATIO = 100  # unpacked bytes for one byte of zip
ENCRYPTED = 0x1  # bit of an entry's flags (.ZIP File Format Specification, 4.4.4)
NUM_LINES = 10  # of progress, where there is no terminal to draw a bar on

# What zipfile raises on a file that is no zip, or a broken one.
DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, ValueError)

BY_HAND = f"""By hand: open https://doi.org/{DOI} in a browser, take the zip of
chest X-rays (or Kaggle's data set "chest-xray-pneumonia"), unpack it, and name
the folder that has train/ in it: set PNEUMO_DATA=DIR, or give data.root=DIR to
the training."""

EXAMPLES = f"""examples:
  python -m pneumo.download                 to {TARGET_DIR}, for data=auto
  python -m pneumo.download --to /big/disk/chest_xray
  python -m pneumo.download --keep-zip      the zip stays beside the folder
  python -m pneumo.download --sha256 HEX    refuse any other file

A download that broke off goes on from where it was, by the same command again.
{BY_HAND}
"""


class DownloadError(Exception):
    """Ends the command; its text is all that the user sees."""


class RefusedZipError(DownloadError):
    """The zip that was fetched is of no use, so that keeping it would only repeat the error."""


class TransientError(Exception):
    """Another request may bring what this one did not."""


class OfflineError(TransientError):
    """No server answered."""


class StaleError(TransientError):
    """The bytes we have are not the beginning of what the server has now."""


@dataclass(frozen=True, kw_only=True)
class Remote:
    """What the server said of a file: enough to know it again. size: bytes, None if unsaid."""

    url: str
    size: int | None
    etag: str | None
    modified: str | None

    def is_same(self, other: "Remote") -> bool:
        """Whether both are the same version, by what both answers name."""
        if None not in (self.size, other.size) and self.size != other.size:
            return False
        if self.etag and other.etag:
            return self.etag == other.etag
        if self.modified and other.modified:
            return self.modified == other.modified
        return True


class SameSchemeRedirect(HTTPRedirectHandler):
    """Follows http to http or https, and https to https only."""

    def redirect_request(
        self,
        req: Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> Request | None:
        """The request to go on with. DownloadError: the new address is of another kind."""
        schemes = ("https",) if req.type == "https" else ("http", "https")
        if urlsplit(newurl).scheme not in schemes:
            fp.close()
            raise DownloadError(
                f"a redirect must lead to {' or '.join(schemes)}; got {newurl!r}.\n{BY_HAND}"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def main(argv: Sequence[str] | None = None) -> int:
    """The command's exit code: 0 done, 1 failed, 130 stopped by Ctrl-C (2 from argparse)."""
    arguments = parser().parse_args(argv)
    target_dir: Path = arguments.to
    try:
        download(
            arguments.url,
            target_dir=target_dir,
            sha256=arguments.sha256,
            keep_zip=arguments.keep_zip,
        )
    except KeyboardInterrupt:
        options = shlex.join(sys.argv[1:] if argv is None else argv)
        kept = what_is_kept(part_path_of(target_dir))
        sys.stderr.write(f"\nstopped. {kept}\n  python -m pneumo.download {options}\n")
        return 130
    except DownloadError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(
            f"error: {target_dir} and the folder around it must be writable, with room; got "
            f"{error}: make room, or choose another folder with --to. "
            f"{what_is_kept(part_path_of(target_dir))}\n"
        )
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="python -m pneumo.download",
        description="Fetch the public chest X-rays (1.2 GB, CC BY 4.0) and unpack them.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    result.add_argument("--url", type=web_url, default=URL, help="another address of the zip")
    result.add_argument(
        "--to", type=folder, default=str(TARGET_DIR), metavar="DIR", help=f"default: {TARGET_DIR}"
    )
    result.add_argument(
        "--sha256", type=sha256_hex, metavar="HEX", help="what the zip must have, if you know it"
    )
    result.add_argument("--keep-zip", action="store_true", help="keep it as DIR.zip")
    return result


def folder(text: str) -> Path:
    """``text`` as an absolute path without links. ArgumentTypeError: there is no such user."""
    try:
        return Path(text).expanduser().resolve()
    except RuntimeError as error:  # also a circle of links
        raise argparse.ArgumentTypeError(f"must be a folder's path; got {text!r}") from error


def web_url(text: str) -> str:
    """``text`` if it is an http or https address. ArgumentTypeError: it is not."""
    try:
        parts = urlsplit(text)
        is_web = parts.scheme in ("http", "https") and bool(parts.hostname)
        is_valid = is_web and parts.username is None and parts.port != 0
    except ValueError:  # a port that is no number, a broken IPv6 address
        is_valid = False
    if not is_valid or re.search(r"[^!-~]", text):
        raise argparse.ArgumentTypeError(
            "must be an http:// or https:// address in ASCII, without spaces or a user name; "
            f"got {text!r}"
        )
    return text


def sha256_hex(text: str) -> str:
    """``text`` in lower case if it is a SHA-256. ArgumentTypeError: it is not."""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise argparse.ArgumentTypeError(f"must be 64 hexadecimal digits; got {text!r}")
    return text.lower()


def download(url: str, *, target_dir: Path, sha256: str | None, keep_zip: bool) -> None:
    """Fill ``target_dir`` with the images of the zip at ``url``, all of them or none.

    Args:
        url: http or https address of the zip.
        target_dir: absolute; new or empty. The zip is written beside it.
        sha256: of the zip, 64 lower-case hexadecimal digits; None: not known.
        keep_zip: whether to leave the zip at ``target_dir`` + ``.zip``.

    Raises:
        DownloadError: with the reason and the way out.
        OSError: the disk does not take what is written.
    """
    require_new(target_dir, keep_zip=keep_zip)
    require_plain(part_path_of(target_dir))
    require_plain(remote_path_of(part_path_of(target_dir)))
    target_dir.parent.mkdir(parents=True, exist_ok=True)
    part_path = part_path_of(target_dir)
    with only_one(part_path):
        try:
            fetch(url, part_path=part_path)
            digest = checked_sha256(part_path, expected=sha256)
            unpack(part_path, target_dir=target_dir, url=url, sha256=digest)
            if keep_zip:
                part_path.replace(zip_path_of(target_dir))
            forget(part_path)
        except RefusedZipError:
            forget(part_path)
            raise
        finally:
            if not num_bytes(part_path):
                forget(part_path)
    say(
        f"done: {target_dir}\ntrain on it: python -m pneumo.train data=kermany "
        f"data.root={shlex.quote(str(target_dir))}"
    )


def require_new(target_dir: Path, *, keep_zip: bool) -> None:
    """Return if nothing would be overwritten. DownloadError: something would."""
    if os.path.ismount(target_dir):
        raise DownloadError(
            f"the target must be a folder within a disk, not its root; got {target_dir}: give a "
            "folder in it with --to"
        )
    if target_dir.exists() and not target_dir.is_dir():
        raise DownloadError(
            f"the target must be a folder; {target_dir} is a file: choose another with --to"
        )
    if target_dir.exists() and any(target_dir.iterdir()):
        raise DownloadError(
            f"the target must be new or empty, nothing is overwritten; {target_dir} has files in "
            "it: use it as it is, move it away, or choose another folder with --to"
        )
    if keep_zip and os.path.lexists(zip_path_of(target_dir)):
        raise DownloadError(
            f"nothing is overwritten; {zip_path_of(target_dir)} exists: move it away, or leave out "
            "--keep-zip"
        )


def require_plain(path: Path) -> None:
    """Return if writing ``path`` writes no other file. DownloadError: it is a link, or no file."""
    try:
        info = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(info.st_mode) or info.st_nlink > 1:
        raise DownloadError(
            f"{path} is where the zip is kept until it is whole; it is there already, as a link or "
            "no file: move it away, or choose another folder with --to"
        )


@contextmanager
def only_one(part_path: Path) -> Iterator[None]:
    """Hold the file so that no second download writes it. DownloadError: one does."""
    if sys.platform == "win32":
        yield
        return
    with part_path.open("ab") as part:
        try:
            fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DownloadError(
                f"only one download may write {part_path}; another one does: wait for it, or "
                "choose another folder with --to"
            ) from error
        except OSError:  # a file system without locks; the checks at the end still hold
            pass
        yield


def fetch(url: str, *, part_path: Path) -> None:
    """Bring ``part_path`` to the whole file at ``url``, in as many requests as it takes.

    Attempts that bring MIN_NEW_BYTES do not count; after too many that do not, or when no server
    answers the first, DownloadError, and what there is stays for the next call.
    """
    longest = start = num_bytes(part_path)
    num_failures = 0
    while True:
        try:
            return request_rest(url, part_path=part_path)
        except TransientError as error:
            goes_on = num_bytes(part_path) >= longest + MIN_NEW_BYTES
            num_failures = 1 if goes_on else num_failures + 1
            longest = max(longest, num_bytes(part_path))
            is_offline = isinstance(error, OfflineError) and longest == start
            if is_offline or num_failures > len(RETRY_WAITS_S):
                kept = what_is_kept(part_path)
                raise DownloadError(f"cannot fetch {url}: {error}.\n{kept}\n{BY_HAND}") from error
            wait_s = RETRY_WAITS_S[num_failures - 1]
            say(f"{error}; trying again in {wait_s:g} s")
        time.sleep(wait_s)


def request_rest(url: str, *, part_path: Path) -> None:
    """Append what ``part_path`` lacks of ``url``, or write it anew where that cannot be.

    Raises:
        TransientError: the answer broke off, or was no answer; what came is kept.
        DownloadError: asking again will not help.
    """
    known = read_remote(part_path)
    have = num_bytes(part_path) if known and known.url == url else 0
    if known and have and have == known.size:
        return
    try:
        with open_url(url, headers=range_headers(known, have=have)) as response:
            offset = have if response.status == 206 else 0
            remote = remote_of(url, response=response)
            if response.status == 206:
                require_continued(response, offset=offset, remote=remote, known=known)
            elif have:
                say("the server sends the file from its beginning again")
            require_plausible(response, remote=remote)
            require_space(part_path.parent, size=2 * (remote.size or 0) - offset)
            receive(response, remote=remote, offset=offset, part_path=part_path)
    except StaleError:
        forget(part_path)
        raise


def range_headers(known: Remote | None, *, have: int) -> dict[str, str]:
    """The headers that ask for all but the first ``have`` bytes of the version we know.

    If-Range takes a strong ETag or a date (RFC 9110, 13.1.5); with a changed file the server
    then answers with all of it.
    """
    if known is None or not have:
        return {}
    is_strong = known.etag is not None and not known.etag.startswith("W/")
    validator = known.etag if is_strong else known.modified
    return {"Range": f"bytes={have}-"} | ({"If-Range": validator} if validator else {})


def open_url(url: str, *, headers: dict[str, str]) -> HTTPResponse:
    """The server's answer, 200 or 206, through the proxy that the environment names, if any.

    Raises:
        OfflineError, StaleError, TransientError: no connection; a range that is not there (416);
            a broken connection or a server that asks to come back (408, 429, 5xx).
        DownloadError: any other refusal.
    """
    agent = {"User-Agent": f"pneumo/{__version__} (https://doi.org/{DOI})"}
    request = Request(url, headers=agent | headers)  # noqa: S310  (web_url let it pass)
    try:
        answer = build_opener(SameSchemeRedirect).open(request, timeout=TIMEOUT_S)
    except HTTPError as error:
        with error:
            raise refusal(url, error) from error
    except URLError as error:
        raise OfflineError(f"no connection ({error.reason})") from error
    except (OSError, HTTPException) as error:
        raise TransientError(f"the connection broke off ({reason(error)})") from error
    return cast(HTTPResponse, answer)


def refusal(url: str, error: HTTPError) -> Exception:
    """What the server's answer, 300 or above, means for us."""
    answer = f"the server answered {error.code} {error.reason}"
    if error.code == 416:
        return StaleError(f"{answer}: the file has changed")
    if error.code in (408, 429) or error.code >= 500:
        return TransientError(answer)
    return DownloadError(f"cannot fetch {url}: {answer}.\n{BY_HAND}")


def remote_of(url: str, *, response: HTTPResponse) -> Remote:
    """The file that the answer is about; of a part (206), size is the whole file's."""
    headers = response.headers
    size = content_range(response)[1] if response.status == 206 else response.length
    return Remote(url=url, size=size, etag=headers["ETag"], modified=headers["Last-Modified"])


def content_range(response: HTTPResponse) -> tuple[int | None, int | None]:
    """First byte of the part and size of the whole in bytes; None, None if not both are said."""
    header = response.headers["Content-Range"] or ""
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", header.strip())
    if match is None:
        return None, None
    return int(match[1]), int(match[2])


def require_continued(
    response: HTTPResponse, *, offset: int, remote: Remote, known: Remote | None
) -> None:
    """Return if the part goes on where ours ends. StaleError: it does not."""
    start, size = content_range(response)
    is_beyond = size is None or size <= offset
    if start != offset or is_beyond or (known is not None and not remote.is_same(known)):
        raise StaleError("the file on the server has changed")


def require_plausible(response: HTTPResponse, *, remote: Remote) -> None:
    """Return if the answer can be the zip. DownloadError: it cannot."""
    if response.headers.get_content_type() == "text/html":  # a login page, a café's network
        raise DownloadError(
            f"the address must give a zip; {remote.url} gives a web page: open it in a browser to "
            f"see what it asks for.\n{BY_HAND}"
        )
    if remote.size is not None and remote.size > MAX_BYTES:
        raise DownloadError(too_large(remote.size))


def receive(response: HTTPResponse, *, remote: Remote, offset: int, part_path: Path) -> None:
    """Write the answer's bytes to ``part_path`` from ``offset`` on, and beside it whose they are.

    Raises:
        TransientError: fewer bytes came than were promised.
        DownloadError: more came than the set can have.
    """
    if offset:
        say(f"going on from {megabytes(offset)}")
    rest = None if remote.size is None else remote.size - offset
    with part_path.open("ab" if offset else "wb") as part:
        save_remote(part_path, remote)  # after the old bytes went, before the first new one came
        with progress("downloading", total=remote.size, start=offset) as advance:
            for chunk in chunks(response, size=rest):
                part.write(chunk)
                advance(len(chunk))
    if remote.size is None:
        save_remote(part_path, replace(remote, size=num_bytes(part_path)))


def chunks(response: HTTPResponse, *, size: int | None) -> Iterator[bytes]:
    """The next ``size`` bytes of the answer as they come; None: all there are.

    Raises:
        TransientError: it ended early.
        DownloadError: it did not end within MAX_BYTES.
    """
    left = MAX_BYTES + 1 if size is None else size
    while left > 0:
        try:
            chunk = response.read1(min(left, CHUNK_BYTES))
        except (OSError, HTTPException) as error:
            raise TransientError(f"the connection broke off ({reason(error)})") from error
        if not chunk:
            break
        left -= len(chunk)
        yield chunk
    if size is None and not left:
        raise DownloadError(too_large(MAX_BYTES + 1))
    if size is not None and left:
        raise TransientError(f"the connection broke off with {megabytes(left)} to come")


def checked_sha256(zip_path: Path, *, expected: str | None) -> str:
    """The file's SHA-256 in hexadecimal. DownloadError: it is not the expected one."""
    with zip_path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    say(f"sha256 {digest}, {num_bytes(zip_path):,} bytes")
    if expected not in (None, digest):
        raise DownloadError(
            f"the zip's SHA-256 must be {expected}; got {digest}: correct --sha256 and give the "
            f"command again (nothing is fetched twice), or delete {zip_path} to fetch it anew"
        )
    return digest


def unpack(zip_path: Path, *, target_dir: Path, url: str, sha256: str) -> None:
    """Unpack the set to ``target_dir`` (new or empty), with a SOURCE.json: whole or not at all.

    Raises:
        RefusedZipError: not a zip, damaged, unsafe, or not the set; nothing was written.
        DownloadError: no room.
    """
    new_dir = atomic.temporary(target_dir)
    try:
        with zipfile.ZipFile(zip_path) as file:
            entries = entries_by_path(file.infolist(), num_zip_bytes=num_bytes(zip_path))
            require_space(zip_path.parent, size=sum(e.file_size for e in entries.values()))
            extract(file, entries=entries, to=new_dir)
        write_source(new_dir, zip_path=zip_path, url=url, sha256=sha256, num_files=len(entries))
        if target_dir.exists():
            target_dir.rmdir()
        new_dir.rename(target_dir)
    except DAMAGE as error:
        raise RefusedZipError(
            f"the zip is damaged or is none ({reason(error)}); it was removed: give the command "
            f"again to fetch it anew.\n{BY_HAND}"
        ) from error
    finally:
        remove_tree(new_dir)


def entries_by_path(
    infos: Sequence[zipfile.ZipInfo], *, num_zip_bytes: int
) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """The files to write, by their path in the target.

    What macOS added is left out, and so is one folder around everything.

    Raises:
        RefusedZipError: unsafe, or without train/NORMAL.
    """
    require_modest(infos, num_zip_bytes=num_zip_bytes)
    for info in infos:
        require_inside(info)
    files = {PurePosixPath(info.filename): info for info in infos if not info.is_dir()}
    entries = {path: info for path, info in files.items() if not is_mac_extra(path)}
    tops = {path.parts[0] for path in entries}
    if len(tops) == 1 and "train" not in tops and all(len(path.parts) > 1 for path in entries):
        entries = {PurePosixPath(*path.parts[1:]): info for path, info in entries.items()}
    if not any(path.parts[:2] == ("train", "NORMAL") for path in entries):
        raise RefusedZipError(
            f"the zip must have a folder train/NORMAL; got {sorted(tops)[:5]}; it was removed: "
            f"is the address the right one?\n{BY_HAND}"
        )
    return entries


def require_modest(infos: Sequence[zipfile.ZipInfo], *, num_zip_bytes: int) -> None:
    """Return if unpacking will not flood the disk. RefusedZipError: it would.

    zipfile stops at the size that an entry declares, so declared sizes are a bound.
    """
    size = sum(info.file_size for info in infos)
    if size > MAX_BYTES or len(infos) > MAX_ENTRIES or size > MAX_RATIO * num_zip_bytes:
        raise RefusedZipError(
            f"the zip must unpack to at most {megabytes(MAX_BYTES)} in {MAX_ENTRIES:,} entries, "
            f"{MAX_RATIO} times its own size; got {megabytes(size)} in {len(infos):,} entries "
            f"from {megabytes(num_zip_bytes)}; it was removed: is the address the right one?"
            f"\n{BY_HAND}"
        )


def require_inside(info: zipfile.ZipInfo) -> None:
    """Return if the entry is a file or folder within the target.

    Raises:
        RefusedZipError: it is not.
        BadZipFile: its bytes would lie before the zip's first.
    """
    if info.header_offset < 0:  # zipfile would say "Invalid argument", as a disk does
        raise zipfile.BadZipFile("its beginning is missing")
    name = info.orig_filename  # as in the zip; zipfile cuts and translates the other one
    kind = stat.S_IFMT(info.external_attr >> 16)  # 0 where the zip was not made on Unix
    is_path = bool(re.fullmatch(r"(?![A-Za-z]:)[^/\\\0][^\\\0]*", name))
    is_inside = is_path and ".." not in name.split("/") and PurePosixPath(name).parts
    is_plain = kind in (0, stat.S_IFREG, stat.S_IFDIR) and not info.flag_bits & ENCRYPTED
    is_usual = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    if not (is_inside and is_plain and is_usual):
        raise RefusedZipError(
            "every entry of the zip must be a plain file or folder within the target folder, no "
            f"link, not encrypted, stored or deflated; got {name!r}; nothing was unpacked and the "
            f"zip was removed: is the address the right one?\n{BY_HAND}"
        )


def is_mac_extra(path: PurePosixPath) -> bool:
    """Whether macOS added the file to the zip; ``._x.jpeg`` looks like an image and is none."""
    return "__MACOSX" in path.parts or path.name == ".DS_Store" or path.name.startswith("._")


def extract(
    file: zipfile.ZipFile, *, entries: dict[PurePosixPath, zipfile.ZipInfo], to: Path
) -> None:
    """Write the entries under ``to``; zipfile compares each with its CRC as it is read."""
    total = sum(info.file_size for info in entries.values())
    with progress("unpacking", total=total) as advance:
        for path, info in entries.items():
            (to / path).parent.mkdir(parents=True, exist_ok=True)
            with file.open(info) as source, (to / path).open("wb") as written:
                shutil.copyfileobj(source, written, CHUNK_BYTES)
            advance(info.file_size)


def write_source(folder: Path, *, zip_path: Path, url: str, sha256: str, num_files: int) -> None:
    """Write SOURCE.json: where the images are from. size: of the zip, bytes; date: UTC."""
    source = {
        "url": url,
        "doi": DOI,
        "size": num_bytes(zip_path),
        "sha256": sha256,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": num_files,
    }
    (folder / "SOURCE.json").write_text(json.dumps(source, indent=2) + "\n", encoding="utf-8")


def require_space(folder: Path, *, size: int) -> None:
    """Return if ``folder``'s disk takes ``size`` bytes more. DownloadError: it does not."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise DownloadError(
            f"the disk of {folder} must have {megabytes(size)} free, for the zip and the "
            f"images; got {megabytes(free)}: make room, or choose another disk with --to"
        )


def zip_path_of(target_dir: Path) -> Path:
    """Where --keep-zip leaves the zip."""
    return target_dir.with_name(target_dir.name + ".zip")


def part_path_of(target_dir: Path) -> Path:
    """The zip as far as it has come, beside the target."""
    return target_dir.with_name(target_dir.name + ".zip.part")


def remote_path_of(part_path: Path) -> Path:
    """Where it is written which file the part belongs to."""
    return part_path.with_name(part_path.name + ".json")


def read_remote(part_path: Path) -> Remote | None:
    """The file that the part belongs to; None if that is not known."""
    with suppress(FileNotFoundError, ValueError, TypeError):
        remote = Remote(**untrusted.read_json(remote_path_of(part_path)))
        texts = [text for text in (remote.url, remote.etag, remote.modified) if text is not None]
        whole = remote.size is None or isinstance(remote.size, int)
        if whole and all(isinstance(text, str) and text.isprintable() for text in texts):
            return remote
    return None


def save_remote(part_path: Path, remote: Remote) -> None:
    """Note which file the part belongs to."""
    with atomic.replacing(remote_path_of(part_path)) as path:
        path.write_text(json.dumps(asdict(remote)), encoding="utf-8")


def forget(part_path: Path) -> None:
    """Remove the part and the note on it."""
    part_path.unlink(missing_ok=True)
    remote_path_of(part_path).unlink(missing_ok=True)


def num_bytes(path: Path) -> int:
    """The file's size in bytes; 0 if there is none."""
    return path.stat().st_size if path.exists() else 0


def remove_tree(folder: Path) -> None:
    """Remove the folder if it is there."""
    if folder.exists():
        shutil.rmtree(folder)


def what_is_kept(part_path: Path) -> str:
    """A sentence on what the next call can go on from."""
    if not num_bytes(part_path):
        return "Nothing was kept; give the same command to start again."
    size = megabytes(num_bytes(part_path))
    return f"{size} are kept in {part_path}; the same command goes on from there."


def too_large(size: int) -> str:
    """The message on a file of ``size`` bytes."""
    return (
        f"the zip must have at most {megabytes(MAX_BYTES)}; got {megabytes(size)}: is the address "
        f"the right one?\n{BY_HAND}"
    )


def reason(error: Exception) -> str:
    """What happened, also where the exception has no text."""
    return str(error) or type(error).__name__


def megabytes(size: int) -> str:
    """Bytes for a reader, in units of 10^6."""
    return f"{size / 1e6:,.1f} MB"


@contextmanager
def progress(label: str, *, total: int | None, start: int = 0) -> Iterator[Callable[[int], object]]:
    """A function to call with each number of new bytes; it draws a bar, or writes NUM_LINES lines.

    Args:
        label: what is going on.
        total: bytes in the end; None: not known.
        start: bytes that were there before.
    """
    if sys.stderr.isatty():
        with tqdm(desc=label, total=total, initial=start, unit="B", unit_scale=True) as bar:
            yield bar.update
        return
    step = (total or 1_000_000_000) / NUM_LINES
    done = start

    def advance(num_new: int) -> None:
        nonlocal done
        before, done = done, done + num_new
        if before // step < done // step:
            share = f" of {megabytes(total)} ({100 * done // total} %)" if total else ""
            say(f"{label}: {megabytes(done)}{share}")

    yield advance


def say(text: str) -> None:
    """Write a line at once, also into a pipe."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
