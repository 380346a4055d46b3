"""Where the images come from: the real set or generated ones; said, never guessed silently."""

import logging
from dataclasses import dataclass
from pathlib import Path

from pneumo import phantom as generator
from pneumo.index import set_folder

log = logging.getLogger(__name__)

LOUD = (
    "GENERATED IMAGES: no real data set was found in {root}, so this run uses {count} phantoms. "
    "Its scores say nothing about pneumonia. Get the real set with python -m pneumo.download, or "
    "name its folder: data=kermany data.root=DIR"
)
QUIET = "GENERATED IMAGES: {count} phantoms. Scores on them say nothing about pneumonia."


@dataclass(frozen=True)
class Source:
    """A folder of images in the layout of the set."""

    root: Path  # holds train/ and test/
    kind: str  # kermany or phantom
    note: str | None = None  # what must be said at the start and the end of a run


def kermany(root: str) -> Source:
    """Returns the real set in ``root``, never another.

    Raises:
        FileNotFoundError: there is no such folder, or it holds no train/ or test/.
    """
    folder = Path(root).expanduser()
    found = set_folder(folder)
    if found is None:
        what = "it holds neither train/ nor test/" if folder.is_dir() else "there is no such folder"
        raise FileNotFoundError(
            f"data.root must be the folder of the data set, which holds train/ and test/; got "
            f"{root}: {what}. Get the set with python -m pneumo.download, or train on generated "
            "images: data=phantom"
        )
    return Source(found, "kermany")


def phantom(num_images: int, seed: int, cache_dir: str, *, note: str = QUIET) -> Source:
    """Returns ``num_images`` generated radiographs, kept in ``cache_dir`` for the next run."""
    folder = Path(cache_dir).expanduser() / f"phantom-{generator.VERSION}-{num_images}-{seed}"
    root = generator.generate(folder, num_images=num_images, seed=seed)
    return Source(root, "phantom", note.format(count=num_images, root=""))


def auto(root: str, cache_dir: str) -> Source:
    """Returns the real set where ``root`` exists, otherwise the default phantoms."""
    if Path(root).expanduser().exists():
        return kermany(root)
    note = LOUD.replace("{root}", root)
    return phantom(generator.NUM_IMAGES, 0, cache_dir, note=note)
