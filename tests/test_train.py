import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf
from PIL import Image
from sklearn.metrics import roc_auc_score

from pneumo.arguments.train import CONF, help_text
from pneumo.runs import run_folder, trust
from pneumo.runs.writer import RunWriter
from pneumo.train import log_to, trust_arguments
from pneumo.training import callbacks, metadata, scoring
from tests.conftest import ROOT, SMALL, Command

RUN = "hydra.run.dir=run"
FEW = ("trainer.max_epochs=3", *SMALL)


def metrics(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "metrics.json").read_text())
    assert isinstance(found, dict)
    return found


def scores(folder: Path) -> dict[str, Any]:
    """What must not depend on when and how often a run was started."""
    found = metrics(folder)
    history = [{k: v for k, v in row.items() if k != "seconds"} for row in found["history"]]
    return {**{k: found[k] for k in ("best", "last", "data", "model")}, "history": history}


def status(folder: Path) -> Any:
    return json.loads((folder / "status.json").read_text())["status"]


@pytest.mark.slow
def test_run_folder_holds_what_the_readme_says(train: Command, tmp_path: Path) -> None:
    assert train(RUN, *FEW, "protocol=holdout", "seed=0") == 0
    run = tmp_path / "run"
    found = metrics(run)
    assert status(run) == "done"
    assert found["schema"] == 1
    assert (found["model"], found["seed"], found["protocol"]) == ("tiny", 0, "holdout")
    assert [row["epoch"] for row in found["history"]] == [0, 1, 2]
    assert found["last"]["epoch"] == 2
    assert found["selection"] == {"monitor": "f1_normal", "on": "val"}
    best = max(row["val"]["f1_normal"] for row in found["history"])
    assert found["best"]["val"]["f1_normal"] == best
    assert set(found["best"]) == {"epoch", "train", "train_eval", "val", "test"}
    assert found["debug"] is False
    split = pd.read_csv(run / "split.csv")
    assert set(split["split"]) == {"train", "val", "test"}
    assert (split.groupby("group")["split"].nunique() == 1).all()
    predictions = pd.read_csv(run / "predictions.csv")
    assert list(predictions.columns[:4]) == ["path", "patient", "label", "split"]
    np.testing.assert_allclose(predictions[["p_normal", "p_pneumonia"]].sum(axis=1), 1)
    history = pd.read_csv(run / "history.csv")
    assert list(history["test/f1_normal"]) == [
        pytest.approx(row["test"]["f1_normal"]) for row in found["history"]
    ]
    assert list(run.glob("events.out.tfevents.*"))
    assert (run / ".hydra" / "config.yaml").is_file()


@pytest.mark.slow
def test_predictions_are_those_of_the_best_epoch(train: Command, tmp_path: Path) -> None:
    assert train(RUN, *FEW) == 0
    table = pd.read_csv(tmp_path / "run" / "predictions.csv")
    best = metrics(tmp_path / "run")["best"]["test"]
    decided = np.where(table["p_pneumonia"] >= 0.5, "PNEUMONIA", "NORMAL")
    assert (decided == table["label"]).mean() == pytest.approx(best["accuracy"])


@pytest.mark.slow
def test_a_file_of_scores_has_one_value_for_each(train: Command, tmp_path: Path) -> None:
    assert train(RUN, *FEW, "protocol=holdout") == 0
    found = metrics(tmp_path / "run")
    table = pd.read_csv(tmp_path / "run" / "predictions.csv")
    test = table[table["split"] == "test"]
    own = roc_auc_score(test["label"] == "PNEUMONIA", test["p_pneumonia"])
    row = found["history"][found["best"]["epoch"]]["test"]
    assert found["best"]["test"].pop("confusion") == row.pop("confusion")
    assert found["best"]["test"] == pytest.approx(row, abs=1e-6)  # the loss is a float32 sum
    assert found["best"]["test"]["auroc"] == pytest.approx(own, abs=1e-7)  # torchmetrics' float32
    assert found["assessment"]["scores"]["auroc"]["value"] == pytest.approx(own, abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "best"),
    [
        (("callbacks.checkpoint.monitor=loss/val",), min),
        (("callbacks.checkpoint.monitor=auroc/val",), max),
    ],
)
def test_what_is_reported_is_what_was_saved(
    train: Command, tmp_path: Path, settings: tuple[str, ...], best: Callable[..., Any]
) -> None:
    assert train(RUN, *FEW, "protocol=holdout", *settings) == 0
    found = metrics(tmp_path / "run")
    score = found["selection"]["monitor"]
    history = found["history"]
    assert found["best"]["val"][score] == best(row["val"][score] for row in history)
    saved = torch.load(tmp_path / "run" / run_folder.BEST, weights_only=True)
    assert saved["epoch"] == found["best"]["epoch"]
    table = pd.read_csv(tmp_path / "run" / "predictions.csv").query("split == 'test'")
    decided = np.where(table["p_pneumonia"] >= 0.5, "PNEUMONIA", "NORMAL")
    assert (decided == table["label"]).mean() == pytest.approx(found["best"]["test"]["accuracy"])


@pytest.mark.slow
def test_nothing_is_selected_where_the_last_epoch_is_kept(train: Command, tmp_path: Path) -> None:
    assert train(RUN, *FEW, "callbacks.checkpoint.monitor=last") == 0
    log = (tmp_path / "run" / "train.log").read_text()
    found = metrics(tmp_path / "run")
    assert found["selection"] == {"monitor": "last", "on": "none"}
    saved = torch.load(tmp_path / "run" / run_folder.BEST, weights_only=True)
    assert saved["epoch"] == found["best"]["epoch"] == found["last"]["epoch"] == 2
    assert "the last, nothing selected" in log
    assert "Optimistic" not in log


@pytest.mark.slow
def test_a_moved_run_resumes_to_the_best_of_all_its_epochs(
    train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(callbacks.History, "on_train_epoch_end", stop_in_third)
        assert train("hydra.run.dir=before", "trainer.max_epochs=4", *SMALL) == 130
    moved = (tmp_path / "before").rename(tmp_path / "after")
    # the first epoch beats all that follow: a rule that has forgotten it would save the last
    for name in (run_folder.BEST, run_folder.LAST):
        saved = torch.load(moved / name, weights_only=True)
        saved["history"][0]["test"]["f1_normal"] = 2.0
        torch.save(saved, moved / name)
    first = torch.load(moved / run_folder.BEST, weights_only=True)["epoch"]
    assert train("resume=after") == 0
    assert torch.load(moved / run_folder.BEST, weights_only=True)["epoch"] == first
    assert metrics(moved)["best"]["epoch"] == first


@pytest.mark.slow
def test_the_train_split_is_scored_in_evaluation_mode(train: Command, tmp_path: Path) -> None:
    assert train(RUN, *FEW, "augment=none", "optimizer.lr=1e-12", "data.batch_size=73") == 0
    found = metrics(tmp_path / "run")
    images = found["data"]["splits"]["train"]["images"]
    for when in ("best", "last"):
        scored = found[when]["train_eval"]
        assert sum(map(sum, scored["confusion"])) == images
        assert scored["loss"] != found[when]["train"]["loss"]  # that one had dropout


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [1, 3])
def test_the_train_split_is_scored_once_where_the_last_epoch_is_the_best(
    train: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    epochs: int,
) -> None:
    asked: list[tuple[str, str]] = []
    score = scoring.score_checkpoint

    def record(module: Any, data: Any, path: Path, *, splits: list[str]) -> Any:
        asked.extend((path.name, split) for split in splits)
        return score(module, data, path, splits=splits)

    monkeypatch.setattr(scoring, "score_checkpoint", record)
    assert train(RUN, f"trainer.max_epochs={epochs}", *SMALL) == 0
    found = metrics(tmp_path / "run")
    another = found["last"]["epoch"] != found["best"]["epoch"]
    assert epochs > 1 or not another
    assert asked.count(("best.ckpt", "train")) == 1
    assert asked.count(("last.ckpt", "train")) == another
    said = capsys.readouterr().err
    assert "Train split, without augmentation and dropout:" in said
    for when, row in (("the same epoch", "best"), (f"the last epoch, {epochs}", "last")):
        if row == "best" or another:
            assert f"{when}: F1 NORMAL {found[row]['train_eval']['f1_normal']:.3f} (test" in said


@pytest.mark.slow
def test_a_debug_run_sees_both_classes_and_says_what_it_is(
    train: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ("trainer=debug", "data.image_size=32", "num_threads=1", "trainer.accelerator=cpu")
    assert train(RUN, *few, "data.batch_size=4", "trainer.max_epochs=1") == 0
    found = metrics(tmp_path / "run")
    assert found["debug"] is True
    assert all(map(sum, found["history"][0]["test"]["confusion"]))
    assert " ".join(capsys.readouterr().err.split()).count("DEBUG RUN: it trained on a few") == 2


@pytest.mark.slow
def test_a_resume_with_other_threads_is_said_and_recorded(
    train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(callbacks.History, "on_train_epoch_end", stop_in_third)
        assert train(RUN, "trainer.max_epochs=4", *SMALL) == 130
    assert train("resume=run", "num_threads=2") == 0
    torch.set_num_threads(1)
    computed = metrics(tmp_path / "run")["machine"]["arithmetic"]
    assert [(c["from_epoch"], c["threads"]) for c in computed] == [(0, 1), (2, 2)]
    assert (
        "Resumed with other arithmetic: threads 2 for 1"
        in (tmp_path / "run" / "train.log").read_text()
    )


@pytest.mark.slow
def test_checkpoints_load_safely_and_hold_the_standardisation(
    train: Command, tmp_path: Path
) -> None:
    assert train(RUN, *FEW) == 0
    for name in ("best", "last"):
        path = tmp_path / "run" / "checkpoints" / f"{name}.ckpt"
        state = torch.load(path, weights_only=True)["state_dict"]
        assert 20 < state["network.mean"] < 220
        assert state["network.std"] > 5


@pytest.mark.slow
def test_half_precision_is_trained_with(train: Command, tmp_path: Path) -> None:
    options = ("trainer=debug", "data.image_size=32", "num_threads=1", "trainer.accelerator=cpu")
    assert train(RUN, *options, "trainer.precision=bf16-mixed") == 0
    weights = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert weights["network.head.weight"].dtype == torch.float32


@pytest.mark.slow
def test_same_seed_same_scores_other_seed_others(train: Command, tmp_path: Path) -> None:
    for folder, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert train(f"hydra.run.dir={folder}", f"seed={seed}", *FEW) == 0
    assert scores(tmp_path / "a") == scores(tmp_path / "b")
    assert scores(tmp_path / "a")["history"] != scores(tmp_path / "c")["history"]


@pytest.mark.gpu
def test_a_gpu_trains(train: Command, tmp_path: Path) -> None:
    few = ("trainer=gpu", "trainer.max_epochs=3", "data.image_size=64", "data.batch_size=8")
    for folder in ("a", "b"):
        assert train(f"hydra.run.dir={folder}", *few) == 0
    losses = [
        [row["train"]["loss"] for row in metrics(tmp_path / folder)["history"]] for folder in "ab"
    ]
    assert losses[0] == pytest.approx(losses[1], abs=0.01)  # a GPU adds in any order


def stop_in_third(_: object, __: object, module: Any) -> None:
    if len(module.history) == 3:
        raise KeyboardInterrupt


@pytest.mark.slow
def test_resume_ends_as_an_uninterrupted_run(
    train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("trainer.max_epochs=4", *SMALL)
    assert train("hydra.run.dir=whole", *arguments) == 0
    with monkeypatch.context() as patch:
        patch.setattr(callbacks.History, "on_train_epoch_end", stop_in_third)
        assert train("hydra.run.dir=parts", *arguments) == 130
    assert status(tmp_path / "parts") == "stopped"
    assert train("resume=parts") == 0
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert scores(whole) == scores(parts)
    assert 0 < metrics(parts)["seconds"]["earlier"] < metrics(parts)["seconds"]["train"]
    assert (whole / "predictions.csv").read_text() == (parts / "predictions.csv").read_text()


@pytest.mark.slow
def test_finished_run_is_not_run_again(
    train: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(RUN, *FEW) == 0
    before = (tmp_path / "run" / "metrics.json").read_bytes()
    assert train("resume=run") == 0
    assert "nothing to do" in capsys.readouterr().err
    assert (tmp_path / "run" / "metrics.json").read_bytes() == before


@pytest.mark.slow
def test_resume_refuses_other_settings_and_other_images(
    train: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(RUN, *FEW) == 0
    before = (tmp_path / "run" / "metrics.json").read_bytes()
    assert train("resume=run", "optimizer.lr=0.5") == 2
    assert "optimizer.lr was 0.004, now 0.5" in capsys.readouterr().err
    assert train("resume=missing") == 2
    (tmp_path / "run" / "split.csv").write_text(
        "path,patient,group,label,subtype,source,split\na,p,p,NORMAL,normal,train,train\n"
    )
    RunWriter(tmp_path / "run").write_status("stopped")
    assert train("resume=run") == 2
    assert "resumes with the images it began with" in capsys.readouterr().err
    assert (tmp_path / "run" / "metrics.json").read_bytes() == before


@pytest.mark.slow
def test_killed_run_resumes_to_the_same_scores(
    train: Command, tmp_path: Path, phantoms: Path, cache_dir: Path
) -> None:
    arguments = ("trainer.max_epochs=6", *SMALL)
    assert train("hydra.run.dir=whole", *arguments) == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "pneumo.train", "hydra.run.dir=killed", *arguments],
        env={**os.environ, "PNEUMO_DATA": str(phantoms), "PNEUMO_CACHE": str(cache_dir)},
    )
    last = tmp_path / "killed" / "checkpoints" / "last.ckpt"
    while not last.exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert status(tmp_path / "killed") == "running"
    assert train("resume=killed") == 0
    assert scores(tmp_path / "whole") == scores(tmp_path / "killed")


@pytest.mark.slow
def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(
    tmp_path: Path, phantoms: Path, cache_dir: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "pneumo.train", RUN, "trainer.max_epochs=500", *SMALL],
        env={**os.environ, "PNEUMO_DATA": str(phantoms), "PNEUMO_CACHE": str(cache_dir)},
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / "run" / "history.csv").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "resume=" in errors
    assert "Traceback" not in errors
    assert status(tmp_path / "run") == "stopped"
    log = (tmp_path / "run" / "train.log").read_text()
    assert "resume=" in log


@pytest.mark.slow
def test_log_holds_what_the_screen_shows(
    train: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(RUN, *FEW) == 0
    log = (tmp_path / "run" / "train.log").read_text()
    for line in capsys.readouterr().err.splitlines():
        assert line in log


@pytest.mark.slow
def test_phantoms_are_said_at_both_ends_and_kept_in_the_results(
    train: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(RUN, "data=phantom", "data.num_images=60", *FEW) == 0
    shown = capsys.readouterr().err
    assert shown.count("GENERATED IMAGES") == 2
    assert "GENERATED IMAGES" in metrics(tmp_path / "run")["data"]["note"]
    assert metrics(tmp_path / "run")["data"]["kind"] == "phantom"
    assert metrics(tmp_path / "run")["data"]["ages"] is None


def test_only_auto_falls_back(
    train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.delenv("PNEUMO_DATA")
    assert train(RUN, "data=kermany", *FEW) == 2
    assert "there is no such folder" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["official", "kfold", "holdout"])
def test_protocols(train: Command, tmp_path: Path, protocol: str) -> None:
    assert train(RUN, f"protocol={protocol}", "trainer=debug", *SMALL[:2]) == 0
    assert metrics(tmp_path / "run")["protocol"] == protocol


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["model.num_classes=3", "model.batch_norm=false"])
def test_variants_of_the_network(train: Command, tmp_path: Path, choice: str) -> None:
    assert train(RUN, choice, "augment=none", "data.aspect=pad", *FEW) == 0
    table = pd.read_csv(tmp_path / "run" / "predictions.csv")
    classes = [c for c in table.columns if c.startswith("p_")]
    assert len(classes) == (4 if "3" in choice else 2)


def copy_of(folder: Path, to: Path) -> Path:
    for path in folder.rglob("*.jpeg"):
        target = to / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(path)
    return to


def test_unreadable_image_is_named_and_nothing_is_half_written(
    train: Command, tmp_path: Path, phantoms: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = copy_of(phantoms, tmp_path / "set")
    broken = sorted((root / "train" / "NORMAL").iterdir())[2]
    broken.unlink()
    broken.write_bytes(b"\xff\xd8\xff broken")
    assert train(RUN, "data=kermany", f"data.root={root}", *FEW) == 2
    assert broken.name in capsys.readouterr().err
    assert not (tmp_path / "run" / "metrics.json").exists()
    assert not (tmp_path / "run" / "split.csv").exists()


@pytest.mark.slow
def test_sixteen_bit_and_colour_images_train(
    train: Command, tmp_path: Path, phantoms: Path
) -> None:
    root = copy_of(phantoms, tmp_path / "set")
    for number, path in enumerate(sorted((root / "train" / "NORMAL").iterdir())[:2]):
        grey = np.asarray(Image.open(path).convert("L"))
        path.unlink()
        picture = Image.fromarray(grey.astype(np.uint16) * 257 if number else grey)
        (picture if number else picture.convert("RGBA")).save(path.with_suffix(".png"))
    assert train(RUN, "data=kermany", f"data.root={root}", *FEW) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["optimizer.lr=-1"], "optimizer.lr must be a number above 0"),
        (["model=tinny"], "got 'tinny'. Did you mean tiny?"),
        (["model=[1]"], "model must be names of its choices; got [1]"),
        (["modle=tiny"], "Did you mean model?"),
        (["optimzer.lr=1"], "Did you mean optimizer"),
        (["trainer=gpu"], "trainer=auto"),
        (["protocol.split.fractions.test=0.5"], "that sum to 1"),
        (["data.patient_key=name"], "data.patient_key must be one of"),
        (["hydra.run.dir=/proc/nowhere"], "/proc/nowhere"),
        (["lr=0.1"], "Did you mean optimizer.lr?"),
        (["trainer.gradient_clip_vall=1"], "Did you mean trainer.gradient_clip_val?"),
        (["trainer.benchmark=true"], "write +trainer.benchmark=VALUE to set it"),
        (["+optimizer.nothing=1"], "optimizer.nothing must be an argument"),
        (["model=base"], "got 'base'"),
        (["base=model"], "got 'base'"),
        (["run_dir=null"], "run_dir must be a folder"),
        (["~augment"], "augment must be set"),
        (["resume=~nosuchuser/run"], "got ~nosuchuser/run"),
        (["sweep=~nosuchuser/x"], "got ~nosuchuser/x"),
        ([f"seed={'9' * 5000}"], "Exceeds the limit"),
        (["data=folder"], "data.root"),
    ],
)
def test_mistakes_get_one_message_and_no_traceback(
    train: Command, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if arguments == ["trainer=gpu"] and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert train(*(["hydra.run.dir=run", *arguments])) != 0
    shown = capsys.readouterr().err
    assert message in shown
    assert "Traceback" not in shown
    assert len(shown.splitlines()) == 1
    assert not Path("run").exists()  # nothing was begun


@pytest.mark.parametrize("before", [[], ["-m", "seed=0,1"], ["--cfg", "job"]])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"root: [1\n", "broken.yaml, line 2, must be YAML: expected ',' or ']'"),
        (b"a: 1\n b: 2\n", "broken.yaml, line 2, must be YAML: mapping values are not allowed"),
        (b"a: \0\n", "broken.yaml must be YAML: special characters are not allowed"),
        (b"root: andr\xe9\n", "broken.yaml must be text in UTF-8; byte 11 is not"),
    ],
)
def test_a_broken_file_of_config_dir_is_one_line(
    train: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    before: list[str],
    content: bytes,
    message: str,
) -> None:
    (tmp_path / "mine/data").mkdir(parents=True)
    (tmp_path / "mine/data/broken.yaml").write_bytes(content)
    assert train(*before, "--config-dir", "mine", "data=broken") == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert "Error: " in shown and shown.count("\n") == 1
    assert not (tmp_path / "multirun").exists()


def test_a_refused_run_leaves_no_folder(train: Command, tmp_path: Path) -> None:
    assert train("optimizer.lr=-1") == 2
    assert not (tmp_path / "multirun").exists()


def test_an_archive_is_to_be_unpacked(
    train: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "archive.zip"
    archive.write_bytes(b"PK")
    for data in ("auto", "kermany", "folder"):
        assert train(RUN, f"data={data}", f"data.root={archive}", *FEW) == 2
        told = [x for x in capsys.readouterr().err.splitlines() if "is an archive" in x]
        assert told == [
            f"Error: data.root must be a folder; {archive} is an archive. Unpack it, by: python -m "
            f"zipfile -e {archive} DIR, then name its folder"
        ]
        shutil.rmtree(tmp_path / "run")


@pytest.mark.slow
def test_a_rate_that_follows_a_score_resumes_as_if_uninterrupted(
    train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = ("+schedule.threshold=9", "+schedule.threshold_mode=abs")  # better by so much
    plateau = ("schedule=plateau", "schedule.patience=0", *never)
    arguments = (*plateau, "trainer.max_epochs=5", *SMALL)
    assert train("hydra.run.dir=whole", *arguments) == 0
    with monkeypatch.context() as patch:
        patch.setattr(callbacks.History, "on_train_epoch_end", stop_in_third)
        assert train("hydra.run.dir=parts", *arguments) == 130
    assert train("resume=parts") == 0
    whole = scores(tmp_path / "whole")
    assert whole == scores(tmp_path / "parts")
    assert whole["history"][-1]["lr"] < whole["history"][0]["lr"]


@pytest.mark.slow
def test_a_deterministic_run_is_the_same_twice(train: Command, tmp_path: Path) -> None:
    settings = ("trainer=one_batch", "trainer.deterministic=true", "data.image_size=32")
    for folder in "ab":
        assert train(f"hydra.run.dir={folder}", *settings, "num_threads=1") == 0
    assert torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    assert scores(tmp_path / "a") == scores(tmp_path / "b")


def test_parts_of_choices_are_no_choices() -> None:
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.utils import create_config_search_path

    loader = ConfigLoaderImpl(create_config_search_path(str(CONF)))
    for group in ("model", "data"):
        assert "base" not in loader.get_group_options(group)
    assert not re.search(r"^base:|\bbase\b,", help_text(), re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["schedule.T_max=abc"], "schedule.T_max must be a whole number"),
        (["data=kermany", "data.root=/no/such"], "data.root must exist; got /no/such: there is no"),
        (["data=folder", "data.root=.", "data.csv=no.csv"], "data.csv must exist; got no.csv"),
        (["model=resnet18", "model.pretrained=no.pt"], "model.pretrained must be true, false or a"),
        (["model=xception"], "model.library=timm needs timm, which is not installed: pip install"),
        (["logger=wandb"], "logger.wandb needs wandb, which is not installed: pip install wandb"),
        (["logger=mlflow"], "logger.mlflow needs mlflow, which is not installed: pip install"),
        (["optimizer._target_=nosuch.A"], "optimizer._target_ must be of an installed package"),
    ],
)
def test_what_is_wrong_or_missing_is_reported_before_torch_is_imported(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    for package in ("timm", "wandb", "mlflow"):
        if f"needs {package}" in message and find_spec(package):
            pytest.skip(f"{package} is installed")
    told = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "pneumo.train", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert told.returncode == 2
    assert told.stderr.splitlines()[-1].startswith(f"Error: {message}")
    assert not re.search(r"\| +(torch|pytorch_lightning|pandas)$", told.stderr, re.MULTILINE)


def test_each_warning_is_shown_and_logged_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "train.log"
    with warnings.catch_warnings(), log_to(path, quiet=False):
        warnings.simplefilter("always")
        for _ in range(3):
            warnings.warn("a library\nsays so", stacklevel=1)
    assert capsys.readouterr().err.count("UserWarning: a library says so (") == 1
    assert path.read_text().count("UserWarning: a library says so (") == 1


class Bigger(pl.Callback):
    """Changes the batch size, as no callback should."""

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        trainer.datamodule.batch_size = 24


@pytest.mark.slow
def test_the_batch_size_that_was_used_is_recorded(train: Command, tmp_path: Path) -> None:
    few = ("trainer.max_epochs=1", *SMALL)
    assert train(RUN, *few, "+callbacks.x._target_=tests.test_train.Bigger") == 0
    assert metrics(tmp_path / "run")["hyperparameters"]["batch_size"] == 24


def test_no_room_for_the_run_folder(
    train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RunWriter, "write_table", full)
    assert train(RUN, *FEW) == 2
    shown = capsys.readouterr().err
    assert "No space left on device" in shown
    assert "Traceback" not in shown


def test_diverging_loss_names_the_rate_that_was_set(
    train: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # whose rate is almost 0 when the epoch ends
    few = ("trainer.max_epochs=1", "schedule=onecycle", "schedule.interval=step", *SMALL)
    assert train(RUN, "optimizer.lr=1e30", "model.batch_norm=false", *few) == 2
    assert "Try a smaller optimizer.lr than 1e+30\n" in capsys.readouterr().err
    assert status(tmp_path / "run") == "failed"


def test_bug_leaves_its_traceback_in_the_log(
    train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pneumo.training import fit

    def bug(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(fit, "read_data", bug)
    assert train(RUN, *FEW) == 1
    log = (tmp_path / "run" / "train.log").read_text()
    assert "Traceback" in log
    assert status(tmp_path / "run") == "failed"


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"], ["optimizer.lr=-1", RUN]])
def test_quick_answers_import_no_torch(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv[1:] = sys.argv[1:]\n"
        "from pneumo.train import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'pytorch_lightning', 'pandas', 'cv2'} & set(sys.modules)\n"
        "raise SystemExit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


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
    found = metrics(tmp_path / "run")["data"]
    assert (found["kind"], found["note"]) == ("kermany", None)
    assert (found["images"], found["patients"]) == (images, patients)
    if protocol == "official":
        assert found["splits"]["test"]["images"] == 624


def test_the_commit_of_another_repository_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "theirs"
    (theirs / "lib" / "pneumo").mkdir(parents=True)
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run(["git", *who, *command], cwd=theirs, check=True)
    monkeypatch.setattr(metadata, "PACKAGE", theirs / "lib" / "pneumo")
    assert metadata._git_commit() is None
    monkeypatch.setattr(metadata, "PACKAGE", theirs / "pneumo")
    (theirs / "pneumo").mkdir()
    (theirs / "pneumo" / "__init__.py").touch()
    assert metadata._git_commit() is None  # put there by pip install --target, say
    subprocess.run(["git", "add", "pneumo"], cwd=theirs, check=True)
    assert len(metadata._git_commit() or "") == 40


CODE = [  # in a configuration from elsewhere
    "data.source._target_=pandas.read_pickle",
    "+x=[{_target_: torch.load, f: x}]",
    "+y={_target_: '${z}'} +z=pneumo.atomic.write_text",
    "callbacks.folder._target_=torch.optim.lr_scheduler.warnings.sys.exit",
    "model._target_=torch.hub.load",
    "optimizer._target_=timm.create_model",
]


@pytest.mark.parametrize("changed", CODE)
def test_a_foreign_run_that_is_resumed_runs_no_code(
    train: Command, tmp_path: Path, changed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = hydra.compose("train", ["trainer.max_epochs=1", *re.split(r" (?=\+)", changed)])
    config: Any = OmegaConf.to_container(cfg)
    (tmp_path / "run").mkdir()
    RunWriter(tmp_path / "run").write_config(config, [])
    before = sorted(tmp_path.rglob("*"))
    assert train("resume=run") == 2
    shown = capsys.readouterr().err
    assert (shown.count("Error"), "add --trust" in shown) == (1, True)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("key", ["hydra", "defaults"])
def test_a_run_that_is_resumed_does_not_set_up_hydra(
    train: Command, tmp_path: Path, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {key: {"callbacks": {"x": {"_target_": "os.system"}}}, "seed": 0}
    (tmp_path / "run").mkdir()
    RunWriter(tmp_path / "run").write_config(config, [])
    assert train("resume=run") == 2
    assert "which no run writes" in capsys.readouterr().err


def test_a_run_is_resumed_in_its_own_folder(train: Command, tmp_path: Path) -> None:
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = hydra.compose("train", ["run_dir=elsewhere", "data.root=empty", "data=kermany"])
    config: Any = OmegaConf.to_container(cfg)
    (tmp_path / "run").mkdir()
    (tmp_path / "empty").mkdir()
    RunWriter(tmp_path / "run").write_config(config, [])
    assert train("resume=run") == 2
    assert status(tmp_path / "run") == "failed"
    assert not (tmp_path / "elsewhere").exists()


def test_packages_are_trusted_on_the_command_line(
    train: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["-m", "a=1", "--trust", "mine", "--cfg", "job", "resume=x", "--trust=others"]
    assert trust_arguments(given) == ["-m", "a=1", "--cfg", "job", "resume=x"]
    assert trust.trusted == ("mine", "others")
    config = {"run_dir": "x", "a": {"_target_": "mine.A"}, "model": {"_target_": "others.b.C"}}
    trust.check_config(config, CONF)
    assert train("--trust", "mine", "seed=-1") == 2
    assert "belongs to resume=RUN_DIR or sweep=DIR" in capsys.readouterr().err
    assert train("seed=-1") == 2
    assert trust.trusted is None


def test_no_file_is_handed_to_timm() -> None:
    good = {"_target_": "timm.create_model", "model_name": "resnet18", "pretrained": False}
    trust.check_timm({"body": [good]}, packages=())
    for bad in ({"checkpoint_path": "x"}, {"_args_": ["a"]}, {"model_name": "hf-hub:a/b"}):
        with pytest.raises(ValueError, match="add --trust timm"):
            trust.check_timm({"body": [good | bad]}, packages=())
        trust.check_timm({"body": [good | bad]}, packages=("timm",))


@pytest.mark.parametrize(
    ("override", "way_out"),
    [
        ("data.root=/x/andré", "'data.root=\"/x/andré\"'"),
        ("data.root=/x/a=b", "'data.root=\"/x/a=b\"'"),
        ("data.root=/x/a,b", "'data.root=\"/x/a,b\"'"),
    ],
)
def test_a_path_that_needs_quotes_is_shown_with_them(
    train: Command, override: str, way_out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(override) == 2
    shown = capsys.readouterr().err
    assert way_out in shown
    assert "Exception" not in shown
    assert train("--cfg", "job", way_out.strip("'")) == 0
