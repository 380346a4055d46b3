"""The report over made-up run folders: its numbers, and how it treats bad ones."""

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pneumo.report import terminal
from pneumo.report.__main__ import main
from pneumo.report.findings import caveats
from pneumo.report.groups import labels
from pneumo.report.report_folder import escaped_tex, values_of, write_report
from pneumo.report.templates import render_markdown
from pneumo.runs.writer import RunWriter
from tests.conftest import Capture, Patch
from tests.report.made_runs import (
    configure,
    edit,
    groups_of,
    make_baseline,
    make_run,
    page,
    read_metrics,
    rescore,
    row_of,
    rows_of,
    score_of,
    summary,
    write_status,
)

SEED_1 = "model=tiny,protocol=paper,seed=1"


def findings(report: Path) -> str:
    return summary(report).splitlines()[2]


def test_summary_is_the_spread_over_trials(finished: Path) -> None:
    runs = [finished / f"model=tiny,protocol=paper,seed={seed}" for seed in range(3)]
    f1 = [read_metrics(run)["best"]["test"]["f1_normal"] for run in runs]
    row = score_of(finished / "report", "f1_normal", network="tiny", protocol="paper")
    numbers = {key: float(row[key]) for key in ("median", "mean", "sd", "low", "high")}
    expected = {"median": np.median(f1), "mean": np.mean(f1), "sd": np.std(f1, ddof=1)}
    assert numbers == pytest.approx(expected | {"low": min(f1), "high": max(f1)}, abs=1e-5)
    assert float(row["paper_median"]) == 0.938
    assert float(row["median_minus_paper"]) == pytest.approx(np.median(f1) - 0.938, abs=1e-5)
    for row in rows_of(finished / "report" / "runs.csv"):
        low, score, high = (float(row[f"best_test_auroc{end}"]) for end in ("_low", "", "_high"))
        assert low <= score <= high
        assert low < high


def test_the_first_sentences_give_score_and_optimism_and_runs_left_out_are_named(
    sweep: Path,
) -> None:
    write_status(sweep / "model=small,protocol=paper,seed=3", status="failed", epoch=2,
                 max_epochs=6, error="Traceback ...\nRuntimeError: out of memory")  # fmt: skip
    write_status(sweep / "model=large,protocol=paper,seed=0", status="running", epoch=4,
                 max_epochs=6)  # fmt: skip
    begun = sweep / "model=medium,protocol=paper,seed=0" / ".hydra"
    begun.mkdir(parents=True)
    (begun / "config.yaml").write_text("a: 1")
    report = write_report([sweep])
    text = summary(report)
    assert re.match(
        r"(Tiny|Small) reaches an AUROC of 0\.\d{3} \(0\.\d{3} to 0\.\d{3}, 3 trials\) on random "
        r"test splits, the best of 2 models by F1 of NORMAL on the test split\. Every epoch was "
        r"chosen on the split that is scored",
        findings(report),
    )
    lead = re.search(r'<p class="lead">(.*?)</p>', page(report))
    assert lead
    assert findings(report).startswith(lead[1])
    assert "| failed | at epoch 2 of 6: RuntimeError: out of memory |" in text
    assert "seed=0 | running | at epoch 4 of 6, or killed there; resume" in text
    assert score_of(report, "auroc", network="small")["n"] == "3"
    states = {row["state"] for row in rows_of(report / "runs.csv")}
    assert states == {"done", "failed", "running", "unfinished"}


def test_broken_runs_are_named_and_left_out(tmp_path: Path) -> None:
    broken = (
        ("metrics.json", '{"schema": 1, "model": "ti', "metrics.json must be JSON"),
        ("metrics.json", '{"schema": 2, "model": "tiny"}', "got schema: Input should be 1"),
        (".hydra/config.yaml", "model: {name: [1]}", "at epoch 0 of 1: why"),
    )
    make_run(tmp_path, seed=99)
    for seed, (name, content, _) in enumerate(broken):
        path = make_run(tmp_path, seed=seed) / name
        path.write_text(content)
        if ".hydra" in name:
            write_status(path.parents[1], status="failed", error="why", epoch=0, max_epochs=1)
    report = write_report([tmp_path])
    reasons = {row["run"][-6:]: row["reason"] for row in rows_of(report / "runs.csv")}
    for seed, (_, _, reason) in enumerate(broken):
        assert reason in reasons[f"seed={seed}"]
    assert score_of(report, "accuracy", network="tiny")["n"] == "1"


def test_runs_of_other_data_and_protocols_are_reported_apart(sweep: Path) -> None:
    make_run(sweep, seed=0, protocol="official")
    make_run(sweep / "b", seed=0, index="bb22")
    make_run(sweep / "c", seed=0, kind="phantom", index="cc33")
    report = write_report([sweep])
    assert {row["group"] for row in rows_of(report / "summary.csv")} == {
        *("kermany-paper", "kermany-paper-2", "kermany-official", "phantom-paper")
    }
    assert score_of(report, "accuracy", group="kermany-paper", network="tiny")["n"] == "3"
    phantom = score_of(report, "accuracy", group="phantom-paper", network="tiny")
    assert phantom["median_minus_paper"] == ""


@pytest.mark.parametrize(
    ("changed", "start"),
    [
        ({"kind": "phantom"}, "On phantoms, which are generated and not radiographs, tiny reaches"),
        ({"debug": True}, "DEBUG RUNS of a few batches per epoch"),
        ({"model": "prior", "baseline": True, "selection": None}, "Prior reaches an AUROC"),
    ],
)
def test_phantoms_debug_runs_and_baselines_alone_are_marked(
    tmp_path: Path, changed: dict[str, Any], start: str
) -> None:
    make_run(tmp_path, **changed)
    report = write_report([tmp_path])
    assert findings(report).startswith(start)
    assert ("Phantoms, not patients" in page(report)) == ("kind" in changed)
    assert ("The epoch was chosen" in page(report)) == ("baseline" not in changed)


def test_undefined_scores_are_named(sweep: Path) -> None:
    make_run(sweep, seed=7, sick=1.1)
    for seed, value in ((1, "null"), (2, '"high"')):
        path = sweep / SEED_1.replace("seed=1", f"seed={seed}") / "metrics.json"
        rescore(path.parent, auroc="HERE")
        path.write_text(path.read_text().replace('"HERE"', value))
    report = write_report([sweep])
    assert re.search(r"auroc.* undefined \(the test split has no NORMAL\)", summary(report))
    assert "tiny, 2 of 4 trials: auroc undefined: left out" in summary(report)
    assert score_of(report, "auroc", network="tiny")["n"] == "1"
    assert score_of(report, "f1_normal", network="tiny")["n"] == "3"
    assert score_of(report, "recall_pneumonia", network="tiny")["n"] == "4"
    assert "(n = 3)" in page(report)


def test_predictions_that_do_not_fit_leave_the_interval_out(tmp_path: Path) -> None:
    rows = ("a,p1,NORMAL,test,0.9,0.1\n", "a,p1,SICK,test,0.9,0.1\n")
    for seed, text in enumerate(rows):
        path = make_run(tmp_path, seed=seed) / "predictions.csv"
        path.write_text("path,patient,label,split,p_normal,p_pneumonia\n" + text)
    (make_run(tmp_path, seed=2) / "predictions.csv").unlink()
    rescore(make_run(tmp_path, seed=3), accuracy=0.5)  # of another epoch
    report = write_report([tmp_path])
    reasons = ("has 1 of 200 test images", "other labels", "predictions.csv", "json has 0.500")
    for row, reason in zip(rows_of(report / "runs.csv"), reasons, strict=True):
        assert re.search(f"no interval and no curve: .*{reason}", row["reason"])
        assert "best_test_auroc_low" not in row


def test_other_settings_are_named_and_not_averaged(sweep: Path) -> None:
    make_run(sweep, seed=3, settings={"lr": 0.01})
    for seed in (0, 1):
        for fill in ("reflect", 0):
            folder = make_run(sweep / f"{fill}", model="medium", seed=seed)
            callbacks = {"checkpoint": {"monitor": fill}, "lines": {"score": seed}}
            same = {"num_threads": seed, "data": {"root": seed, "csv": seed}}
            configure(folder, augment={"fill": fill}, callbacks=callbacks, **same)
    for average in ("Long", "Short"):
        folder = make_run(sweep / average, model="large")
        callbacks = {"averaging": {"_target_": f"mine.{average}"}}
        configure(folder, model={"name": "large"}, callbacks=callbacks)
    for seed, place in enumerate((None, "a/first", "/b/a/first", None)):  # the last is a package
        start: dict[str, Any] = {"run": "first", "weights_sha256": "12345678ab"}
        folder = make_run(sweep, model="vgg16", seed=seed, init=start if seed else None)
        configure(folder, seed=seed, model={"name": "vgg16"}, **{"init": place} if place else {})
    for epochs in (10, 20):
        folder = make_run(sweep / f"{epochs}", model="compact")
        schedule = {"T_max": "${trainer.max_epochs}"}
        configure(folder, schedule=schedule, trainer={"max_epochs": epochs})
    report = write_report([sweep])
    rows = rows_of(report / "summary.csv")
    assert {row["network"]: row["runs"] for row in rows} == {
        **{"vgg16 (init=None)": "1", "vgg16 (init=first (12345678))": "3"},
        **{"tiny (lr=0.001)": "3", "tiny (lr=0.01)": "1", "small": "3"},
        **{"medium (fill=reflect)": "2", "medium (fill=0)": "2"},
        **{"large (averaging=Long)": "1", "large (averaging=Short)": "1"},
        **{"compact (max_epochs=10)": "1", "compact (max_epochs=20)": "1"},
    }


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        (
            [
                {"views.mirror": True, "optimizer.lr": 0.006, "schedule.max_lr": 0.006},
                {"views.mirror": False, "optimizer.lr": 0.001, "schedule.max_lr": 0.001},
                {"views.mirror": False, "optimizer.lr": 0.006, "schedule.max_lr": 0.006},
            ],
            ["(mirror=True, lr=0.006)", "(mirror=False, lr=0.001)", "(mirror=False, lr=0.006)"],
        ),
        (
            [{"scales": of, "mirror": 1} for of in ([1], [1, 2])],
            ["(scales=[1])", "(scales=[1, 2])"],
        ),
        (
            [
                {"a.gamma": 1, "b.gamma": 1},
                {"a.gamma": 2, "b.gamma": 1},
                {"a.gamma": 2, "b.gamma": 3},
            ],
            [f"(a.gamma={a}, b.gamma={b})" for a, b in ((1, 1), (2, 1), (2, 3))],
        ),
    ],
)
def test_labels_have_the_settings_that_distinguish(
    settings: list[dict[str, object]], wanted: list[str]
) -> None:
    networks = [("kermany-official", "net", each) for each in settings]
    assert labels(networks) == [f"net {label}" for label in wanted]
    recipe = ("kermany-official", "net-fast", {"lr": 1})  # identified by its name alone
    assert labels([recipe, networks[0]]) == ["net-fast", "net"]


def test_the_best_of_several_settings_is_chosen_on_validation(tmp_path: Path) -> None:
    for lr, on_validation, on_test in ((0.1, 0.99, 0.8), (0.2, 0.9, 0.97)):
        folder = make_run(tmp_path / f"{lr}", protocol="holdout", settings={"lr": lr})
        rescore(folder, split="val", f1_normal=on_validation)
        rescore(folder, f1_normal=on_test)
    report = write_report([tmp_path])
    assert findings(report).startswith("Tiny (lr=0.1) reaches")
    assert "the best of 2 settings by F1 of NORMAL on the validation split" in findings(report)
    rows = rows_of(report / "comparisons.csv")
    assert not [row for row in rows if " minus tiny" in row["what"]]


def test_the_first_sentence_compares_what_is_comparable(tmp_path: Path) -> None:
    for fold in range(3):
        make_run(tmp_path / "k" / str(fold), protocol="kfold", fold=fold)
        make_baseline(tmp_path / "k" / str(fold), protocol="kfold", fold=fold)
    header: dict[str, Any] = {
        "model": "file_header",
        "baseline": True,
        "selection": None,
        "protocol": "kfold",
    }
    rescore(make_run(tmp_path / "k", fold=0, **header), auroc=0.999)  # on one fold of three
    folds = write_report([tmp_path / "k"])
    assert re.search(
        r"3 trials\) on folds .* over the best baseline, thumbnail_svm", findings(folds)
    )
    # scores on validation are not compared with those on the test split, of runs without validation
    val = make_run(tmp_path / "v" / "a", protocol="official")
    rescore(val, split="val", f1_normal=0.5)
    last: dict[str, Any] = {"selection": {"on": "none"}, "protocol": "official"}
    test = make_run(tmp_path / "v" / "b", settings={"lr": 0.1}, **last)
    edit(test, lambda content: content["best"].pop("val"))
    text = findings(write_report([tmp_path / "v"]))
    assert text.startswith("Tiny (lr=0.001) reaches")
    assert "the best of" not in text


def test_runs_that_were_not_started_are_named(tmp_path: Path) -> None:
    planned = [["model=tiny", f"seed={seed}"] for seed in (0, 1, 2)]
    RunWriter(make_run(tmp_path / "a", seed=1)).write_overrides(planned[1])
    (tmp_path / "a" / "sweep.json").write_text(json.dumps({"arguments": [], "planned": planned}))
    report = write_report([tmp_path])
    rows = [row for row in rows_of(report / "runs.csv") if row["state"] == "not started"]
    assert [row["seed"] for row in rows] == ["0", "2"]
    assert "a/model=tiny,seed=2 | not started | the sweep plans it" in summary(report)


def test_the_command_that_adds_baselines_has_the_images_of_the_runs(tmp_path: Path) -> None:
    of_images = ["data=phantom", "data.num_images=60", "data.root='a b'"]
    RunWriter(make_run(tmp_path)).write_overrides(["model=tiny", *of_images, "data.batch_size=4"])
    make_run(tmp_path, seed=1)
    (command,) = (s for s in caveats(groups_of(tmp_path)[0]) if "To add baselines" in s)
    assert shlex.split(command.partition(": ")[2])[4:] == [
        *("model=thumbnail_svm,file_header,prior", "protocol=paper", *of_images),
        *("callbacks.checkpoint.monitor=last", "seed=0,1"),
    ]


def test_one_seed_has_no_spread_and_different_recipes_and_code_are_named(tmp_path: Path) -> None:
    tiny = make_run(tmp_path)
    small = make_run(tmp_path, model="small", git_commit="fff0000")
    configure(tiny, data={"image_size": 256}, optimizer={"lr": 0.004, "weight_decay": None},
              model={"name": "tiny", "image_size": "${data.image_size}", "f": 2})  # fmt: skip
    configure(small, data={"image_size": 128}, optimizer={"lr": 0.006, "weight_decay": 0.02},
              model={"name": "small", "f": "${oc.env:HOME}"})  # fmt: skip
    report = write_report([tmp_path])
    text = summary(report)
    assert "1 trial) on random test splits" in findings(report)
    assert "tiny, small: one trial only, so no spread" in text
    row = row_of(report / "comparisons.csv", what="tiny minus small", score="accuracy")
    assert (row["trials"], row["over"], row["p"]) == ("1", "patients of seed 0", "")
    assert "trained by different recipes" in text
    assert re.search(r"several versions of the code, commits \w+ \(1\), \w+ \(1\)", text)
    assert not [word for word in ("${", "None", "nan ") if word in text]


def test_a_run_done_or_named_twice_counts_once_and_an_old_report_is_not_read(sweep: Path) -> None:
    write_status(make_run(sweep / "again", seed=1), status="done", time="2026-01-01T00:00:00")
    make_run(sweep / "report", seed=5)
    report = write_report([sweep, sweep / SEED_1], out=sweep / "r")
    assert len(rows_of(report / "runs.csv")) == 7
    left_out = row_of(report / "runs.csv", state="duplicate")
    assert left_out["run"] == f"sweep/{SEED_1}"
    assert f"settings as sweep/again/{SEED_1}, which is newer" in summary(report)


def test_a_folder_without_finished_runs_is_named(
    sweep: Path, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "empty").mkdir()
    for name, message in (("empty", "DIR must hold a run folder"), ("nowhere", "")):
        assert main([str(tmp_path / name)]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: {message}")
        assert error.count("\n") == 1
    assert not (tmp_path / "empty" / "report").exists()
    text = summary(write_report([sweep, tmp_path / "empty"]))
    assert "| empty | empty | holds no run folder |" in text
    failed = tmp_path / "failed" / "model=tiny,seed=0"
    write_status(failed, status="failed", error="x", epoch=0, max_epochs=5)
    report = write_report([tmp_path / "failed"])
    assert findings(report) == "No finished run was found: 1 failed, each named below."
    assert "model=tiny,seed=0" in page(report)


def test_the_command_prints_the_table_and_the_page(sweep: Path, capsys: Capture) -> None:
    assert main([str(sweep), "--out", str(sweep / "there")]) == 0
    *table, path = capsys.readouterr().out.splitlines()
    assert any(line.startswith("tiny, 3 runs ") for line in table)
    assert max(map(len, table)) <= 80
    assert Path(path) == (sweep / "there" / "report.html")
    (sweep / "empty").mkdir()
    write_status(sweep / "model=tiny,seed=9", status="failed", error="x", epoch=0, max_epochs=5)
    assert main([str(sweep), str(sweep / "empty"), "--out", str(sweep / "there")]) == 0
    assert "! Left out: 1 empty, 1 failed. The" in capsys.readouterr().out


def test_a_folder_with_other_files_is_not_replaced_and_an_earlier_report_stays_if_writing_fails(
    sweep: Path, monkeypatch: Patch
) -> None:
    before = summary(write_report([sweep]))
    for name in ("notes.txt", "mine.png", "kermany-paper-figure1.png"):
        folder = sweep / "others"
        folder.mkdir()
        (folder / name).write_text("mine")
        with pytest.raises(ValueError, match=rf"holds {name}\. Name another"):
            write_report([sweep], out=folder)
        assert (folder / name).read_text() == "mine"
        shutil.rmtree(folder)

    def broken(path: Path, data: bytes) -> int:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", broken)
    with pytest.raises(OSError, match="disk full"):
        write_report([sweep])
    monkeypatch.undo()
    assert summary(sweep / "report") == before
    assert [p.name for p in sweep.iterdir() if p.name.startswith(".")] == []


def test_train_scores_are_those_of_evaluation_mode_if_all_runs_have_them(tmp_path: Path) -> None:
    for seed in (0, 1):
        folder = make_run(tmp_path, seed=seed)
        for when, f1 in (("best", 0.987), ("last", 0.991)):
            rescore(folder, when, "train_eval", f1_normal=f1)
    text = page(write_report([tmp_path]))
    assert "0.987" in text
    assert "0.991" in text
    edit(folder, lambda content: content["best"].pop("train_eval"))
    assert "0.987" not in page(write_report([tmp_path]))


def test_names_of_runs_are_no_markup_and_no_formula(tmp_path: Path) -> None:
    make_run(tmp_path, model="=c$d<i>|x")
    out = write_report([tmp_path])
    assert "=c$d&lt;i&gt;|x" in page(out)
    assert "<i>" not in page(out) + summary(out)
    assert rows_of(out / "runs.csv")[0]["model"] == "'=c$d<i>|x"


def test_the_report_opens_with_the_honest_score_and_every_protocol(tmp_path: Path) -> None:
    for protocol in ("paper", "holdout", "official"):
        make_run(tmp_path, protocol=protocol)
    for seed in (0, 1):
        make_run(tmp_path, model="small", seed=seed, protocol="official", recipe="small-robust")
        make_baseline(tmp_path, seed=seed, protocol="official")
    make_run(tmp_path / "d", protocol="official", debug=True)
    report = write_report([tmp_path])
    first = findings(report)
    number = r"\+?0\.\d{3}"
    assert re.match(
        rf"Small-robust reaches an AUROC of {number} \([^)]*2 trials\) on the official test set.* "
        r"over the best baseline, thumbnail_svm",
        first,
    )
    assert re.search(rf"Random splits would have given tiny {number}", first)
    text = page(report)
    assert text.index('class="lead"') < text.index('class="overview"') < text.index("<details")
    for name in re.findall(r'href="#([^"]+)"', text):
        assert f'id="{name}"' in text
    assert "<b>kermany, debug protocol.</b> Debug runs" in text
    assert "**Debug runs train on a few batches per epoch" in summary(report)


def test_latex_has_a_table_for_each_group_with_command_and_commit(finished: Path) -> None:
    text = (finished / "report" / "summary.tex").read_text()
    assert text.count("\\begin{table}") == text.count("\\end{table}") == 2
    command = f"python -m pneumo.report {finished}"
    assert f"\\texttt{{{escaped_tex(command)}}} from runs of abc1234 (9)." in text
    auroc = [
        read_metrics(finished / f"model=tiny,protocol=paper,seed={seed}")["best"]["test"]["auroc"]
        for seed in range(3)
    ]
    rows = text[text.index("\ntiny & 3") :].splitlines()[1:3]
    assert rows[0].endswith(f"{np.median(auroc):.3f} [{min(auroc):.3f}, {max(auroc):.3f}] \\\\")
    assert rows[1].endswith(f"{np.mean(auroc):.3f} $\\pm$ {np.std(auroc, ddof=1):.3f} \\\\")
    assert "thumbnail\\_svm & 3" in text


def test_summary_links_the_audit_and_no_name_is_a_link() -> None:
    link = {"name": "[a](http://b)", "finding": "A finding.", "href": "../audit.html"}
    values = values_of([], audit=link)
    text = render_markdown("summary.md.j2", **values)
    assert "Audit of \\[a\\](http://b): A finding. [The audit](../audit.html) shows" in text


def test_runs_of_other_images_or_labels_of_the_same_names_are_not_one_model(tmp_path: Path) -> None:
    for seed, digests in enumerate((("a", "b"), ("a", "c"), ("b", "b"))):
        folder = make_run(tmp_path, seed=seed)
        metrics = read_metrics(folder)
        of = dict(zip(("images_sha256", "labels_sha256"), digests, strict=True))
        metrics["data"] |= {"kind": "folder", **of}
        (folder / "metrics.json").write_text(json.dumps(metrics))
    assert [len(group.trials) for group in groups_of(tmp_path)] == [1, 1, 1]


def test_changed_copies_of_a_published_set_are_not_one_model(tmp_path: Path) -> None:
    for name, digest in (("a", "aa11"), ("b", "bb22"), ("c", None)):
        folder = make_run(tmp_path / name, seed=int(name == "c"))
        metrics = read_metrics(folder)
        metrics["data"]["images_sha256"] = digest
        (folder / "metrics.json").write_text(json.dumps(metrics))
    (group,) = groups_of(tmp_path)
    assert [cell.label for cell in group.cells] == [
        f"tiny (images={d})" for d in ("aa11", "bb22", None)
    ]


def test_other_labels_of_a_published_set_are_not_one_model(tmp_path: Path) -> None:
    for seed, digest in enumerate(("aa11", "aa11", "bb22")):
        folder = make_run(tmp_path, seed=seed)
        metrics = read_metrics(folder)
        metrics["data"]["labels_sha256"] = digest
        (folder / "metrics.json").write_text(json.dumps(metrics))
    (group,) = groups_of(tmp_path)
    assert [(cell.label, len(cell.trials)) for cell in group.cells] == [
        ("tiny (labels=aa11)", 2),
        ("tiny (labels=bb22)", 1),
    ]


def test_two_sets_of_one_kind_are_named_apart_and_in_no_sentence_together(tmp_path: Path) -> None:
    for root, protocol in (("a", "official"), ("a", "holdout"), ("b", "holdout")):
        folder = make_run(tmp_path / root, protocol=protocol, index=root * 4, kind="folder")
        path = folder / "metrics.json"
        path.write_text(path.read_text().replace('"chest_xray"', f'"{root}"'))
    report = write_report([tmp_path])
    titles = [f"folder {name}" for name in ("a, official", "a, holdout", "b, holdout")]
    lines = terminal.summary(report).splitlines()
    assert [line.split("  ")[0] for line in lines if line.startswith("folder")] == titles
    assert findings(report).startswith("On folder a, tiny reaches")
    assert "Random splits would have given it" in findings(report)
    assert {row["data"] for row in rows_of(report / "runs.csv")} == {"folder a", "folder b"}
    text = summary(report)
    assert "## Folder a, 666 images: AUROC" in text
    assert "## Folder b, 666 images: AUROC" in text
    edit(tmp_path / "a/model=tiny,protocol=holdout,seed=0", lambda m: m.update(debug=True))
    assert "Random splits" not in findings(write_report([tmp_path]))  # those of b are none of a


def test_folds_of_tables_are_trials_of_one_model(tmp_path: Path) -> None:
    """Each table of a user's own folds splits the same images; all have the seed 0."""
    for fold in "abc":
        for make in (make_run, make_baseline):
            path = make(tmp_path / fold, protocol="own", kind="folder") / "metrics.json"
            metrics = json.loads(path.read_text())
            metrics["data"]["split_sha256"] = fold
            path.write_text(json.dumps(metrics))
    report = write_report([tmp_path])
    assert score_of(report, "auroc", network="tiny")["n"] == "3"
    rows = rows_of(report / "comparisons.csv")
    what = "tiny minus thumbnail_svm"
    margins = [r["trials"] for r in rows if r["what"] == what and r["score"] == "accuracy"]
    assert margins == ["3", "1", "1", "1"]
