"""Arguments between the user and Hydra: what is resumed, and refused."""

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from pneumo.training import hydra_cli, sweep


def test_new_arguments_take_the_place_of_those_a_sweep_began_with(tmp_path: Path) -> None:
    before = ["launcher=joblib", "hydra.launcher.n_jobs=2", "seed=0,1", "model=tiny"]
    sweep.begin(tmp_path, before)
    assert hydra_cli.hydra_arguments([f"sweep={tmp_path}", "seed=0,1,2", "launcher=basic"]) == [
        *("--multirun", "model=tiny", f"hydra.sweep.dir='{tmp_path}'"),
        *("seed=0,1,2", "launcher=basic"),
    ]


def test_a_run_to_start_from_needs_no_quotes() -> None:
    run = "multirun/model=tiny,seed=0"
    assert hydra_cli.hydra_arguments([f"init={run}", f"init='{run}'", "init=pretrained:x"]) == [
        *(f"init='{run}'", f"init='{run}'", "init=pretrained:x")
    ]


def name(overrides: list[str], folder: Path = Path("none")) -> str:
    return hydra_cli.folder_name("model=tiny,seed=0", OmegaConf.create(overrides), str(folder))


def test_a_folder_is_named_by_what_its_sweep_began_without(tmp_path: Path) -> None:
    first = ["model=tiny,small", "data=phantom", "augment.zoom=[1,2]", "a='x, y'", "data.root=r,s"]
    sweep.begin(tmp_path, first, [["model=tiny", "data.root=r"]])
    same = ["model=tiny", "a='x, y'", "augment.zoom=[1,2]", "data=phantom"]
    for more, left in (
        (same, ""),
        ([*same, "optimizer.lr=0.1", "num_threads=2"], ",optimizer.lr=0.1"),
        ([*same, "data.root=/r"], ",data.root=%2Fr"),  # which the sweep varies
        (["augment.zoom=[1,2]", "data=phantom2"], ",data=phantom2"),  # of one that was extended
    ):
        assert name(more, tmp_path) == f"model=tiny,seed=0{left}"


def test_names_of_folders_are_unique_and_short_enough() -> None:
    assert name([]) == "model=tiny,seed=0"
    names = [name([more]) for more in ("a=x/y", "a=x%2Fy", "é" * 200, "é" * 201)]
    assert len(set(names)) == 4
    assert all(len(name.encode()) <= 255 and "/" not in name for name in names)


EVIL = [
    "--config-dir=evil",
    "hydra.callbacks.x._target_=os.system",
    "hydra.launcher._target_=os.system",
    "+hydra.launcher.setup=[reboot]",
    "hydra={callbacks: {x: {_target_: os.system}}}",
    "hydra.searchpath=[pkg://evil]",
    "hydra.launcher.ray.init.address=ray://evil",
    "hydra.sweeper.params.hydra.job_logging.x=1,2",
    "hydra.sweeper.params.experiment='../../evil'",
    "+callbacks@hydra.callbacks=default",
    "experiment=../../evil",
    "hydra/launcher=../evil",
    "hydra.launcher.name='x\nreboot'",
]


@pytest.mark.parametrize("argument", EVIL)
def test_arguments_of_a_foreign_sweep_run_no_code(tmp_path: Path, argument: str) -> None:
    sweep.begin(tmp_path, ["seed=-1,-2", argument])
    with pytest.raises(ValueError, match="could run code"):
        hydra_cli.hydra_arguments([f"sweep={tmp_path}"])


def test_arguments_of_a_users_own_sweep_are_accepted(tmp_path: Path) -> None:
    arguments = [
        *("hparams_search=optuna", "hydra.sweeper.n_trials=3", "model=glob(*)", "seed=range(5)"),
        *("launcher=joblib", "hydra.launcher.n_jobs=-1", "hydra.sweep.subdir='${model.name}'"),
        *("hydra.sweeper.params.optimizer.lr='tag(log, interval(0.1, 0.2))'", "data.root=../x"),
        *("experiment=mine/quick", "augment.zoom=[1,1],[0.9,1.1]", "~callbacks.pictures"),
    ]
    sweep.begin(tmp_path, arguments)
    assert hydra_cli.hydra_arguments([f"sweep={tmp_path}"])[1:-1] == arguments


def test_a_sweep_in_a_folder_of_any_name_is_resumed(tmp_path: Path) -> None:
    folder = tmp_path / "it's (a=b, c)"
    sweep.begin(folder, ["seed=0,1"])
    (last,) = [a for a in hydra_cli.hydra_arguments([f"sweep={folder}"]) if "hydra.sweep.dir=" in a]
    assert OverridesParser.create().parse_override(last).value() == str(folder)
