import shutil
import sys
import tomllib
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pneumo import __main__ as command
from pneumo import __version__, cli
from tests.conftest import ROOT, Capture, Patch, start


def test_help_has_a_line_for_each_verb_that_fits_and_is_a_module() -> None:
    lines = command.help_text().splitlines()
    assert [line for line in lines if len(line) > 79] == []
    assert [line.split()[0] for line in lines if line.startswith("  ")] == list(command.VERBS)
    for verb in command.VERBS:
        assert find_spec(cli.MODULES.get(verb, f"pneumo.{verb}"))
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"pneumo": "pneumo.__main__:main"}


SLOW = {"torch", "pytorch_lightning", "hydra", "numpy", "pandas", "PIL", "matplotlib", "requests"}
MISSING = ["calibrate no/run --data .", "evaluate . --data no/images", "audit no/set", "report no"]
QUICK = [  # module, arguments and exit code
    *(("pneumo", words, 0) for words in ("", "--help", "--version", "-sc query=bash")),
    *(("pneumo", words, 2) for words in ("predct", "evaluate --no-such-option")),
    *((f"pneumo.{verb}", "--help", 0) for verb in command.VERBS),
    *((f"pneumo.{line.split()[0]}", line.partition(" ")[2], 2) for line in MISSING),
]
CALLS = """
import contextlib, io, runpy, sys
for module, words, code in {calls}:
    sys.argv, shown, end = [module, *words.split()], io.StringIO(), 0
    try:
        with contextlib.redirect_stderr(shown):
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as left:
        end = left.code or 0
    last = shown.getvalue().splitlines()[-1:]
    assert end == code, (module, words, end, last)
    assert not code or "error: " in last[0], (module, words, last)
    assert " no" not in f" {{words}}" or last[0].startswith("error: "), (module, words, last)
    assert not {slow} & set(sys.modules), (module, words, {slow} & set(sys.modules))
"""


def test_quick_answers_import_nothing_slow() -> None:
    code = CALLS.format(calls=QUICK, slow=SLOW)
    done = start(sys.executable, "-c", code, COMP_LINE="pneumo e")
    assert (done.returncode, done.stderr) == (0, "")


def test_reports_and_facts_of_data_sets_need_no_torch() -> None:
    code = "import sys, pneumo.data.sets, pneumo.report.__main__, pneumo.report.report_folder\n"
    heavy = {"torch", "pytorch_lightning", "hydra", "matplotlib.pyplot"}
    code += f"sys.exit(', '.join({heavy} & set(sys.modules)) or 0)"
    done = start(sys.executable, "-c", code)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_error_is_red_on_a_terminal(capsys: Capture, monkeypatch: Patch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    for no_color, shown in (("", "\x1b[31merror: [bold]no\x1b[0m\n"), ("1", "error: [bold]no\n")):
        monkeypatch.setenv("NO_COLOR", no_color)
        cli.error("[bold]no")
        assert capsys.readouterr().err == shown


def test_an_unknown_verb_gets_the_nearest_one(capsys: Capture, monkeypatch: Patch) -> None:
    monkeypatch.setattr(sys, "argv", ["pneumo", "--version"])
    assert command.main() == 0
    assert capsys.readouterr().out == f"pneumo {__version__}\n"
    for typed, meant in (("predct", "predict"), ("trian", "train"), ("heat", "heatmap")):
        monkeypatch.setattr(sys, "argv", ["pneumo", typed])
        assert command.main() == 2
        shown = capsys.readouterr().err
        assert shown.startswith("error: the verb must be one of download, audit, train")
        assert shown.endswith(f"got {typed!r}. Did you mean {meant}?\n")
        assert shown.count("\n") == 1


def test_the_bounds_admit_what_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {canonicalize_name(name): version for name, version in (x.split("==") for x in lines)}
    for bound in map(Requirement, bounds):
        version = pinned.get(canonicalize_name(bound.name))
        assert version is None or bound.specifier.contains(version), f"{bound}, pinned {version}"
    assert "pytorch-lightning!=2.6.2,!=2.6.3,<2.7,>=2.6" in map(str, map(Requirement, bounds))


COMPLETE = """
PATH={bin}:$PATH
eval "$(pneumo -sc install=bash)"
COMP_LINE={line!r} COMP_POINT=${{#COMP_LINE}}
words=($COMP_LINE)
COMP_CWORD=$(( ${{#words[@]}} - 1 ))
hydra_bash_completion
echo "${{COMPREPLY[@]}}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("pneumo e", "evaluate export"),
        ("pneumo evaluate pneu", "pneumo"),  # a file
        pytest.param("pneumo train -m seed=1 model=ti", "model=tiny", marks=pytest.mark.slow),
        pytest.param("pneumo train trainer.max_ep", "trainer.max_epochs=", marks=pytest.mark.slow),
    ],
)
def test_bash_completes(tmp_path: Path, line: str, wanted: str) -> None:
    script = tmp_path / "pneumo"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m pneumo "$@"\n')
    script.chmod(0o755)
    done = start("bash", "-c", COMPLETE.format(bin=tmp_path, line=line), cwd=tmp_path)
    assert (done.stdout.strip(), done.returncode) == (wanted, 0), done.stderr


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["pretrained:compact-robust"], ["compact-robust"]),
        (["docs/runs/model=tiny,seed=0,data=kermany"], ["tiny,seed=0,data=…"]),
        (["s/m=a,pretrained=True,x=1", "s/m=a,pretrained=True,x=2"], ["x=1", "x=2"]),
        (["a/b/", "c"], ["a,b", "c"]),
        (["s/one", "s/one/last"], ["s/one", "last"]),
        (["here/model=svm,seed=0", "there/model=svm,seed=1"], ["here,seed=0", "there,seed=1"]),
        (
            ["a_run_of_a_long_name_1", "a_run_of_a_long_name_2"],
            ["…_of_a_long_name_1", "…_of_a_long_name_2"],
        ),
        (
            [f"s/model={m},optimizer.lr=0.00{n},seed={n}" for m in ("a", "b") for n in (1, 2)],
            [f"{m},optimizer.lr=0.00{n},seed={n}" for m in ("a", "b") for n in (1, 2)],
        ),
        (["/x/model=tiny,seed=0", "pretrained:compact-robust"], ["tiny,seed=0", "compact-robust"]),
        (
            ["x/compact-robust", "pretrained:compact-robust"],
            ["compact-robust", "pretrained:compact-robust"],
        ),
    ],
)
def test_short_names_of_runs_are_what_differs(names: list[str], short: list[str]) -> None:
    by_name = cli.short_names(names, width=18)
    assert list(by_name) == names
    assert list(by_name.values()) == short
