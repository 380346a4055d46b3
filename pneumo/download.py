"""Fetches the public chest X-rays and unpacks them to where ``data=auto`` looks for them.

The zip comes without an account from the data set's page (Kermany, Zhang, Goldbaum: "Labeled
Optical Coherence Tomography (OCT) and Chest X-Ray Images for Classification", CC BY 4.0,
https://doi.org/10.17632/rscbjbr9sj). Its authors publish no checksum that we know of, so the
size, the CRC of every file in it and, where the caller gives one, a SHA-256 are what is checked.

requests does redirects, proxies, time limits and retries, tqdm the bars, zipfile the safe paths and
the CRC. Resuming a part (Range, If-Range) is done here, since neither pooch nor torchvision nor
requests does.
"""

import argparse
import errno
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

TIMEOUT_S = 30.0  # silence on the line that counts as a broken connection
RETRIES = Retry(  # of a request without an answer, or with one that asks to come back
    total=3,
    backoff_factor=0.5,  # they wait 0, 1 and 2 s
    status_forcelist=(408, 429, 500, 502, 503, 504),
    raise_on_status=False,  # requests tells it more clearly
    respect_retry_after_header=False,  # which may be hours
)
CHUNK_BYTES = 1 << 14  # requests drops what it has of a chunk when the connection breaks
MAX_BYTES = 8_000_000_000  # unpacked; the set has 1.2 GB, so more is another file


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    given = parse(arguments)
    stopped = "\nstopped; the same command again resumes there"
    return cli.run(lambda: _command(given), stopped=stopped)


def _command(given: argparse.Namespace) -> int:
    target = Path(os.path.realpath(given.to))
    download(given.url, target=target, sha256=given.sha256, keep_zip=given.keep_zip)
    sys.stdout.write(
        f"done: {target}\ntrain on it: python -m pneumo.train data=kermany "
        f"data.root={shlex.quote(str(target))}\n"
    )
    return 0


def download(url: str, *, target: Path, sha256: str | None, keep_zip: bool) -> None:
    """Fills ``target`` with the images of the zip at ``url``, all of them or none.

    Args:
        url: http or https address of the zip.
        target: absolute; new or an empty folder. What is not done yet is beside it, in .download.
        sha256: of the zip, 64 lower-case hexadecimal digits; None: not known.
        keep_zip: whether to leave the zip at ``target`` + ``.zip``.

    Raises:
        ValueError: with the reason and the way out.
    """
    _check_new(target, keep_zip=keep_zip)
    work = target.with_name(f"{target.name}.download")
    # of this address, so that no other's zip is taken for it
    zip_path = work / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.zip"
    try:
        work.mkdir(parents=True, exist_ok=True)
        with FileLock(work / "lock", timeout=0):
            _fill(target, zip_path, url=url, sha256=sha256, keep_zip=keep_zip)
    except Timeout:
        raise ValueError(
            f"only one download may write {work}; another one does: wait for it, or choose "
            "another folder with --to"
        ) from None
    except OSError as error:
        raise ValueError(
            f"the folder around {target} must be writable, with room for the zip and the images; "
            f"{error.filename or work}: {error.strerror}; {_kept(zip_path)}. Make room, or choose "
            "another with --to"
        ) from error


def _check_new(target: Path, *, keep_zip: bool) -> None:
    """Raises ValueError where something would be overwritten."""
    is_empty = target.is_dir() and not target.is_mount() and not any(target.iterdir())
    if target.exists() and not is_empty:
        raise ValueError(
            f"the target must be new or an empty folder within a disk, nothing is overwritten; "
            f"{target} is not: use it as it is, move it away, or choose another with --to"
        )
    zip_kept = target.with_name(f"{target.name}.zip")
    if keep_zip and zip_kept.exists():
        raise ValueError(
            f"nothing is overwritten; {zip_kept} exists: move it away, or leave out --keep-zip"
        )


def _fill(target: Path, zip_path: Path, *, url: str, sha256: str | None, keep_zip: bool) -> None:
    """Does the work of download in the folder of ``zip_path``; leaves there what is of use."""
    work, unpacked = zip_path.parent, zip_path.with_name("unpacked")
    try:
        if not zip_path.exists():
            fetch(url, zip_path)
        digest = _checked_sha256(zip_path, expected=sha256)
        found = unpack(zip_path, unpacked)
        _write_source(found, url=url, size=_size(zip_path), sha256=digest)
        if target.exists():  # Windows renames no folder to one that exists
            target.rmdir()
        found.rename(target)
        if keep_zip:
            zip_path.rename(target.with_name(f"{target.name}.zip"))
        shutil.rmtree(work, ignore_errors=True)  # Windows keeps the lock, which is open
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
        if {path.name for path in work.glob("*")} <= {"lock"}:
            shutil.rmtree(work, ignore_errors=True)


def fetch(url: str, zip_path: Path) -> None:
    """Writes the file at ``url``, in as many requests as it takes.

    Every request but the last must bring more than there was, else the ValueError says why, and
    what there is stays beside ``zip_path`` for the next call.
    """
    part = zip_path.with_suffix(".part")
    _say(f"fetching {url}")
    with _session(url) as session:
        while True:
            before = _size(part)
            try:
                _receive(session, url, part)
                break
            except requests.RequestException as error:
                if _size(part) <= before:
                    raise ValueError(f"{_reason(url, error)}; {_kept(part)}.\n{BY_HAND}") from error
                _say(f"the connection broke off ({_root(error)})")
    part.rename(zip_path)
    part.with_suffix(".version").unlink()


def _session(url: str) -> requests.Session:
    """Returns what asks for ``url`` and what it redirects to; from https, to https only."""
    session = requests.Session()
    session.headers["Accept-Encoding"] = "identity"  # a range of packed bytes is another one
    session.headers["User-Agent"] = f"pneumo/{__version__} (https://doi.org/{DOI})"
    session.adapters.clear()
    for scheme in ("https://",) if url.lower().startswith("https:") else ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(max_retries=RETRIES))
    return session


def _reason(url: str, error: requests.RequestException) -> str:
    rule = "there must be a connection to the server that lasts"
    if isinstance(error, ValueError):  # requests' errors on addresses
        rule = "the address must be a whole one of http or https, and https may not lead to http"
    elif isinstance(error, requests.HTTPError):
        rule = "the server must give the file"
    return f"{rule}; {url}: {_root(error)}"


def _root(error: BaseException) -> BaseException:
    """Returns what went wrong first, which requests and urllib3 wrap up to four times."""
    return error if error.__context__ is None else _root(error.__context__)


def _receive(session: requests.Session, url: str, part: Path) -> None:
    """Appends what ``part`` lacks, or writes it anew where that cannot be.

    Beside it is noted which version the bytes are of; where the server names none, nothing is
    appended, since the rest may be another file's.

    Raises:
        requests.RequestException: there was no answer, or it broke off; what came is kept.
        ValueError: the answer is no zip. OSError: the disk does not take it.
    """
    response, have = _ask(session, url, part)
    with response:
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise ValueError(  # a login page, a café's network
                f"the address must give a zip; {url} gives a web page: open it in a browser to "
                f"see what it asks for; {_kept(part)}.\n{BY_HAND}"
            )
        total = have + int(response.headers.get("Content-Length", 0))
        _check_space(part.parent, 2 * total - have)
        if have:
            _say(f"resuming from {_megabytes(have)}")
        elif _size(part):
            _say("from the beginning again: what there is cannot be resumed")
        with part.open("ab" if have else "wb") as file:
            # now that the old bytes are gone and no new one has come
            part.with_suffix(".version").write_text(_version(response))
            with tqdm.wrapattr(
                file, "write", total=total or None, initial=have, desc="downloading", disable=None
            ) as written:
                for chunk in response.iter_content(CHUNK_BYTES):
                    written.write(chunk)


def _ask(session: requests.Session, url: str, part: Path) -> tuple[requests.Response, int]:
    """Returns an answer below 400, and the number of bytes of ``part`` that it resumes."""
    have, known = _size(part), _known(part)
    if known:
        headers = {"Range": f"bytes={have}-", "If-Range": known}
        response = session.get(url, headers=headers, stream=True, timeout=TIMEOUT_S)
        if _goes_on(response, have=have, known=known):
            return response, have
        if response.status_code == 200:
            return response, 0
        response.close()  # a range of another version, or none where ours ends
    response = session.get(url, stream=True, timeout=TIMEOUT_S)
    response.raise_for_status()
    return response, 0


def _goes_on(response: requests.Response, *, have: int, known: str) -> bool:
    """Returns whether the answer is all that comes after ``have`` bytes of the version known."""
    total = have + int(response.headers.get("Content-Length", 0))
    return (
        response.status_code == 206
        and response.headers.get("Content-Range") == f"bytes {have}-{total - 1}/{total}"
        and _version(response) in (known, "")  # it need not be said again
    )


def _known(part: Path) -> str:
    """Returns the _version that ``part`` is of; empty: not known, or there is no part."""
    note = part.with_suffix(".version")
    return note.read_text() if _size(part) and note.exists() else ""


def _version(response: requests.Response) -> str:
    """Returns what If-Range takes, a strong ETag or a date (RFC 9110, 13.1.5); empty: none."""
    etag = response.headers.get("ETag", "W/")
    return response.headers.get("Last-Modified", "") if etag.startswith("W/") else etag


def _checked_sha256(zip_path: Path, *, expected: str | None) -> str:
    """Returns the file's SHA-256 in hexadecimal. ValueError: it is not the expected one."""
    with zip_path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    _say(f"sha256 {digest}, {_size(zip_path):,} bytes")
    if expected not in (None, digest):
        raise ValueError(
            f"the zip's SHA-256 must be {expected}; got {digest}: correct --sha256 and give the "
            f"command again (nothing is fetched twice), or delete {zip_path} to fetch it anew"
        )
    return digest


def unpack(zip_path: Path, folder: Path) -> Path:
    """Unpacks the zip to ``folder`` and returns the one that has train/ in it, it or one below.

    zipfile keeps every path within ``folder``, makes no links, stops at the size that an entry
    declares and compares its CRC.

    Raises:
        ValueError: it is no zip, damaged, too large or not the set, and was removed.
        OSError: no room.
    """
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
    folder.mkdir()
    try:
        with zipfile.ZipFile(zip_path) as file:
            size = sum(info.file_size for info in file.infolist())
            if size > MAX_BYTES:
                raise ValueError(f"{_megabytes(size)} unpacked, of {_megabytes(MAX_BYTES)} allowed")
            _check_space(zip_path.parent, size)
            for info in tqdm(file.infolist(), desc="unpacking", unit="file", disable=None):
                file.extract(info, folder)
        for found in (folder, *sorted(folder.iterdir())):
            if (found / "train" / "NORMAL").is_dir():
                return found
        raise ValueError("there is no train/NORMAL in it")
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
        zip_path.unlink()
        raise ValueError(
            f"the file must be the set's zip, whole; it is another or damaged ({error}) and was "
            f"removed: is the address the right one? The same command fetches it anew.\n{BY_HAND}"
        ) from error


def _write_source(folder: Path, *, url: str, size: int, sha256: str) -> None:
    """Writes SOURCE.json: where the images are from. size: of the zip, bytes; date: UTC."""
    source = {
        "url": requests.utils.urldefragauth(url),  # without a password
        "doi": DOI,
        "size": size,
        "sha256": sha256,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    (folder / "SOURCE.json").write_text(json.dumps(source, indent=2) + "\n", encoding="utf-8")


def _check_space(folder: Path, size: int) -> None:
    """Raises OSError where ``folder``'s disk does not take ``size`` bytes more."""
    free = shutil.disk_usage(folder).free
    if free < size:
        said = f"{_megabytes(size)} must be free; {_megabytes(free)} are"
        raise OSError(errno.ENOSPC, said, str(folder))


def _kept(path: Path) -> str:
    """Returns a clause on what the next call can resume, of the zip or its part."""
    part, zip_path = path.with_suffix(".part"), path.with_suffix(".zip")
    num_bytes = _size(part) if _known(part) else _size(zip_path)
    if not num_bytes:
        return "nothing was kept to resume from"
    return f"{_megabytes(num_bytes)} are kept, from which the same command resumes"


def _size(path: Path) -> int:
    """Returns the file's size in bytes; 0 if there is none."""
    return path.stat().st_size if path.exists() else 0


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
