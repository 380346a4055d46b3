"""The settings in which networks of one name differ, and the labels made of them."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

OF_PROTOCOL = ("chosen_", "decision", "protocol.", "data.patient_key")  # settings


class Trained(NamedTuple):
    """A network of a group, to be labelled."""

    group: str
    name: str  # of its recipe or network
    settings: Mapping[str, Any]  # flat


def labels(networks: Sequence[Trained]) -> list[str]:
    """Returns each name, with the settings that distinguish the networks of one name.

    Settings that come with the protocol are named only if networks of one group differ in nothing
    else: a network keeps its name under every protocol.
    """
    shown: dict[str, list[str]] = {}
    for name in {network.name for network in networks}:
        same = [network for network in networks if network.name == name]

        def rank(key: str, same: Sequence[Trained] = same) -> tuple[bool, bool]:
            values = [each.settings.get(key) for each in same]
            plain = all(isinstance(v, str | int | float) and "${" not in str(v) for v in values)
            return key.startswith(OF_PROTOCOL), not plain

        of_name = shown.setdefault(name, [])
        for key in sorted(varying_keys([network.settings for network in same]), key=rank):
            if _clashes([*of_name, key], same) < _clashes(of_name, same):
                of_name.append(key)
    return [_label(network, shown[network.name]) for network in networks]


def training_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings without those that come with the protocol."""
    return {k: v for k, v in settings.items() if not k.startswith(OF_PROTOCOL)}


def short(value: Any) -> str:
    """Returns a setting's value in a few characters; transforms by their names."""
    if isinstance(value, list) and value and all(isinstance(x, dict) for x in value):
        return "+".join(str(x.get("_target_")).rpartition(".")[2] for x in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def varying_keys(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the keys whose values differ."""
    keys = dict.fromkeys(key for each in settings for key in each)
    return [key for key in keys if len({repr(each.get(key)) for each in settings}) > 1]


def _label(network: Trained, keys: Sequence[str]) -> str:
    """The name and its settings by their last words, or whole keys if two end alike."""
    last = [key.removesuffix("._target_").rpartition(".")[2] for key in keys]
    words = [w if last.count(w) == 1 else k for k, w in zip(keys, last, strict=True)]
    values = [short(network.settings.get(key)) for key in keys]
    text = ", ".join(f"{word}={value}" for word, value in zip(words, values, strict=True))
    return f"{network.name} ({text})" if keys else network.name


def _clashes(keys: Sequence[str], networks: Sequence[Trained]) -> int:
    """How many pairs of differently trained networks have the same values of these settings."""
    return sum(
        all(repr(a.settings.get(key)) == repr(b.settings.get(key)) for key in keys)
        for a, b in combinations(networks, 2)
        if a.group == b.group or training_of(a.settings) != training_of(b.settings)
    )
