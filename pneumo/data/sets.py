"""The data sets of this package by name, by folder, and by a run's configuration. No torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pneumo.data import phantom
from pneumo.data.base import DataSet
from pneumo.data.folder import Folder
from pneumo.data.kermany import Kermany, set_folder
from pneumo.data.medmnist import MedMnist, unpacked
from pneumo.data.nih import Nih
from pneumo.data.phantom import NUM_IMAGES, Phantoms
from pneumo.data.rsna import Rsna

# Tried in this order
SETS: tuple[type[DataSet], ...] = (MedMnist, Rsna, Nih, Phantoms, Kermany, Folder)
AUTO, KERMANY = "pneumo.data.sets.auto", "pneumo.data.kermany.Kermany.open"
LOUD = (
    "GENERATED IMAGES: no real data set was found in {root}, so this run uses {count} phantoms. "
    "Its scores are no evidence about pneumonia. Get the real set with python -m pneumo.download, "
    "or name its folder: data=kermany data.root=DIR"
)


def class_of(kind: str) -> type[DataSet]:
    """Returns the class with the facts of a run's ``data.kind``; DataSet for another's set."""
    return next((each for each in SETS if each.kind == kind), DataSet)


def recognise(place: Path) -> type[DataSet] | None:
    """Returns the class of the set in a folder or file, by layout and names; None if unknown."""
    return next((each for each in SETS if each.recognises(place)), None)


def images_of(source: Mapping[Any, Any]) -> Path:
    """Returns the folder of a configuration's images, whether it exists or not.

    Args:
        source: ``data.source`` of a run's configuration, resolved; nothing in it is called.
    """
    root, cache_dir = (Path(str(source.get(key))).expanduser() for key in ("root", "cache_dir"))
    target = source.get("_target_")
    if "num_images" in source or (target == AUTO and not root.exists()):
        number, seed = source.get("num_images", NUM_IMAGES), source.get("seed", 0)
        return phantom.folder_of(cache_dir, num_images=number, seed=seed)
    if root.is_file():
        return unpacked(root, cache_dir)
    return (set_folder(root) if target in (AUTO, KERMANY) else None) or root


def auto(root: str, cache_dir: str) -> DataSet:
    """Returns the real set if ``root`` exists, otherwise the default phantoms."""
    if Path(root).expanduser().exists():
        return Kermany.open(root)
    return Phantoms.open(NUM_IMAGES, 0, cache_dir, note=LOUD.replace("{root}", root))
