import json
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf
from sklearn.metrics import roc_auc_score

from pneumo import train as train_module
from pneumo.arguments.train import CONF
from pneumo.runs import run_folder, trust
from pneumo.runs.writer import RunWriter
from pneumo.training import hydra_cli, metadata
from pneumo.training.run_log import log_to
from tests.conftest import SMALL, Capture, Command, Patch, compose, start

RUN = "hydra.run.dir=run"
BATCH = ("trainer=one_batch", "data.image_size=32", *SMALL[1:2], "trainer.accelerator=cpu")


def metrics(folder: Path) -> dict[str, Any]:
    content = json.loads((folder / "metrics.json").read_text())
    assert isinstance(content, dict)
    return content


def scores(folder: Path) -> dict[str, Any]:
    """What must not depend on when and how often a run was started."""
    content = metrics(folder)
    history = [{k: v for k, v in row.items() if k != "seconds"} for row in content["history"]]
    return {**{k: content[k] for k in ("best", "last", "data", "model")}, "history": history}


def status(folder: Path) -> Any:
    return json.loads((folder / "status.json").read_text())["status"]


@pytest.mark.slow
def test_the_run_folder_holds_what_the_readme_lists(finished_run: Path) -> None:
    content = metrics(finished_run)
    assert status(finished_run) == "done"
    assert (content["schema"], content["debug"]) == (1, False)
    assert (content["model"], content["seed"], content["protocol"]) == ("tiny", 0, "holdout")
    assert [row["epoch"] for row in content["history"]] == list(range(5))
    assert content["selection"] == {"monitor": "f1_normal", "on": "val"}
    split = pd.read_csv(finished_run / "split.csv")
    assert set(split["split"]) == {"train", "val", "test"}
    assert (split.groupby("group")["split"].nunique() == 1).all()
    history = pd.read_csv(finished_run / "history.csv")
    assert list(history["test/f1_normal"]) == [
        pytest.approx(row["test"]["f1_normal"]) for row in content["history"]
    ]
    assert list(finished_run.glob("events.out.tfevents.*"))
    assert (finished_run / ".hydra" / "config.yaml").is_file()
    for name in (run_folder.BEST, run_folder.LAST):
        state = torch.load(finished_run / name, weights_only=True)["state_dict"]
        assert 20 < state["network.mean"] < 220
        assert state["network.std"] > 5


@pytest.mark.slow
def test_scores_are_those_of_the_epoch_that_was_saved_and_on_the_screen(finished_run: Path) -> None:
    content, screen = metrics(finished_run), (finished_run.parent / "screen.txt").read_text()
    best, history = content["best"], content["history"]
    assert set(best) == {"epoch", "train", "train_eval", "val", "test"}
    assert best["val"]["f1_normal"] == max(row["val"]["f1_normal"] for row in history)
    saved = torch.load(finished_run / run_folder.BEST, weights_only=True)
    assert saved["epoch"] == best["epoch"]
    predictions = pd.read_csv(finished_run / "predictions.csv")
    assert list(predictions.columns[:4]) == ["path", "patient", "label", "split"]
    np.testing.assert_allclose(predictions[["p_normal", "p_pneumonia"]].sum(axis=1), 1)
    test = predictions.query("split == 'test'")
    decided = np.where(test["p_pneumonia"] >= 0.5, "PNEUMONIA", "NORMAL")
    assert (decided == test["label"]).mean() == pytest.approx(best["test"]["accuracy"])
    auroc = roc_auc_score(test["label"] == "PNEUMONIA", test["p_pneumonia"])
    row = {**history[best["epoch"]]["test"]}
    assert row.pop("confusion") == best["test"]["confusion"]
    assert {k: best["test"][k] for k in row} == pytest.approx(row, abs=1e-6)  # float32 sums
    assert best["test"]["auroc"] == pytest.approx(auroc, abs=1e-7)
    assert content["assessment"]["scores"]["auroc"]["value"] == pytest.approx(auroc, abs=1e-12)
    log = (finished_run / "train.log").read_text()
    assert all(line in log for line in screen.splitlines())
    scored = best["train_eval"]  # the train split in evaluation mode
    assert sum(map(sum, scored["confusion"])) == content["data"]["splits"]["train"]["images"]
    assert f"the same epoch: F1 of NORMAL {scored['f1_normal']:.3f} (test" in screen


@pytest.mark.slow
def test_a_finished_run_is_not_run_again_and_not_resumed_with_other_settings_or_images(
    finished_run: Path, train: Command, tmp_path: Path, capsys: Capture
) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    before = (run / "metrics.json").read_bytes()
    assert train("resume=run") == 0
    assert "Already done" in capsys.readouterr().err
    config = (run / ".hydra/config.yaml").read_bytes()
    assert train("resume=run", "data.num_workers=1") == 0
    assert (run / ".hydra/config.yaml").read_bytes() == config  # names the training images
    assert train("resume=run", "optimizer.lr=0.5") == 2
    assert "optimizer.lr was 0.005, now 0.5" in capsys.readouterr().err
    (run / "split.json").write_text('{"split_sha256": "of other images"}')
    RunWriter(run).write_status("stopped")
    assert train("resume=run") == 2
    assert "Name the folder of the first ones with data.root=DIR" in capsys.readouterr().err
    assert (run / "metrics.json").read_bytes() == before


def test_an_unreadable_image_and_a_full_disk_end_a_run_in_a_message(
    train: Command, tmp_path: Path, phantoms: Path, monkeypatch: Patch, capsys: Capture
) -> None:
    root = shutil.copytree(phantoms, tmp_path / "set")
    broken = sorted((root / "train" / "NORMAL").iterdir())[2]
    broken.write_bytes(b"\xff\xd8\xff broken")
    assert train(RUN, "data=kermany", f"data.root={root}", *SMALL) == 2
    assert broken.name in capsys.readouterr().err
    assert not (tmp_path / "run" / "metrics.json").exists()
    assert not (tmp_path / "run" / "split.csv").exists()
    full = OSError(28, "No space left on device")
    monkeypatch.setattr(RunWriter, "write_table", Mock(side_effect=full))
    assert train("hydra.run.dir=other", *BATCH) == 2
    shown = capsys.readouterr().err
    assert "No space left on device" in shown
    assert "Traceback" not in shown


@pytest.mark.slow
def test_the_last_epoch_is_kept_where_nothing_is_selected_by_a_network_of_three_classes(
    train: Command, tmp_path: Path
) -> None:
    network = ("model.num_classes=3", "model.batch_norm=false", "augment=none", "data.aspect=pad")
    last = ("callbacks.checkpoint.monitor=last", "trainer.max_epochs=2")
    assert train(RUN, *BATCH, *network, *last, "protocol=kfold", "protocol.val=0") == 0
    content = metrics(tmp_path / "run")
    assert content["selection"] == {"monitor": "last", "on": "none"}
    # val and test are scored where they choose an epoch, else once at the end
    assert [set(row) & {"train", "val", "test"} for row in content["history"]] == [{"train"}] * 2
    assert content["last"] == content["best"]
    assert content["last"]["test"]["loss"] > 0
    assert set(pd.read_csv(tmp_path / "run" / "predictions.csv")["split"]) == {"test"}
    saved = torch.load(tmp_path / "run" / run_folder.BEST, weights_only=True)
    assert saved["epoch"] == content["best"]["epoch"] == content["last"]["epoch"] == 1
    log = (tmp_path / "run" / "train.log").read_text()
    assert "the last, nothing selected" in log
    assert "Optimistic" not in log
    assert sum(str(c).startswith("p_") for c in pd.read_csv(tmp_path / "run/predictions.csv")) == 4


@pytest.mark.slow
def test_a_debug_run_sees_both_classes_and_is_marked(
    train: Command, tmp_path: Path, capsys: Capture
) -> None:
    few = ("trainer=debug", "trainer.max_epochs=1", "data.batch_size=4", *BATCH[1:])
    assert train(RUN, *few, "protocol=official", "trainer.precision=bf16-mixed") == 0
    content = metrics(tmp_path / "run")
    assert content["debug"] is True
    assert all(map(sum, content["history"][0]["test"]["confusion"]))
    assert " ".join(capsys.readouterr().err.split()).count("DEBUG RUN: it trained on a few") == 2
    weights = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert weights["network.head.weight"].dtype == torch.float32


@pytest.mark.gpu
def test_a_gpu_trains(train: Command, tmp_path: Path) -> None:
    few = ("trainer=gpu", "trainer.max_epochs=3", "data.image_size=64", "data.batch_size=8")
    for folder in ("a", "b"):
        assert train(f"hydra.run.dir={folder}", *few) == 0
    losses = [
        [row["train"]["loss"] for row in metrics(tmp_path / folder)["history"]] for folder in "ab"
    ]
    assert losses[0] == pytest.approx(losses[1], abs=0.01)  # a GPU adds in any order


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["optimizer.lr=-1"], "optimizer.lr must be greater than 0; got -1"),
        (["model=tinny"], "vgg16 xception Did you mean tiny?"),
        (["model=[1]"], "Error: "),
        (["modle=tiny"], "Did you mean model?"),
        (["model=compact", "model.f=1"], "(+KEY=VALUE adds another); got 'model.f'.\n"),
        (["hydra.run.dir=/proc/nowhere"], "/proc/nowhere"),
        (["~augment"], "augment must be set"),
        (["callbacks=early_stopping"], "callbacks.checkpoint must be set"),
        (["resume=~nosuchuser/run"], "a run folder holds .hydra/config.yaml"),
        (["sweep=~nosuchuser/x"], "got ~nosuchuser/x"),
        (["data=folder"], "data.root"),
        (["data=kermany", "data.root=nowhere"], "data.root must be the folder of the data set"),
        (["data.root=/x/andré"], "data.root=/x/andré ^ See https://hydra.cc/docs"),
        (["data.root=/x/a,b"], "To use it as string, quote the value"),
        (["launcher=nosuch"], "Available options in 'launcher': basic"),
        (["--trust", "mine", "seed=-1"], "belongs to resume=RUN_DIR or sweep=DIR"),
    ],
)
def test_mistakes_get_one_message_and_no_traceback(
    train: Command, arguments: list[str], message: str, capsys: Capture
) -> None:
    assert train(RUN, *arguments) != 0
    shown = capsys.readouterr().err
    assert message in shown
    assert "Traceback" not in shown
    assert len(shown.splitlines()) == 1
    assert not Path("run").exists()  # nothing was started


@pytest.mark.parametrize("sweep", [[], ["-m", "seed=0,1"]])
def test_a_broken_file_of_config_dir_is_one_line(
    train: Command, tmp_path: Path, capsys: Capture, sweep: list[str]
) -> None:
    (tmp_path / "mine/data").mkdir(parents=True)
    (tmp_path / "mine/data/broken.yaml").write_text("root: [1\n")
    assert train("--config-dir", "mine", *sweep, "data=broken") == 2
    shown = capsys.readouterr().err
    assert 'mine/data/broken.yaml", line 2' in shown
    assert "Error: " in shown and shown.count("\n") == 1
    assert not (tmp_path / "multirun").exists()


@pytest.mark.parametrize("arguments", [["--cfg", "job"], ["optimizer.lr=-1", RUN]])
def test_quick_answers_import_no_torch(arguments: list[str], tmp_path: Path) -> None:
    python = (sys.executable, "-X", "importtime", "-m", "pneumo", "train")
    done = start(*python, *arguments, cwd=tmp_path)
    assert not re.search(r"\| +(torch|pytorch_lightning|pandas|cv2)$", done.stderr, re.MULTILINE)
    if arguments[0][0] == "-":
        assert done.returncode == 0
    else:
        assert done.returncode == 2
        last = done.stderr.splitlines()[-1]
        assert last == "Error: optimizer.lr must be greater than 0; got -1"


def test_each_warning_is_shown_and_logged_once(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "train.log"
    with warnings.catch_warnings(), log_to(path, quiet=False):
        warnings.simplefilter("always")
        for _ in range(3):
            warnings.warn("a library\nsays so", stacklevel=1)
    assert capsys.readouterr().err.count("UserWarning: a library says so (") == 1
    assert path.read_text().count("UserWarning: a library says so (") == 1


def test_diverging_loss_names_the_rate_that_was_set(
    train: Command, tmp_path: Path, capsys: Capture
) -> None:
    # whose rate is almost 0 when the epoch ends
    few = ("trainer.max_epochs=1", "schedule=onecycle", "schedule.interval=step", *SMALL)
    assert train(RUN, "optimizer.lr=1e30", "model.batch_norm=false", *few) == 2
    assert "Try a smaller optimizer.lr than 1e+30\n" in capsys.readouterr().err
    assert status(tmp_path / "run") == "failed"


def test_bug_leaves_its_traceback_in_the_log(
    train: Command, tmp_path: Path, monkeypatch: Patch
) -> None:
    from pneumo.training import fit

    def bug(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(fit, "read_data", bug)
    assert train(RUN, *BATCH) == 1
    assert "Traceback" in (tmp_path / "run" / "train.log").read_text()
    assert status(tmp_path / "run") == "failed"


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.parametrize(
    ("protocol", "images", "patients"),
    [("paper", 5856, 3117), ("official", 5856, 3287)],  # by person, and by part and person
)
def test_real_images_train(
    train: Command, real_data: Path, tmp_path: Path, protocol: str, images: int, patients: int
) -> None:
    options = (f"protocol={protocol}", "trainer=debug", "num_threads=1", "data.image_size=64")
    assert train(RUN, "data=kermany", f"data.root={real_data}", *options) == 0
    data = metrics(tmp_path / "run")["data"]
    assert (data["kind"], data["note"]) == ("kermany", None)
    assert (data["images"], data["patients"]) == (images, patients)
    if protocol == "official":
        assert data["splits"]["test"]["images"] == 624


def test_the_commit_of_another_repository_is_not_ours(tmp_path: Path, monkeypatch: Patch) -> None:
    theirs = tmp_path / "theirs"
    (theirs / "lib" / "pneumo").mkdir(parents=True)
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", *who, *command], cwd=theirs, check=True)
    monkeypatch.setattr(metadata, "PACKAGE", theirs / "lib" / "pneumo")
    assert metadata._git_commit() is None
    monkeypatch.setattr(metadata, "PACKAGE", theirs / "lib")
    assert len(metadata._git_commit() or "") == 40


def written(folder: Path, *overrides: str) -> Path:
    """A run folder with nothing but its configuration."""
    config: Any = OmegaConf.to_container(compose(*overrides))
    folder.mkdir()
    RunWriter(folder).write_config(config, [])
    return folder


@pytest.mark.parametrize(
    "changed",
    [
        "data.source._target_=pandas.read_pickle",
        "+x=[{_target_: torch.load, f: x}]",
        "+y={_target_: '${z}'} +z=pneumo.runs.atomic.write_text",
        "callbacks.folder._target_=torch.optim.lr_scheduler.warnings.sys.exit",
        "model._target_=torch.hub.load",
    ],
)
def test_a_foreign_run_that_is_resumed_runs_no_code(
    train: Command, tmp_path: Path, changed: str, capsys: Capture
) -> None:
    written(tmp_path / "run", "trainer.max_epochs=1", *re.split(r" (?=\+)", changed))
    before = sorted(tmp_path.rglob("*"))
    assert train("resume=run") == 2
    shown = capsys.readouterr().err
    assert (shown.count("Error"), "add --trust" in shown) == (1, True)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_that_is_resumed_does_not_set_up_hydra(
    train: Command, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "run").mkdir()
    for key in ("hydra", "defaults"):
        config = {key: {"callbacks": {"x": {"_target_": "os.system"}}}, "seed": 0}
        (tmp_path / "run" / run_folder.CONFIG).unlink(missing_ok=True)
        RunWriter(tmp_path / "run").write_config(config, [])
        assert train("resume=run") == 2
        assert "which no run writes" in capsys.readouterr().err


def test_a_run_is_resumed_in_its_own_folder(
    train: Command, tmp_path: Path, monkeypatch: Patch
) -> None:
    fit = Mock(side_effect=ValueError("a mistake"))
    monkeypatch.setattr(train_module, "prepare", lambda _: fit)
    written(tmp_path / "run", "run_dir=elsewhere")
    assert train("resume=run") == 2
    assert fit.call_args.args[0].run_dir == str(tmp_path / "run")
    assert status(tmp_path / "run") == "failed"
    assert not (tmp_path / "elsewhere").exists()


def test_packages_are_trusted_on_the_command_line(train: Command, tmp_path: Path) -> None:
    written(tmp_path / "x")
    arguments = ["a=1", "--trust", "mine", f"resume={tmp_path / 'x'}", "--trust=others"]
    assert "a=1" in hydra_cli.hydra_arguments(arguments)
    assert trust.trusted == ("mine", "others")
    config = {"run_dir": "x", "a": {"_target_": "mine.A"}, "model": {"_target_": "others.b.C"}}
    trust.check_config(config, CONF)
    assert train("seed=-1") == 2
    assert trust.trusted is None


def test_no_file_is_handed_to_timm() -> None:
    good = {"_target_": "timm.create_model", "model_name": "resnet18", "pretrained": False}
    trust.check_target(good, run_dir=Path("run"), trust=())
    for bad in ({"checkpoint_path": "x"}, {"_args_": ["a"]}, {"model_name": "hf-hub:a/b"}):
        with pytest.raises(ValueError, match="add --trust timm"):
            trust.check_target(good | bad, run_dir=Path("run"), trust=())
        trust.check_target(good | bad, run_dir=Path("run"), trust=("timm",))
