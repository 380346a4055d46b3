"""Objects of a configuration: building one turns each error into one line with its setting."""

import inspect
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from hydra.utils import get_object, instantiate

OWN_KEYS = ("interval", "monitor")  # of a schedule's YAML that are no arguments

# What libraries warn of though the argument does what it should
HARMLESS = (
    "[A-Z]+ available but not used",  # trainer=cpu
    "The `srun` command is available",  # of the machine, as the next two
    "CUDA initialization",
    "Can't initialize NVML",
    "pkg_resources is deprecated",  # when a library is imported
    "The parameter 'pretrained' is deprecated",  # torchvision: a deprecation of another category
    "Arguments other than a weight enum",  # the same
    "Got processor for bboxes",  # albumentations: of transforms that move no box
    "ShiftScaleRotate is a special case",  # the same: advice
)
T = TypeVar("T")


@contextmanager
def naming(key: str) -> Iterator[None]:
    """Turns what goes wrong into a ValueError of one line that names the setting ``key``.

    Warnings of the category UserWarning are errors, too: a library gives them for an argument that
    it ignores. Others, such as deprecations, come again in the run, and go to its log.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", UserWarning)
            for message in HARMLESS:
                warnings.filterwarnings("ignore", message)
            yield
    except Exception as error:  # foreign classes raise any
        cause = error.__cause__ or error
        reason = " ".join(str(cause).split()) or type(cause).__name__
        named = re.match(rf"{key}|\w+\.[\w.]+ must", reason)  # the message names the setting
        if isinstance(cause, ValueError | OSError) and named:
            raise ValueError(reason) from None
        raise ValueError(f"{key} cannot be used as it is set: {reason}") from None


def build(key: str, settings: Mapping[str, Any], kind: type[T], *arguments: Any) -> T:
    """Returns the object of settings with a _target_.

    Args:
        key: of the settings, for the message.
        settings: _target_ and its arguments, plain.
        kind: of the object.
        arguments: of a _partial_ target; without them the partial itself is returned.

    Raises:
        ValueError: it cannot be built, or is of another kind.
    """
    with naming(key):
        built = instantiate(settings)
        if isinstance(built, partial):
            inspect.signature(built.func).bind_partial(**built.keywords)  # TypeError for others
            built = built(*arguments) if arguments else built
        if not isinstance(built, kind):
            raise ValueError(
                f"{key}._target_ must build a {kind.__name__}; {settings['_target_']} builds a "
                f"{type(built).__name__}"
            )
        return built


def check_arguments(key: str, settings: Mapping[str, Any]) -> None:
    """Raises ValueError if a _target_, which is not called, does not take its arguments."""
    arguments = {name: value for name, value in settings.items() if not name.startswith("_")}
    with naming(key):
        inspect.signature(get_object(settings["_target_"])).bind(**arguments)


def is_a(kind: type, settings: Mapping[str, Any]) -> bool:
    """Returns whether the _target_ of a model's settings is a class of this kind."""
    with naming("model"):
        target = get_object(settings["_target_"])  # a class, or a function that builds a network
    return isinstance(target, type) and issubclass(target, kind)


def schedule_settings(config: Mapping[str, Any], *, num_steps: int) -> dict[str, Any]:
    """Returns the arguments of the schedule; total_steps, where it is null, is ``num_steps``.

    Raises:
        ValueError: the schedule ends before the run, where torch would break it off.
    """
    settings = {key: value for key, value in config["schedule"].items() if key not in OWN_KEYS}
    if "total_steps" in settings:
        settings["total_steps"] = total = settings["total_steps"] or num_steps
        if total < num_steps:
            raise ValueError(
                f"schedule.total_steps must be at least the {num_steps} steps of the run; got "
                f"{total}. null takes all of them"
            )
    return settings
