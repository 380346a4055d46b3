"""Fetches the public chest X-rays and unpacks them to the default folder of ``data=auto``.

The zip comes without an account from the data set's page (Kermany, Zhang, Goldbaum: "Labeled
Optical Coherence Tomography (OCT) and Chest X-Ray Images for Classification", CC BY 4.0,
https://doi.org/10.17632/rscbjbr9sj). Its authors publish no checksum that we know of: the CRC of
every file in it is checked, and its SHA-256 is kept in SOURCE.json.
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
from datetime import UTC, datetime
from pathlib import Path

from pneumo import cli

if __name__ == "__main__":  # --help and wrong arguments need none of the following imports
    raise SystemExit(cli.start("download"))

import requests
from filelock import FileLock, Timeout
from requests.adapters import HTTPAdapter
from tqdm import tqdm
from urllib3.util import Retry

from pneumo import __version__
from pneumo.arguments.download import BY_HAND, DOI

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


@cli.command("download", stopped="\nstopped; the same command again resumes there")
def main(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    target = Path(os.path.realpath(args.to))
    download(args.url, target=target)
    sys.stdout.write(
        f"done: {target}\ntrain on it: python -m pneumo.train data=kermany "
        f"data.root={shlex.quote(str(target))}\n"
    )
    return 0


def download(url: str, *, target: Path) -> None:
    """Fills ``target`` with the images of the zip at ``url``, all of them or none.

    Args:
        url: http or https address of the zip.
        target: absolute; new or an empty folder. Unfinished files are beside it, in .download.

    Raises:
        ValueError: with the reason and what to do.
        OSError: no room or permission.
    """
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise ValueError(
            f"the target must be new or an empty folder, nothing is overwritten; {target} exists: "
            "use it as it is, move it away, or choose another with --to"
        )
    work = target.with_name(f"{target.name}.download")
    # named by the address, so that no other's zip is used
    zip_path = work / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.zip"
    work.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(work / "lock", timeout=0):
            try:
                _fill(target, url, zip_path, work / "unpacked")
            finally:
                shutil.rmtree(work / "unpacked", ignore_errors=True)
    except Timeout:
        raise ValueError(
            f"only one download may write {work}; another one does: wait for it, or choose "
            "another folder with --to"
        ) from None
    shutil.rmtree(work, ignore_errors=True)


def _fill(target: Path, url: str, zip_path: Path, unpacked: Path) -> None:
    if not zip_path.exists():
        fetch(url, zip_path)
    folder = unpack(zip_path, unpacked)
    with zip_path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    source = {
        "url": requests.utils.urldefragauth(url),  # without a password
        "doi": DOI,
        "size": zip_path.stat().st_size,
        "sha256": digest,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    (folder / "SOURCE.json").write_text(json.dumps(source, indent=2) + "\n", "utf-8")
    if target.exists():  # Windows renames no folder to one that exists
        target.rmdir()
    folder.rename(target)


def fetch(url: str, zip_path: Path) -> None:
    """Writes the file at ``url``, in as many requests as it takes.

    Raises ValueError if a request brings no byte; the part stays beside ``zip_path``.
    """
    part = zip_path.with_suffix(".part")
    part.touch()
    sys.stderr.write(f"downloading {url}\n")
    with requests.Session() as session:
        session.headers["Accept-Encoding"] = "identity"  # ranges of packed bytes would differ
        session.headers["User-Agent"] = f"pneumo/{__version__} (https://doi.org/{DOI})"
        for scheme in ("https://", "http://"):
            session.mount(scheme, HTTPAdapter(max_retries=RETRIES))
        is_whole = False
        while not is_whole:
            before = part.stat().st_size
            try:
                _receive(session, url, part)
                is_whole = True
            except requests.RequestException as error:
                cause: BaseException = error
                while cause.__context__:  # requests and urllib3 wrap it up to four times
                    cause = cause.__context__
                have = part.stat().st_size
                if have <= before:
                    raise ValueError(
                        f"the zip could not be downloaded; {url}: {cause}. The same command "
                        f"resumes from {_megabytes(have)}.\n{BY_HAND}"
                    ) from error
                sys.stderr.write(f"the connection was lost ({cause})\n")
    part.rename(zip_path)


def _receive(session: requests.Session, url: str, part: Path) -> None:
    """Appends the rest to ``part``, or writes it from the beginning if the server has no ranges.

    If the file at the address has changed, `unpack` finds a wrong CRC.

    Raises:
        requests.RequestException: there was no answer, or it broke off; what came is kept.
        ValueError: the answer is not a zip.
        OSError: the disk is full.
    """
    had = part.stat().st_size
    headers = {"Range": f"bytes={had}-"} if had else {}
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        if had and response.status_code == 416:  # the part has all bytes, or more
            return
        response.raise_for_status()
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise ValueError(  # a login page, a café's network
                f"the address must return a zip; {url} returns a web page: open it in a browser to "
                f"see why.\n{BY_HAND}"
            )
        have = had if response.status_code == 206 else 0
        total = have + int(response.headers.get("Content-Length", 0))
        if had:
            sys.stderr.write(f"resuming from {_megabytes(have)}\n")
        with (
            part.open("ab" if have else "wb") as file,
            tqdm.wrapattr(
                file, "write", total=total or None, initial=have, desc="downloading", disable=None
            ) as bar,
        ):
            for chunk in response.iter_content(CHUNK_BYTES):
                bar.write(chunk)


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
            f"the file must be the complete zip of the set; it is another or damaged ({error}) and "
            f"was removed. Check the address; the same command downloads it again.\n{BY_HAND}"
        ) from error


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
