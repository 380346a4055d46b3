"""The help of python -m pneumo.train, printed before Hydra is imported."""

import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import yaml

PACKAGE = Path(__file__).parents[1]
CONF = next(p for p in (PACKAGE.parent / "conf", PACKAGE / "conf") if (p / "train.yaml").is_file())


def parse(arguments: Sequence[str]) -> None:
    """Prints the help and exits with 0 if --help is the only argument; Hydra parses others."""
    if list(arguments) in (["--help"], ["-h"]):
        sys.stdout.write(help_text())
        raise SystemExit(0)


def help_text() -> str:
    """Returns Hydra's own --help, wrapped and a second faster: no choice is loaded."""
    primary = yaml.safe_load((CONF / "train.yaml").read_text())
    template: str = primary["hydra"]["help"]["template"]
    # conf/base is not among them: its files are parts of choices
    defaults = [entry for entry in primary["defaults"] if isinstance(entry, dict)]
    groups = sorted(CONF / name for entry in defaults for name in entry if (CONF / name).is_dir())
    lines = [f"{g.name}: {', '.join(sorted(p.stem for p in g.glob('*.yaml')))}" for g in groups]
    wrap = textwrap.TextWrapper(80, subsequent_indent="  ", break_on_hyphens=False)
    text = "".join(wrap.fill(line) + "\n" for line in lines)
    return template.replace("$APP_CONFIG_GROUPS", text) + "\n"
