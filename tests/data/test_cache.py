import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from pneumo.data import cache, image
from tests.conftest import Patch


@pytest.fixture
def folder(tmp_path: Path) -> tuple[Path, list[str]]:
    random = np.random.default_rng(0)
    names = [f"{number}.png" for number in range(12)]
    for name in names:
        pixels = random.integers(0, 256, (50, 40), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    return tmp_path, names


def load(folder: tuple[Path, list[str]], where: Path, **options: int) -> cache.Cache:
    return cache.load(*folder, cache_dir=where, image_size=32, **options)  # type: ignore[arg-type]


def test_the_cache_holds_images_by_what_they_depend_on(folder: tuple[Path, list[str]]) -> None:
    root, names = folder
    found = load(folder, root / "cache")
    for number, name in enumerate(names):
        pixels = image.prepare((root / name).read_bytes(), size=32)
        assert (found.images[number] == pixels).all()
    mean, std = cache.statistics(found, np.arange(3, 9))
    assert mean == pytest.approx(found.images[3:9].mean())
    assert std == pytest.approx(found.images[3:9].std())

    def key(paths: list[str] = names, size: int = 32, aspect: str = "stretch") -> str:
        return cache.key(root, paths, image_size=size, aspect=aspect)

    before = key()
    os.utime(root / names[0], ns=(1, 1))
    assert len({before, key(), key(size=64), key(aspect="pad"), key(names[1:])}) == 5


def test_unreadable_images_are_listed_and_nothing_is_left(folder: tuple[Path, list[str]]) -> None:
    root, names = folder
    for name in names[:7]:
        (root / name).write_bytes(b"")
    with pytest.raises(ValueError, match=r"7 of 12 are not:\n  0\.png: .*\n(.*\n)+  and 2 more"):
        load(folder, root / "cache")
    assert {path.suffix for path in (root / "cache").iterdir()} <= {".lock"}


def _load_slowly(root: Path, names: list[str], where: Path) -> None:
    decode = image.decode

    def slow(data: bytes, **settings: Any) -> np.ndarray:
        time.sleep(0.1)
        return decode(data, **settings)

    image.decode = slow
    cache.load(root, names, cache_dir=where, image_size=32)


def test_killed_or_at_once_does_no_harm(folder: tuple[Path, list[str]]) -> None:
    where = folder[0] / "cache"
    context = multiprocessing.get_context("spawn")
    first, second = (context.Process(target=_load_slowly, args=(*folder, where)) for _ in range(2))
    first.start()
    while first.is_alive() and not list(where.glob("*.tmp")):
        time.sleep(0.02)
    assert first.pid
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    assert not list(where.glob("*.u8"))
    second.start()
    found = load(folder, where)  # waits for the other, or is waited for
    second.join()
    assert second.exitcode == 0
    assert (found.images[3] == image.prepare((folder[0] / "3.png").read_bytes(), size=32)).all()
    assert not list(where.glob("*.tmp"))


def test_a_whole_cache_is_only_read(folder: tuple[Path, list[str]], monkeypatch: Patch) -> None:
    first = load(folder, folder[0] / "cache")

    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(cache, "FileLock", read_only)
    monkeypatch.setattr(image, "decode", None)
    second = load(folder, folder[0] / "cache")
    assert second.digests == first.digests
    assert (first.images == second.images).all()
    with pytest.raises(ValueError, match=r"data\.cache_dir must .* with room .*: Read-only file"):
        load((folder[0], folder[1][1:]), folder[0] / "cache")


def test_partial_files_of_interrupted_processes_are_cleared(folder: tuple[Path, list[str]]) -> None:
    where = folder[0] / "cache"
    where.mkdir()
    for name in ("images-32-dead.tmp", "images-32-alive.tmp"):
        (where / name).write_text("")
    with FileLock(where / "images-32-alive.lock"):
        load(folder, where)
    assert [path.name for path in where.glob("*.tmp")] == ["images-32-alive.tmp"]
