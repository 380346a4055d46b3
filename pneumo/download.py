"""Fetches the public chest X-rays and unpacks them to the default folder of ``data=auto``.

The zip comes without an account from the data set's page (Kermany, Zhang, Goldbaum: "Labeled
Optical Coherence Tomography (OCT) and Chest X-Ray Images for Classification", CC BY 4.0,
https://doi.org/10.17632/rscbjbr9sj). Its authors publish no checksum that we know of, so the
size, the CRC of every file in it and, if the user gives one, a SHA-256 are checked.

requests handles redirects, proxies, time limits and retries, tqdm the bars, zipfile the safe paths
and the CRC. Resuming a part (Range, If-Range) is done here: pooch, torchvision and requests do not.
"""

import argparse
import hashlib
import json
import os
import shlex
import shutil
import sys
import zipfile
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pneumo import cli

if __name__ == "__main__":  # --help and wrong arguments need nothing of what follows
    raise SystemExit(cli.start("download"))

import requests
from filelock import FileLock, Timeout
from requests.adapters import HTTPAdapter
from tqdm import tqdm
from urllib3.util import Retry

from pneumo import __version__
from pneumo.arguments.download import BY_HAND, DOI, parse

TIMEOUT_S = 30.0  # silence that counts as a broken connection
RETRIES = Retry(  # of a request without an answer, or with one that asks to come back
    total=3,
    backoff_factor=0.5,  # they wait 0, 1 and 2 s
    status_forcelist=(408, 429, 500, 502, 503, 504),
    raise_on_status=False,  # the message of requests is clearer
    respect_retry_after_header=False,  # which may be hours
)
CHUNK_BYTES = 1 << 14  # requests drops a partial chunk when the connection breaks
MAX_BYTES = 8_000_000_000  # unpacked; the set has 1.2 GB, so more is another file


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    args = parse(arguments)
    stopped = "\nstopped; the same command again resumes there"
    return cli.run(lambda: _command(args), stopped=stopped)


def _command(args: argparse.Namespace) -> int:
    target = Path(os.path.realpath(args.to))
    download(args.url, target=target, sha256=args.sha256, keep_zip=args.keep_zip)
    sys.stdout.write(
        f"done: {target}\ntrain on it: python -m pneumo.train data=kermany "
        f"data.root={shlex.quote(str(target))}\n"
    )
    return 0


def download(url: str, *, target: Path, sha256: str | None, keep_zip: bool) -> None:
    """Fills ``target`` with the images of the zip at ``url``, all of them or none.

    Args:
        url: http or https address of the zip.
        target: absolute; new or an empty folder. Unfinished files are beside it, in .download.
        sha256: of the zip, 64 lower-case hexadecimal digits; None: unknown.
        keep_zip: whether to leave the zip at ``target`` + ``.zip``.

    Raises:
        ValueError: with the reason and what to do.
    """
    kept = target.with_name(f"{target.name}.zip")
    occupied = target.exists() and not (target.is_dir() and not any(target.iterdir()))
    if occupied or (keep_zip and kept.exists()):
        raise ValueError(
            f"the target must be new or an empty folder, nothing is overwritten; "
            f"{target if occupied else kept} exists: use it as it is, move it away, choose another "
            "with --to, or leave out --keep-zip"
        )
    work = target.with_name(f"{target.name}.download")
    # named by the address, so that no other's zip is used
    zip_path = work / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.zip"
    try:
        work.mkdir(parents=True, exist_ok=True)
        with FileLock(work / "lock", timeout=0):
            _fill(target, zip_path, url=url, sha256=sha256, kept=kept if keep_zip else None)
    except Timeout:
        raise ValueError(
            f"only one download may write {work}; another one does: wait for it, or choose "
            "another folder with --to"
        ) from None
    except OSError as error:
        raise ValueError(
            f"the folder around {target} must be writable, with room for the zip and the images; "
            f"{error.filename or work}: {error.strerror}. Make room, or choose another with --to; "
            "the same command resumes"
        ) from error


def _fill(target: Path, zip_path: Path, *, url: str, sha256: str | None, kept: Path | None) -> None:
    """Does the work of `download` in the folder of ``zip_path``, and moves the zip to ``kept``."""
    work, unpacked = zip_path.parent, zip_path.with_name("unpacked")
    try:
        if not zip_path.exists():
            fetch(url, zip_path)
        digest = _checked_sha256(zip_path, expected=sha256)
        folder = unpack(zip_path, unpacked)
        source = {
            "url": requests.utils.urldefragauth(url),  # without a password
            "doi": DOI,
            "size": _size(zip_path),
            "sha256": digest,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        (folder / "SOURCE.json").write_text(json.dumps(source, indent=2) + "\n", encoding="utf-8")
        if target.exists():  # Windows renames no folder to one that exists
            target.rmdir()
        folder.rename(target)
        if kept:
            zip_path.rename(kept)
        shutil.rmtree(work, ignore_errors=True)  # Windows keeps the lock, which is open
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
        if {path.name for path in work.glob("*")} <= {"lock"}:
            shutil.rmtree(work, ignore_errors=True)


def fetch(url: str, zip_path: Path) -> None:
    """Writes the file at ``url``, in as many requests as it takes.

    Raises ValueError if a request brings no byte; the part stays beside ``zip_path``.
    """
    part = zip_path.with_suffix(".part")
    _log(f"fetching {url}")
    with _session(url) as session:
        while True:
            before = _size(part)
            try:
                _receive(session, url, part)
                break
            except requests.RequestException as error:
                if _size(part) <= before:
                    raise ValueError(
                        f"the zip could not be downloaded; {url}: {_root(error)}. The same command "
                        f"resumes from {_megabytes(_size(part))}.\n{BY_HAND}"
                    ) from error
                _log(f"the connection broke off ({_root(error)})")
    part.rename(zip_path)
    part.with_suffix(".version").unlink()


def _root(error: BaseException) -> BaseException:
    """Returns the first error of a chain, which requests and urllib3 wrap up to four times."""
    return error if error.__context__ is None else _root(error.__context__)


def _session(url: str) -> requests.Session:
    """Returns a session for ``url`` and its redirects; from https, to https only."""
    session = requests.Session()
    session.headers["Accept-Encoding"] = "identity"  # ranges of packed bytes would differ
    session.headers["User-Agent"] = f"pneumo/{__version__} (https://doi.org/{DOI})"
    session.adapters.clear()
    for scheme in ("https://",) if url.lower().startswith("https:") else ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(max_retries=RETRIES))
    return session


def _receive(session: requests.Session, url: str, part: Path) -> None:
    """Appends the rest to ``part``, or writes it from the beginning if it cannot be resumed.

    The version of its bytes is kept beside it; if the server names none, nothing is appended,
    since the rest may be another file's.

    Raises:
        requests.RequestException: there was no answer, or it broke off; what came is kept.
        ValueError: the answer is not a zip.
        OSError: the disk is full.
    """
    version, had = part.with_suffix(".version"), _size(part)
    known = version.read_text() if had and version.exists() else ""
    headers = {"Range": f"bytes={had}-", "If-Range": known} if known else {}
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        if known and response.status_code == 416:  # the part has all bytes, or more
            part.unlink()
            _receive(session, url, part)
            return
        response.raise_for_status()
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise ValueError(  # a login page, a café's network
                f"the address must give a zip; {url} gives a web page: open it in a browser to "
                f"see why.\n{BY_HAND}"
            )
        have = had if response.status_code == 206 else 0
        total = have + int(response.headers.get("Content-Length", 0))
        if had:
            _log(f"resuming from {_megabytes(had)}" if have else "starting again from 0 MB")
        with part.open("ab" if have else "wb") as file:
            version.write_text(_version(response))  # before the first byte
            with tqdm.wrapattr(
                file, "write", total=total or None, initial=have, desc="downloading", disable=None
            ) as bar:
                for chunk in response.iter_content(CHUNK_BYTES):
                    bar.write(chunk)


def _version(response: requests.Response) -> str:
    """Returns a value for If-Range, a strong ETag or a date (RFC 9110, 13.1.5); "" if none."""
    etag = response.headers.get("ETag", "W/")
    return response.headers.get("Last-Modified", "") if etag.startswith("W/") else etag


def _checked_sha256(zip_path: Path, *, expected: str | None) -> str:
    """Returns the file's SHA-256 in hexadecimal. ValueError: it is not the expected one."""
    with zip_path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    _log(f"sha256 {digest}, {_size(zip_path):,} bytes")
    if expected not in (None, digest):
        raise ValueError(
            f"the zip's SHA-256 must be {expected}; got {digest}: correct --sha256 and repeat the "
            f"command (nothing is downloaded twice), or delete {zip_path} to download it again"
        )
    return digest


def unpack(zip_path: Path, folder: Path) -> Path:
    """Unpacks the zip to ``folder`` and returns the one that has train/ in it, it or one below.

    zipfile keeps every path within ``folder``, makes no links, stops at the size that an entry
    declares and compares its CRC.

    Raises:
        ValueError: it is not a zip, damaged, too large or not the set, and is removed.
        OSError: no room.
    """
    shutil.rmtree(folder, ignore_errors=True)  # of an interrupted process
    folder.mkdir()
    try:
        with zipfile.ZipFile(zip_path) as file:
            size = sum(info.file_size for info in file.infolist())
            if size > MAX_BYTES:
                raise ValueError(f"{_megabytes(size)} unpacked, at most {_megabytes(MAX_BYTES)}")
            for info in tqdm(file.infolist(), desc="unpacking", unit="file", disable=None):
                file.extract(info, folder)
        for place in (folder, *sorted(folder.iterdir())):
            if (place / "train" / "NORMAL").is_dir():
                return place
        raise ValueError("there is no train/NORMAL in it")
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
        zip_path.unlink()
        raise ValueError(
            f"the file must be the set's zip, whole; it is another or damaged ({error}) and was "
            f"removed: is the address right? The same command downloads it again.\n{BY_HAND}"
        ) from error


def _size(path: Path) -> int:
    """Returns the file's size in bytes; 0 if there is none."""
    return path.stat().st_size if path.exists() else 0


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _log(line: str) -> None:
    sys.stderr.write(f"{line}\n")
