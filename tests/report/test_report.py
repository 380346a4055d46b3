"""The report over made-up run folders: what it says, and what it does with bad ones."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pneumo.evaluation import metrics, published, scores
from pneumo.labels import CLASS_NAMES
from pneumo.report import comparisons, figures
from pneumo.report.__main__ import main
from pneumo.report.audit_link import AuditLink
from pneumo.report.groups import group_trials
from pneumo.report.page import Report, markdown
from pneumo.report.reading import read_run
from pneumo.report.report_folder import write_report
from pneumo.report.trials import Trial

SIZES = {"tiny": (115_062, 83_304_648), "small": (281_000, 120_000_000),
         "medium": (1_020_000, 210_000_000), "large": (4_060_000, 800_000_000)}  # fmt: skip
SKILL = {"tiny": 3.6, "small": 3.5, "medium": 3.4, "large": 3.4}


def make_run(
    sweep: Path,
    *,
    model: str = "tiny",
    seed: int = 0,
    protocol: str = "paper",
    kind: str = "kermany",
    index: str = "aa11",
    images: int = 200,
    epochs: int = 6,
    sick: float = 0.73,
    settings: dict[str, Any] | None = None,
    **changed: Any,
) -> Path:
    """Writes a finished run with random but plausible predictions, and returns its folder."""
    rng = np.random.default_rng([seed, sum(map(ord, model))])
    split = np.random.default_rng(seed)
    patient = np.sort(split.integers(0, max(2, images // 2), images))
    label = (split.random(images // 2 + 2)[patient] < sick).astype(int)
    score = rng.normal((label - 0.5) * SKILL.get(model, 3), 1)
    probability = (1 / (1 + np.exp(-2 * score))).round(4)
    test = part_scores(label, probability)
    chosen = "test" if protocol == "paper" else "val"
    rise = 1 - np.exp(-np.arange(1, epochs + 1) / (epochs / 8))
    best = epochs - 1 - seed % 3

    def at(epoch: int, shift: float) -> dict[str, Any]:
        wobble = rise[epoch] / rise[best] + shift + (epoch != best) * rng.normal(-0.01, 0.004)
        return {k: v if k == "confusion" else min(1.0, v * wobble) if v is not None else None
                for k, v in test.items()}  # fmt: skip

    parts = ("train", "test") if protocol == "paper" else ("train", "val", "test")
    history = [
        {
            "epoch": e,
            "lr": 0.001,
            "seconds": 6.0,
            **{p: at(e, 0.02 * (p == "train")) for p in parts},
        }
        for e in range(epochs)
    ]
    history[best]["test"] = test
    sizes = {
        name: {"images": n, "patients": n // 2, "NORMAL": n // 4, "PNEUMONIA": n - n // 4}
        for name, n in (("train", 7 * images // 3), ("val", images // 3))
        if name in parts
    }
    sizes["test"] = {
        "images": images,
        "patients": len(set(patient)),
        "NORMAL": int((label == 0).sum()),
        "PNEUMONIA": int(label.sum()),
    }
    content = {
        "schema": 1, "model": model, "seed": seed, "protocol": protocol, "fold": None,
        "num_classes": 2, "batch_norm": True,
        "selection": {"monitor": "f1_normal", "on": chosen},
        "data": {"kind": kind, "root_name": "chest_xray", "images": 10 * images // 3,
                 "patients": 5 * images // 3, "split_sha256": f"{index}-{protocol}-{seed}",
                 "index_sha256": index, "splits": sizes},
        "best": {"epoch": best, **{p: history[best][p] for p in parts}},
        "last": {"epoch": epochs - 1, **{p: history[-1][p] for p in parts}},
        "history": history,
        "parameters": SIZES.get(model, (1000, 1000))[0],
        "multiply_adds": SIZES.get(model, (1000, 1000))[1],
        "seconds": {"total": 310.0 + seed, "train": 300.0},
        "versions": {"numpy": "2"}, "git_commit": "abc1234",
        "machine": {"accelerator": "cpu", "device": "cpu", "cpu": "x", "threads": 2},
    } | changed  # fmt: skip
    folder = sweep / f"model={model},protocol={protocol},seed={seed}"
    (folder / ".hydra").mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(content))
    configure(folder, seed=seed, model={"name": model}, trainer={"max_epochs": epochs},
              protocol={"name": protocol, "fold": changed.get("fold")},
              optimizer={"lr": 0.001} | (settings or {}))  # fmt: skip
    write_status(folder, status="done", epoch=epochs - 1, max_epochs=epochs)
    rows = zip(patient, label, probability, strict=True)
    text = "path,patient,label,split,p_normal,p_pneumonia\n" + "".join(
        f'"a,{i}.jpeg",p{p},{CLASS_NAMES[y]},test,{1 - s:.4f},{s:.4f}\n'
        for i, (p, y, s) in enumerate(rows)
    )
    (folder / "predictions.csv").write_text(text)
    return folder


def part_scores(label: Any, probability: Any) -> dict[str, Any]:
    values = scores.scores(label, probability)
    table = metrics.confusion(label, probability >= 0.5).tolist()
    known = {name: None if np.isnan(value) else value for name, value in values.items()}
    return known | {"loss": 0.1, "confusion": table}


def write_status(folder: Path, **status: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    content = {"error": None, "time": "2025-01-01T00:00:00"} | status
    (folder / "status.json").write_text(json.dumps(content))


def configure(folder: Path, **changed: dict[str, Any] | int) -> None:
    """Leaves the configuration that a run of pneumo.train leaves."""
    content = {"seed": 0, "model": {"name": "tiny"}, "protocol": {"name": "paper", "fold": None}}
    (folder / ".hydra" / "config.yaml").write_text(yaml.safe_dump(content | changed))


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads((folder / "metrics.json").read_text())
    change(content)
    (folder / "metrics.json").write_text(json.dumps(content))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def found(rows: list[dict[str, str]], **wanted: str) -> dict[str, str]:
    (row,) = [r for r in rows if all(r[k] == v for k, v in wanted.items())]
    return row


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two networks, three seeds."""
    root = tmp_path / "sweep"
    for model in ("tiny", "small"):
        for seed in range(3):
            make_run(root, model=model, seed=seed)
    return root


def said(folder: Path) -> str:
    return (folder / "summary.md").read_text()


def test_summary_is_the_spread_over_trials(sweep: Path) -> None:
    report = write_report([sweep])
    f1 = [
        json.loads((sweep / f"model=tiny,protocol=paper,seed={s}" / "metrics.json").read_text())
        for s in range(3)
    ]
    values = [one["best"]["test"]["f1_normal"] for one in f1]
    row = found(table(report / "summary.csv"), network="tiny", epoch="best", split="test",
                score="f1_normal")  # fmt: skip
    assert float(row["median"]) == pytest.approx(np.median(values), abs=1e-5)
    assert float(row["mean"]) == pytest.approx(np.mean(values), abs=1e-5)
    assert float(row["sd"]) == pytest.approx(np.std(values, ddof=1), rel=1e-4)
    assert (float(row["low"]), float(row["high"])) == pytest.approx(
        (min(values), max(values)), abs=1e-5
    )
    assert float(row["paper_median"]) == 0.938
    assert float(row["median_minus_paper"]) == pytest.approx(np.median(values) - 0.938, abs=1e-5)


def test_first_sentence_says_what_was_found(sweep: Path) -> None:
    report = write_report([sweep])
    first = said(report).splitlines()[2]
    assert re.match(
        r"Tiny reached a median test F1 of NORMAL of 0\.\d{3} \(lowest 0\.\d{3}, highest 0\.\d{3}\)"
        r" over 3 trials of the paper protocol; the paper reports 0\.938; choosing the epoch on the"
        r" test split raised it by 0\.\d{3} against the last epoch\. ",
        first,
    )
    lead = re.search(r'<p class="lead">(.*?)</p>', (report / "report.html").read_text())
    assert lead
    assert first.startswith(lead[1])


def test_runs_have_intervals_around_their_scores(sweep: Path) -> None:
    rows = table(write_report([sweep]) / "runs.csv")
    assert len(rows) == 6
    for row in rows:
        low, score, high = (float(row[f"best_test_auroc{end}"]) for end in ("_low", "", "_high"))
        assert low <= score <= high
        assert low < high


def test_optimism_is_best_minus_last_and_paper_minus_holdout(sweep: Path) -> None:
    for seed in range(3):
        make_run(sweep, seed=seed, protocol="holdout")
    rows = table(write_report([sweep]) / "comparisons.csv")
    runs = [
        json.loads((sweep / f"model=tiny,protocol=paper,seed={s}" / "metrics.json").read_text())
        for s in range(3)
    ]
    gain = [r["best"]["test"]["accuracy"] - r["last"]["test"]["accuracy"] for r in runs]
    row = found(rows, what="tiny: best minus last epoch", score="accuracy")
    assert float(row["difference"]) == pytest.approx(np.mean(gain), abs=1e-6)
    across = found(rows, what="tiny: paper minus holdout protocol", score="accuracy")
    assert float(across["difference"]) == 0  # the made-up runs share their predictions
    within = found(rows, what="tiny: best on test minus chosen on validation", score="f1_normal")
    assert float(within["difference"]) >= 0


def test_differences_pair_the_same_splits_only(sweep: Path) -> None:
    def moved(content: dict[str, Any]) -> None:
        content["data"]["split_sha256"] = "another"

    edit(sweep / "model=small,protocol=paper,seed=2", moved)
    rows = table(write_report([sweep]) / "comparisons.csv")
    row = found(rows, what="tiny minus small", score="f1_normal")
    assert (row["trials"], row["low"], row["p"], row["p_holm"]) == ("2", "", "", "")
    assert -1 <= float(row["difference"]) <= 1
    whole = found(rows, what="tiny: best minus last epoch", score="f1_normal")
    assert whole["trials"] == "3"
    assert float(whole["low"]) <= float(whole["difference"]) <= float(whole["high"])


def make_baseline(sweep: Path, **changed: Any) -> Path:
    return make_run(sweep, model="thumbnail_svm", baseline=True, selection=None, history=[],
                    parameters=None, multiply_adds=None, **changed)  # fmt: skip


def test_margins_are_paired_over_trials_and_within_each(sweep: Path) -> None:
    baselines = [make_baseline(sweep, seed=seed) for seed in range(3)]
    report = write_report([sweep])
    rows = table(report / "comparisons.csv")
    pairs = [
        (read_run(sweep / f"model=tiny,protocol=paper,seed={seed}", name="t"),
         read_run(path, name="b")) for seed, path in enumerate(baselines)
    ]  # fmt: skip
    gaps = [
        one.score("best", "test", "accuracy") - other.score("best", "test", "accuracy")
        for one, other in pairs
        if isinstance(one, Trial) and isinstance(other, Trial)
    ]
    whole = found(rows, what="tiny minus thumbnail_svm", score="accuracy", over="3 trials")
    assert float(whole["difference"]) == pytest.approx(np.mean(gaps), abs=1e-6)
    for seed, gap in enumerate(gaps):
        over = f"patients of seed {seed}"
        row = found(rows, what="tiny minus thumbnail_svm", score="accuracy", over=over)
        assert float(row["difference"]) == pytest.approx(gap, abs=1e-6)
        assert float(row["low"]) < gap < float(row["high"])
    assert not [row for row in rows if "thumbnail_svm: " in row["what"]]  # no epoch was chosen
    text = said(report)
    assert "margin over the best baseline, thumbnail_svm, is " in text


def test_equal_predictions_have_no_margin(tmp_path: Path) -> None:
    tiny = make_run(tmp_path)
    svm = make_baseline(tmp_path)
    (svm / "predictions.csv").write_text((tiny / "predictions.csv").read_text())
    scored = json.loads((tiny / "metrics.json").read_text())["best"]
    edit(svm, lambda content: content.update(best=scored))
    rows = table(write_report([tmp_path]) / "comparisons.csv")
    row = found(rows, what="tiny minus thumbnail_svm", score="auroc")
    assert (row["difference"], row["low"], row["high"]) == ("0", "", "")


@pytest.mark.slow
def test_baselines_alone_are_reported(tmp_path: Path) -> None:
    make_baseline(tmp_path)
    text = said(write_report([tmp_path]))
    assert "Thumbnail_svm reached a test F1 of NORMAL" in text
    assert "The epoch was chosen" not in text


def test_failed_running_and_missing_runs_are_named_and_not_averaged(sweep: Path) -> None:
    write_status(sweep / "model=small,protocol=paper,seed=3", status="failed", epoch=2,
                 max_epochs=6, error="Traceback ...\nRuntimeError: out of memory")  # fmt: skip
    write_status(sweep / "model=large,protocol=paper,seed=0", status="running", epoch=4,
                 max_epochs=6)  # fmt: skip
    (sweep / "model=medium,protocol=paper,seed=0" / ".hydra").mkdir(parents=True)
    (sweep / "model=medium,protocol=paper,seed=0" / ".hydra" / "config.yaml").write_text("a: 1")
    report = write_report([sweep])
    text = said(report)
    assert "small: 3 of 4 runs; missing seed 3 (failed: at epoch 2 of 6: RuntimeError" in text
    assert "tiny: 3 of 4 runs; missing seed 3 (no such run)" in text
    assert "large: 0 of 4 runs; missing seed 0 (running: at epoch 4 of 6)" in text
    assert "no readable status.json; start the run again" in text
    rows = table(report / "summary.csv")
    assert found(rows, network="small", epoch="best", split="test", score="auroc")["n"] == "3"
    assert found(rows, network="large")["runs"] == "0"
    assert {row["state"] for row in table(report / "runs.csv")} == {
        "done", "failed", "running", "unfinished",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('{"schema": 1, "model": "ti', "metrics.json must be JSON; it is broken"),
        ('{"schema": 2, "model": "tiny"}', "metrics.json must have schema 1; got 2"),
        ('{"schema": 1, "model": "tiny"}', "it has no protocol"),
    ],
)
def test_half_written_and_foreign_metrics_are_named(sweep: Path, content: str, reason: str) -> None:
    (sweep / "model=tiny,protocol=paper,seed=1" / "metrics.json").write_text(content)
    report = write_report([sweep])
    assert reason in said(report)
    assert "tiny: 2 of 3 runs; missing seed 1" in said(report)
    row = found(table(report / "summary.csv"), network="tiny", epoch="best", split="test",
                score="accuracy")  # fmt: skip
    assert row["n"] == "2"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("status.json", None, "no readable status.json"),
        ("metrics.json", None, "metrics.json must be a regular file"),
        ("metrics.json", '{"a":' * 500 + "1" + "}" * 500, "it is nested too deep"),
        (".hydra/config.yaml", None, ""),
        (".hydra/config.yaml", "model: {name: [1]}\nseed: {}\nprotocol: {name: 1, fold: 2}\n", ""),
        (".hydra/overrides.yaml", "- seed=" + "9" * 5000 + "\n- seed=²\n", ""),
    ],
)
def test_one_hostile_run_stops_no_report(
    sweep: Path, name: str, content: str | None, reason: str
) -> None:
    path = sweep / "model=tiny,protocol=paper,seed=1" / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    if content is None:
        os.mkfifo(path)
    else:
        path.write_text(content)
    if ".hydra" in name:
        write_status(path.parents[1], status="failed", error="why", epoch=0, max_epochs=1)
    text = said(write_report([sweep]))
    assert reason in text
    assert "over 2 trials" in text


def test_runs_of_other_data_and_protocols_are_reported_apart(sweep: Path) -> None:
    make_run(sweep, seed=0, protocol="official")
    make_run(sweep / "b", seed=0, index="bb22")
    make_run(sweep / "c", seed=0, kind="phantom", index="cc33")
    report = write_report([sweep])
    rows = table(report / "summary.csv")
    assert {row["group"] for row in rows} == {
        "kermany-paper", "kermany-paper-2", "kermany-official", "phantom-paper",
    }  # fmt: skip
    wanted = {"epoch": "best", "split": "test", "score": "accuracy"}
    assert found(rows, group="kermany-paper", network="tiny", **wanted)["n"] == "3"
    page = (report / "report.html").read_text()
    assert "The runs are of 4 kinds that cannot be compared" in page
    phantom = found(rows, group="phantom-paper", network="tiny", **wanted)
    assert phantom["median_minus_paper"] == ""


def test_phantoms_get_a_banner_and_no_figure_of_the_paper(tmp_path: Path) -> None:
    make_run(tmp_path, kind="phantom")
    page = (write_report([tmp_path]) / "report.html").read_text()
    assert "Phantoms, not patients" in page
    assert "On phantoms, which are drawn and not radiographs, tiny reached" in page
    assert "the paper reports" not in page


def test_one_seed_has_no_spread_and_no_comparison(tmp_path: Path) -> None:
    for model in ("tiny", "small"):
        make_run(tmp_path, model=model)
    report = write_report([tmp_path])
    text = said(report)
    assert re.search(r"reached a test F1 of NORMAL of 0\.\d{3} in 1 trial of", text)
    assert "tiny, small: one trial only, so no spread and no comparison over splits." in text
    row = found(table(report / "comparisons.csv"), what="tiny minus small", score="accuracy")
    assert (row["trials"], row["low"], row["p"]) == ("1", "", "")
    assert "nan" not in (report / "report.html").read_text().lower()


def test_a_class_missing_in_the_test_part_is_named(sweep: Path) -> None:
    make_run(sweep, seed=7, sick=1.1)
    report = write_report([sweep])
    text = said(report)
    assert (
        "balanced_accuracy, mcc, auroc, average_precision undefined (the test split has no NORMAL)"
        in text
    )
    rows = table(report / "summary.csv")
    wanted = {"network": "tiny", "epoch": "best", "split": "test"}
    assert found(rows, score="f1_normal", **wanted)["n"] == "3"
    assert found(rows, score="recall_pneumonia", **wanted)["n"] == "4"
    assert "(n = 3)" in text


@pytest.mark.parametrize("value", ["null", "Infinity", '"high"'])
def test_a_score_that_is_not_a_number_is_named(sweep: Path, value: str) -> None:
    path = sweep / "model=tiny,protocol=paper,seed=1" / "metrics.json"
    content = json.loads(path.read_text())
    content["best"]["test"]["auroc"] = "HERE"
    path.write_text(json.dumps(content).replace('"HERE"', value))
    report = write_report([sweep])
    assert "seed=1: auroc undefined (not a number): left out of the summary" in said(report)
    row = found(table(report / "summary.csv"), network="tiny", epoch="best", split="test",
                score="auroc")  # fmt: skip
    assert row["n"] == "2"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "a finished run has predictions.csv"),
        ("{head}a,p1,NORMAL,test,0.9,0.1\n", "predictions.csv has 1 of 200 test images"),
        ("{head}a,p1,SICK,test,0.9,0.1\n", "it holds other labels"),
        ("{head}a,p1,NORMAL,test,0.9,x\n", "must hold probabilities from 0 to 1"),
    ],
)
def test_predictions_that_do_not_fit_leave_the_interval_out(
    tmp_path: Path, text: str | None, reason: str
) -> None:
    path = make_run(tmp_path) / "predictions.csv"
    path.unlink()
    if text is not None:
        head = "path,patient,label,split,p_normal,p_pneumonia\n"
        path.write_text(text.replace("{head}", head))
    report = write_report([tmp_path])
    assert re.search(f"no interval and no curve: .*{re.escape(reason)}", said(report))
    assert "best_test_auroc_low" not in table(report / "runs.csv")[0]


def test_predictions_of_another_epoch_are_noticed(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    edit(folder, lambda c: c["best"]["test"].update(accuracy=0.5))
    assert "metrics.json has 0.500" in said(write_report([tmp_path]))


def test_other_settings_are_named_and_not_averaged(sweep: Path) -> None:
    make_run(sweep, seed=3, settings={"lr": 0.01})
    make_run(sweep, model="small", seed=3, epochs=9)
    report = write_report([sweep])
    text = said(report)
    assert "tiny was trained with different optimizer.lr: each setting has a row of its own" in text
    assert "small was trained with different trainer.max_epochs" in text
    rows = table(report / "summary.csv")
    wanted = {"epoch": "best", "split": "test", "score": "accuracy"}
    assert found(rows, network="tiny (lr=0.001)", **wanted)["n"] == "3"
    assert found(rows, network="tiny (lr=0.01)", **wanted)["n"] == "1"


def test_settings_are_those_of_the_runs_configuration(tmp_path: Path) -> None:
    for seed in (0, 1):
        for fill in ("reflect", 0):
            folder = make_run(tmp_path / f"{fill}", seed=seed)
            configure(folder, augment={"fill": fill}, num_threads=seed, data={"root": str(fill)})
    rows = table(write_report([tmp_path]) / "summary.csv")
    told = {row["network"]: row["runs"] for row in rows}
    assert told == {"tiny (fill=reflect)": "2", "tiny (fill=0)": "2"}


def test_the_best_of_several_settings_is_told_by_validation(tmp_path: Path) -> None:
    for lr, on_validation, on_test in ((0.1, 0.99, 0.8), (0.2, 0.9, 0.97)):
        folder = make_run(tmp_path / f"{lr}", protocol="holdout", settings={"lr": lr})
        edit(folder, lambda m, v=on_validation: m["best"]["val"].update(f1_normal=v))  # type: ignore[misc]
        edit(folder, lambda m, v=on_test: m["best"]["test"].update(f1_normal=v))  # type: ignore[misc]
    report = write_report([tmp_path])
    first = (report / "summary.md").read_text().splitlines()[2]
    assert first.startswith("Tiny (lr=0.1) reached a test F1 of NORMAL of 0.800 in 1 trial")
    assert "the best of 2 settings on the val split" in first
    assert not [r for r in table(report / "comparisons.csv") if " minus tiny" in r["what"]]


def test_runs_that_were_not_started_and_failed_folds_are_named(tmp_path: Path) -> None:
    one = {"model": "tiny", "protocol": "paper", "fold": None}
    planned = [one | {"seed": seed} for seed in (0, 1, 2)]
    make_run(tmp_path / "a", seed=1)
    (tmp_path / "a" / "sweep.json").write_text(json.dumps({"arguments": [], "planned": planned}))
    make_run(tmp_path / "b", protocol="kfold", fold=0)
    failed = tmp_path / "b" / "model=tiny,seed=0,protocol.fold=2,protocol=kfold"
    write_status(failed, status="failed", error="no room", epoch=0, max_epochs=2)
    report = write_report([tmp_path])
    rows = [row for row in table(report / "runs.csv") if row["state"] == "not started"]
    assert [row["seed"] for row in rows] == ["0", "2"]
    assert "1 of 3 runs; missing seed 0, seed 2 (not started" in said(report)
    assert "1 of 2 runs; missing seed 0 fold 2 (failed" in said(report)


@pytest.mark.parametrize(
    ("protocol", "hashes", "ratio"),
    [
        ("paper", ("a", "b"), 3 / 7),
        ("paper", ("a", "a"), 0.0),
        ("paper", (None, None), 3 / 7),
        ("official", ("a", "b"), 0.0),
    ],
)
def test_only_trials_of_one_test_part_do_not_overlap(
    protocol: str, hashes: tuple[str | None, ...], ratio: float
) -> None:
    parts = {"test": {"images": 300}, "train": {"images": 700}}
    trials = [
        Trial(str(h), {"protocol": protocol, "data": {"split_sha256": h, "splits": parts}})
        for h in hashes
    ]
    assert comparisons._test_to_train(trials) == pytest.approx(ratio)


def test_figure_1_shows_the_papers_figures_however_close_ours_are(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    for part in ("train", "test"):
        edit(folder, lambda m, p=part: m["best"][p].update(f1_normal=0.91, f1_pneumonia=0.97))  # type: ignore[misc]
    run = read_run(folder, name="one")
    assert isinstance(run, Trial)
    (group,), _ = group_trials([run])
    normal, pneumonia = figures.f1_by_network(group).axes[:2]  # type: ignore[union-attr]
    low, high = normal.get_ylim()
    assert low < 0.91 < published.ALL_F1 < high
    low, high = pneumonia.get_ylim()
    assert low < 0.97 < high
    assert high - low >= figures.LEAST_F1_SHOWN - 1e-9


def test_figure_1_tells_train_scores_of_the_steps_from_those_in_evaluation_mode(
    tmp_path: Path,
) -> None:
    runs = [make_run(tmp_path, model=model) for model in ("tiny", "small")]
    edit(runs[0], lambda m: m["best"].update(train_eval=m["best"]["train"]))
    edit(runs[1], lambda m: m["best"].pop("train_eval", None))
    trials = [trial for run in runs if isinstance(trial := read_run(run, name="one"), Trial)]
    (group,), _ = group_trials(trials)
    figure = figures.f1_by_network(group)
    assert figure is not None
    labels = {text.get_text() for text in figure.legends[0].get_texts()}
    assert labels >= {"train", "train, of the steps", "test"}
    hollow, _, cross, _ = figure.axes[0].lines[:4]
    assert (hollow.get_markerfacecolor(), cross.get_marker()) == ("none", "x")


def test_networks_trained_differently_and_mixed_code_are_named(tmp_path: Path) -> None:
    make_run(tmp_path)
    make_run(tmp_path, model="small", settings={"lr": 0.01}, git_commit="fff0000")
    text = said(write_report([tmp_path]))
    assert "different recipes, which differ in learning rate: their scores compare recipes" in text
    assert "| Learning rate | 0.001 | 0.01 |" in text
    assert "The runs are of 2 versions of the code: 1 at" in text


def test_a_run_done_twice_counts_once(sweep: Path) -> None:
    again = make_run(sweep / "again", seed=1)
    status = json.loads((again / "status.json").read_text()) | {"time": "2026-01-01T00:00:00"}
    (again / "status.json").write_text(json.dumps(status))
    report = write_report([sweep])
    rows = table(report / "runs.csv")
    (left,) = [row for row in rows if row["state"] == "duplicate"]
    assert left["run"] == "sweep/model=tiny,protocol=paper,seed=1"
    assert "settings as sweep/again/model=tiny,protocol=paper,seed=1, which is newer" in said(
        report
    )


def test_folders_given_twice_and_old_reports_are_not_read_twice(sweep: Path) -> None:
    make_run(sweep / "report", seed=5)
    report = write_report([sweep, sweep / "model=tiny,protocol=paper,seed=0"], out=sweep / "r")
    assert len(table(report / "runs.csv")) == 6


def test_a_folder_without_runs_is_named(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / "empty")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: DIR must hold a run folder")
    assert error.count("\n") == 1
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "there is no " in capsys.readouterr().err
    assert not (tmp_path / "empty" / "report").exists()
    assert "| empty | no runs | holds no run folder |" in said(
        write_report([sweep, tmp_path / "empty"])
    )


def test_a_folder_that_holds_other_things_is_refused(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for stray in ("photos", "a/b/c/photos"):
        (tmp_path / stray).mkdir(parents=True)
        (tmp_path / stray / "1.jpeg").touch()
        assert main([str(tmp_path)]) == 2
        error = capsys.readouterr().err
        assert "holds " + stray[:5] in error
        assert "Name the folders of the runs or sweeps" in error
        assert not (tmp_path / "report").exists()
        shutil.rmtree(tmp_path / stray.partition("/")[0])
    (sweep / "sweep.json").write_text("{}")
    (sweep / "photos").mkdir()
    (sweep / "photos" / "1.jpeg").touch()  # which a sweep's folder may hold
    assert main([str(sweep.parent)]) == 0


def test_only_unfinished_runs_still_make_a_report(tmp_path: Path) -> None:
    write_status(tmp_path / "model=tiny,seed=0", status="failed", error="x", epoch=0, max_epochs=5)
    report = write_report([tmp_path])
    assert said(report).splitlines()[2] == "No finished run was found: 1 failed, each named below."
    assert "model=tiny,seed=0" in (report / "report.html").read_text()


def test_the_command_prints_the_finding_and_the_page(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(sweep), "--out", str(sweep / "there")]) == 0
    *finding, page = capsys.readouterr().out.splitlines()
    assert finding[0].startswith("Tiny reached")
    assert len(finding) > 1
    assert max(map(len, finding)) <= 80
    assert Path(page) == (sweep / "there" / "report.html")
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "examples:" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["notes.txt", "mine.png", "kermany-paper-figure1.png"])
def test_a_folder_with_other_files_is_not_replaced(sweep: Path, name: str) -> None:
    (sweep / "report").mkdir()
    (sweep / "report" / name).write_text("mine")
    with pytest.raises(ValueError, match=rf"holds {name}\. Name another"):
        write_report([sweep])
    assert (sweep / "report" / name).read_text() == "mine"


def test_an_earlier_report_stays_if_writing_fails(
    sweep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = said(write_report([sweep]))

    def broken(path: Path, data: bytes) -> int:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", broken)
    with pytest.raises(OSError, match="disk full"):
        write_report([sweep])
    monkeypatch.undo()
    assert said(sweep / "report") == before
    assert [p.name for p in sweep.iterdir() if p.name.startswith(".")] == []


class Loads(HTMLParser):
    """Collects what a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "iframe", "object", "embed", "img"):
            self.found.append(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "data") or (name == "href" and tag in ("link", "use")):
                self.found.append(f"{tag} {value}")
            if value and re.match(r"(https?:)?//", value) and not name.startswith("xmlns"):
                self.found.append(f"{tag} {name} {value}")


@pytest.mark.slow
def test_pictures_and_page_are_whole_and_the_same_again(sweep: Path) -> None:
    report = write_report([sweep])
    files = {path.name: path.read_bytes() for path in report.iterdir()}
    names = ("figure1", "learning-curves", "confusion", "roc-precision-recall", "accuracy-size")
    for name in names:
        assert files[f"kermany-paper-{name}.png"].startswith(b"\x89PNG")
        assert b"</svg>" in files[f"kermany-paper-{name}.svg"]
    page = files["report.html"].decode()
    assert page.count("<svg") == len(names)
    loads = Loads()
    loads.feed(page)
    assert set(loads.found) <= {"link data:,"}
    assert "url(http" not in page
    assert "@import" not in page
    again = {path.name: path.read_bytes() for path in write_report([sweep]).iterdir()}
    assert again == files


@pytest.mark.slow
def test_pictures_of_bad_runs_are_drawn_or_left_out(tmp_path: Path) -> None:
    make_run(tmp_path, sick=1.1)  # one class, one seed
    make_run(tmp_path, model="b$ar$", history=[], parameters=None)
    (tmp_path / "model=b$ar$,protocol=paper,seed=0" / "predictions.csv").unlink()
    make_run(tmp_path / "c", kind="phantom", history=[])
    report = write_report([tmp_path])
    names = {path.name for path in report.glob("*.png")}
    assert "kermany-paper-figure1.png" in names
    assert "phantom-paper-learning-curves.png" not in names


def test_the_report_needs_no_torch() -> None:
    code = (
        "import sys, pneumo.report.__main__, pneumo.report.report_folder\n"
        "heavy = {'torch', 'pytorch_lightning', 'hydra', 'matplotlib.pyplot'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


def test_train_scores_are_those_of_evaluation_mode_where_all_runs_have_them(
    tmp_path: Path,
) -> None:
    for seed in (0, 1):
        folder = make_run(tmp_path, seed=seed)
        for when, f1 in (("best", 0.987), ("last", 0.991)):
            edit(folder, lambda c, w=when, v=f1: c[w].update(train_eval={"f1_normal": v}))  # type: ignore[misc]
    text = said(write_report([tmp_path]))
    assert "0.987" in text
    assert "0.991" in text
    edit(folder, lambda c: c["best"].pop("train_eval"))
    assert "0.987" not in said(write_report([tmp_path]))


def test_debug_runs_are_a_group_of_their_own_and_said_first(tmp_path: Path) -> None:
    make_run(tmp_path, seed=0)
    make_run(tmp_path / "only", seed=1, debug=True)
    both, debug = said(write_report([tmp_path])), said(write_report([tmp_path / "only"]))
    assert "debug protocol" in both
    assert "DEBUG" not in both.splitlines()[2]
    assert debug.splitlines()[2].startswith("DEBUG RUNS of a few batches an epoch")


def test_names_of_runs_are_no_markup_and_no_formula(tmp_path: Path) -> None:
    make_run(tmp_path, model="=c$d<i>|x")
    out = write_report([tmp_path])
    assert "=c$d&lt;i&gt;|x" in (out / "report.html").read_text()
    for name in ("report.html", "summary.md"):
        assert "<i>" not in (out / name).read_text()
    assert table(out / "runs.csv")[0]["model"] == "'=c$d<i>|x"


def test_the_report_opens_with_the_honest_score_and_every_protocol(tmp_path: Path) -> None:
    for protocol in ("paper", "holdout", "official"):
        make_run(tmp_path, protocol=protocol)
    make_baseline(tmp_path, protocol="official")
    make_run(tmp_path / "d", protocol="official", debug=True)
    report = write_report([tmp_path])
    first = said(report).splitlines()[2]
    assert re.match(r"Tiny reached .* in 1 trial of the official protocol, its epoch chosen", first)
    assert first.index("official protocol") < first.index("Optimistic, scored on the split")
    page = (report / "report.html").read_text()
    shown = page[page.index('class="overview"') : page.index("</table>")]
    assert re.findall(r'href="#kermany-(\w+)"', shown) == ["official", "holdout", "paper"]
    assert shown.count("not run") == 2  # of the baseline
    assert "optimistic: epoch chosen on the test split" in shown
    for name in re.findall(r'href="#([^"]+)"', page):
        assert f'id="{name}"' in page
    assert "<b>kermany, debug protocol.</b> Debug runs." in page
    assert "**Debug runs. They trained on a few batches an epoch" in said(report)
    assert "## Kermany: median test F1 of NORMAL by protocol" in said(report)


def test_an_interval_of_a_difference_that_says_nothing_is_withheld(tmp_path: Path) -> None:
    for seed, value in enumerate((0.1, 0.9, 0.1)):
        make_run(tmp_path, seed=seed)
        other = make_run(tmp_path, seed=seed, model="small")
        edit(other, lambda c, v=value: c["best"]["test"].update(accuracy=v))  # type: ignore[misc]
    report = write_report([tmp_path])
    row = found(table(report / "comparisons.csv"), what="tiny minus small", score="accuracy")
    assert (row["low"], row["high"]) == ("", "")
    assert "withheld: 3 trials are too few" in said(report)
    for row in table(report / "comparisons.csv"):
        assert all(-1 <= float(row[end]) <= 1 for end in ("low", "high") if row[end])


def test_recipes_are_one_table_of_resolved_settings(tmp_path: Path) -> None:
    tiny, small = make_run(tmp_path), make_run(tmp_path, model="small")
    configure(tiny, data={"image_size": 256}, optimizer={"lr": 0.004, "weight_decay": None},
              model={"name": "tiny", "image_size": "${data.image_size}", "f": 2})  # fmt: skip
    configure(small, data={"image_size": 128}, optimizer={"lr": 0.006, "weight_decay": 0.02},
              model={"name": "small", "f": "${oc.env:HOME}"})  # fmt: skip
    report = write_report([tmp_path])
    text = said(report)
    assert "| Image side, pixels | 256 | 128 |" in text
    assert "| Weight decay | \N{EN DASH} | 0.02 |" in text
    assert "differ in image side, pixels, learning rate, weight decay:" in text
    assert "${" not in text
    assert "None" not in text


def test_summary_links_the_audit_and_no_name_is_a_link() -> None:
    link = AuditLink("set", "Said.", "../audit.html")
    text = markdown(Report(["[a](http://b)"], audit=link))
    assert "Audit of set: Said. [The audit](../audit.html) shows" in text
    assert "\\[a\\](http://b)" in text


def test_few_trials_have_no_box_and_many_networks_no_bands(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, model=model) for model in ("tiny", "small", "medium", "large")]
    trials = [trial for run in runs if isinstance(trial := read_run(run, name="one"), Trial)]
    (group,), _ = group_trials(trials[:1])
    lower = figures.f1_by_network(group).axes[1]  # type: ignore[union-attr]
    assert [text.get_text() for text in lower.get_xticklabels()] == ["tiny\n1 trial"]
    for count, bands in ((3, 3), (4, 0)):
        (group,), _ = group_trials(trials[:count])
        roc = figures.roc_and_precision_recall(group).axes[0]  # type: ignore[union-attr]
        assert len(roc.collections) == bands
