"""How the networks of a group were trained: the settings in which their recipes differ."""

from collections.abc import Mapping, Sequence
from typing import Any

from pneumo.report.groups import Group, short, varying_keys
from pneumo.report.wording import DASH

# What a recipe is told by, and its name for a reader
SETTINGS = {
    "image_size": "Image side, pixels",
    "size": "Image side, pixels",
    "batch_size": "Batch size",
    "max_epochs": "Epochs",
    "optimizer": "Optimizer",
    "lr": "Learning rate",
    "weight_decay": "Weight decay",
    "schedule": "Schedule",
    "label_smoothing": "Label smoothing",
    "precision": "Precision",
    "rotation": "Rotation, degrees",
    "zoom": "Zoom",
    "flip": "Share of flips",
    "fill": "Fill of the edges",
    "augment": "Augmentation",
    "mirror": "Mirror image scored",
    "batch_norm": "Batch normalisation",
    "num_classes": "Classes",
    "chosen_on": "Epoch chosen on",
}
CLASSES = ("optimizer", "schedule", "augment")  # told by the name of a class
OF_NETWORK = ("batch_norm", "num_classes")  # of what a network is told; else its architecture
NOTHING = (None, "none", "None")


def recipes(group: Group) -> tuple[list[str], list[dict[str, str]]]:
    """The networks' names, and a row a setting that differs among them: setting, then a value each.

    Of several settings of one network, which have rows of their own in the report, the first.
    """
    firsts = {cell.model: cell.settings for cell in reversed(group.networks)}
    names = list(dict.fromkeys(cell.model for cell in group.networks))
    told = {name: _told(firsts[name]) for name in names}
    rows = [
        {"setting": key} | {name: told[name].get(key, DASH) for name in names}
        for key in varying_keys([told[name] for name in names])
    ]
    places = list(dict.fromkeys(SETTINGS.values()))
    return names, sorted(rows, key=lambda row: places.index(row["setting"]))


def _told(settings: Mapping[str, Any]) -> dict[str, str]:
    """The values by the names of SETTINGS; what a recipe has not is not in it."""
    found = {}
    for key, value in settings.items():
        group, _, last = key.rpartition(".")
        if last == "_target_" and group in CLASSES:
            found[SETTINGS[group]] = str(value).rpartition(".")[2]
        elif last in SETTINGS and value not in NOTHING and (group != "model" or last in OF_NETWORK):
            found[SETTINGS[last]] = _words(value)
    return found


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " to ".join(short(one) for one in value)
    return short(value)
