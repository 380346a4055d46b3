"""How the networks of a group were trained: the settings in which their recipes differ."""

from collections.abc import Mapping, Sequence
from typing import Any

from pneumo.report.groups import Group, short, varying_keys
from pneumo.report.table import Row, Table
from pneumo.report.wording import DASH

SETTINGS = {  # of a recipe, by the last word of the key: title
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
    "scales": "Scales scored",
    "mirror": "Mirror image scored",
    "decision": "Decision rule",
    "batch_norm": "Batch normalisation",
    "num_classes": "Classes",
    "chosen_on": "Epoch chosen on",
}
CLASSES = ("optimizer", "schedule", "augment")  # named by their class
OF_NETWORK = ("batch_norm", "num_classes")  # settings of a network that are not its architecture
NOTHING = (None, "none", "None")


def recipes(group: Group) -> Table:
    """Returns a row for each setting that differs among the networks, with the value of each.

    A network with several settings is shown with its first.
    """
    values = _values(group)
    rows: list[Row] = [
        {"setting": key} | {name: values[name].get(key, DASH) for name in values}
        for key in differing(group)
    ]
    return Table({"setting": "Setting"} | {name: name for name in values}, rows)


def differing(group: Group) -> list[str]:
    """Returns the titles of the settings in which the networks' recipes differ."""
    order = list(dict.fromkeys(SETTINGS.values()))
    return sorted(varying_keys(list(_values(group).values())), key=order.index)


def _values(group: Group) -> dict[str, dict[str, str]]:
    """The values of each network by title, without those that it lacks."""
    firsts = {cell.name: cell.settings for cell in reversed(group.networks)}
    return {model: _recipe(firsts[model]) for model in reversed(firsts)}


def _recipe(settings: Mapping[str, Any]) -> dict[str, str]:
    recipe = {}
    for key, value in settings.items():
        part, _, last = key.rpartition(".")
        if last == "_target_" and part in CLASSES:
            recipe[SETTINGS[part]] = str(value).rpartition(".")[2]
        elif last in SETTINGS and value not in NOTHING and (part != "model" or last in OF_NETWORK):
            recipe[SETTINGS[last]] = _text(value, between=", " if last == "scales" else " to ")
    return recipe


def _text(value: Any, *, between: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return between.join(short(each) for each in value)
    return short(value)
