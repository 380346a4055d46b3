"""Objects of a configuration: building one turns each error into one line with its setting."""

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from hydra.utils import instantiate

# Warnings of albumentations, which ignores an argument, and of losses that need other targets
MISLEADING = ".* not valid for transform|Using a target size"
T = TypeVar("T")


@contextmanager
def naming(key: str) -> Iterator[None]:
    """Turns errors into a ValueError of one line that names the setting ``key``.

    So are the warnings of MISLEADING. Others come again in the run, and go to its log.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", MISLEADING)
            yield
    except Exception as error:  # foreign classes raise any
        cause = error.__cause__ or error
        reason = " ".join(str(cause).split()) or type(cause).__name__
        named = re.match(rf"{key}|\w+\.[\w.]+ must", reason)  # the message names the setting
        if isinstance(cause, ValueError | OSError) and named:
            raise ValueError(reason) from None
        if unknown := re.search(
            r"unexpected keyword argument '(\w+)'", reason
        ):  # of another choice
            reason += f". ~{key}.{unknown[1]} on the command line removes it"
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
        if isinstance(built, partial) and arguments:
            built = built(*arguments)
        if not isinstance(built, kind):
            raise ValueError(
                f"{key}._target_ must build a {kind.__name__}; {settings['_target_']} builds a "
                f"{type(built).__name__}"
            )
        return built
