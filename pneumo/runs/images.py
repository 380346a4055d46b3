"""Where the images of a run's data set lie; nothing is generated or downloaded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pneumo.data import medmnist, phantom
from pneumo.data.kermany import set_folder


def source_folder(config: Mapping[str, Any]) -> Path | None:
    """Returns the folder that data.source of a configuration names, or None if unknown."""
    try:
        data = OmegaConf.create({"data": config["data"]}).data
        source = OmegaConf.to_container(data.source, resolve=True)
        return _folder(source if isinstance(source, dict) else {})
    # OSError of a name that is too long, RuntimeError of ~nosuchuser
    except (OmegaConfBaseException, KeyError, AttributeError, ValueError, OSError, RuntimeError):
        return None


def _folder(source: Mapping[Any, Any]) -> Path | None:
    kind = str(source.get("_target_")).removeprefix("pneumo.data.base.")
    root = Path(str(source.get("root"))).expanduser()
    cache_dir = Path(str(source.get("cache_dir"))).expanduser()
    if kind == "kermany" or (kind == "auto" and root.exists()):
        return set_folder(root)
    if kind in ("folder", "pneumo.data.rsna.rsna"):
        return root
    if kind == "medmnist":
        return medmnist.unpacked(root, cache_dir) if root.is_file() else None
    if kind not in ("auto", "phantom"):
        return None
    number, seed = source.get("num_images", phantom.NUM_IMAGES), source.get("seed", 0)
    return cache_dir / f"phantom-{phantom.VERSION}-{number}-{seed}"
