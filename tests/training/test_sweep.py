import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import hydra
import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from pneumo import atomic
from pneumo import train as train_module
from pneumo.report import terminal
from pneumo.runs import run_folder
from pneumo.runs.writer import RunWriter
from pneumo.training import sweep
from pneumo.training.classification import Classification
from pneumo.training.config import Config
from tests.conftest import SMALL, Capture, Command, Patch, compose, start

SWEEP = ("--multirun", "hydra.sweep.dir=sweep", "hydra.sweep.subdir='${model.name},seed=${seed}'")
FEW = ("trainer=one_batch", "data.image_size=32", "num_threads=1", "trainer.accelerator=cpu")


def statuses(folder: Path) -> dict[str, str]:
    return {name: status["status"] for name, status in sweep.states(folder)}


@pytest.mark.slow
def test_a_sweep_with_a_failing_run_is_reported_mended_and_kept(
    train: Command, tmp_path: Path, monkeypatch: Patch, capsys: Capture
) -> None:
    batches = Classification.batches

    def bug(config: Any, *arguments: Any) -> Any:
        if config.model.name == "tiny":
            raise RuntimeError("a bug of tiny")
        return batches(config, *arguments)

    arguments = ("-m", "model=tiny,small", "hydra.sweep.dir=sweep", *FEW)
    with monkeypatch.context() as patch:
        patch.setattr(Classification, "batches", bug)
        assert train(*arguments) == 1
    folder = tmp_path / "sweep"
    tiny, small = (folder / f"model={name},seed=0" for name in ("tiny", "small"))
    assert statuses(folder) == {small.name: "done", tiny.name: "failed"}
    shown = capsys.readouterr().err
    assert f"{tiny.name}: RuntimeError: a bug of tiny" in shown
    assert "1 of 2 runs are not done" in shown
    assert "Traceback" in (tiny / "train.log").read_text()
    before = (small / "metrics.json").read_bytes()
    assert train("sweep=sweep") == 0
    assert set(statuses(folder).values()) == {"done"}
    assert "2 of 2 runs done" in capsys.readouterr().err
    report = {path.name for path in (folder / "report").iterdir()}
    assert {"runs.csv", "summary.md", "report.html"} <= report

    assert train(*arguments, "optimizer.lr=0.5", f"hydra.sweep.subdir='{small.name}'") == 1
    shown = capsys.readouterr().err
    assert "optimizer.lr was 0.004, now 0.5" in shown
    assert (small / "metrics.json").read_bytes() == before


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_a_sweep_killed_at_a_random_moment_resumes(
    train: Command, tmp_path: Path, phantoms: Path, cache_dir: Path
) -> None:
    few = ("model=tiny", "seed=0,1", "trainer.max_epochs=3", *SMALL)
    arguments = ("-m", "experiment=paper", *few, "hydra.sweep.dir=sweep")
    process = subprocess.Popen(
        [sys.executable, "-m", "pneumo.train", *arguments],
        env={**os.environ, "PNEUMO_DATA": str(phantoms), "PNEUMO_CACHE": str(cache_dir)},
    )
    folder = tmp_path / "sweep"
    while not statuses(folder) and process.poll() is None:
        time.sleep(0.02)
    time.sleep(wait := random.SystemRandom().uniform(0, 4))
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = statuses(folder)
    when = f"killed {wait:.3f} s after the first run started: {before}"
    done = {n: (folder / n / "metrics.json").read_bytes() for n, s in before.items() if s == "done"}
    started = {n for n in before if (folder / n / "checkpoints" / "last.ckpt").exists()}
    assert train("sweep=sweep") == 0, when
    assert list(statuses(folder).values()) == ["done"] * 2, when
    for name, content in done.items():
        assert (folder / name / "metrics.json").read_bytes() == content, when
    for name in started - set(done):
        assert "Resuming from" in (folder / name / "train.log").read_text(), when


@pytest.mark.slow
def test_memory_stays_flat_over_many_runs(tmp_path: Path, phantoms: Path, cache_dir: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from pneumo import train\nfrom pneumo.training import fit, sweep\n"
        "sweep.report = lambda folder: True\n"
        "once = fit.fit\n"
        "def measured(*arguments, **named):\n"
        "    once(*arguments, **named)\n"
        "    kilobytes = Path('/proc/self/status').read_text().split('VmRSS:')[1].split()[0]\n"
        "    print(int(kilobytes) / 1024, flush=True)\n"
        "fit.fit = measured\n"
        "train.main()\n"
    )
    if not Path("/proc/self/status").exists():
        pytest.skip("memory is measured where there is /proc")
    arguments = ("-m", "seed=range(6)", "trainer.max_epochs=1", "trainer.limit_train_batches=2")
    places = {"PNEUMO_DATA": str(phantoms), "PNEUMO_CACHE": str(cache_dir)}
    done = start(sys.executable, "-c", code, *arguments, *SMALL, cwd=tmp_path, **places)
    megabytes = [float(line) for line in done.stdout.split()]
    assert len(megabytes) == 6
    assert megabytes[-1] - megabytes[2] < 40, megabytes  # the first runs fill pools and caches


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "submitit_slurm", "ray"])
def test_settings_of_launchers_are_those_of_their_plugins(launcher: str) -> None:
    pytest.importorskip(f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher")
    cfg = multirun_config([f"launcher={launcher}"])
    name = launcher.rpartition("_")[2]
    # submitit's own folder depends on the time of a real start
    folder = {"submitit_folder": "logs"} if "submitit" in launcher else {}
    hydra.utils.instantiate(cfg.hydra.launcher, **folder)
    assert name in cfg.hydra.launcher["_target_"].lower()


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "ray"])
def test_launchers(train: Command, tmp_path: Path, launcher: str) -> None:
    pytest.importorskip(f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher")
    size = {"joblib": "hydra.launcher.n_jobs=2", "ray": "hydra.launcher.ray.init.num_cpus=2"}
    sizes = [size[launcher]] if launcher in size else []
    few = ("seed=0,-1", *(a for a in FEW if not a.startswith("num_threads") or not sizes))
    assert train(*SWEEP, f"launcher={launcher}", *sizes, *few) == 1
    assert statuses(tmp_path / "sweep") == {"tiny,seed=0": "done", "tiny,seed=-1": "failed"}
    done = tmp_path / "sweep" / "tiny,seed=0" / "metrics.json"
    machine = json.loads(done.read_text())["machine"]
    assert machine["threads"] == max(1, (os.cpu_count() or 1) // 2 if not sizes else 1)
    error = dict(sweep.states(tmp_path / "sweep"))["tiny,seed=-1"]["error"]
    assert error == "seed must be greater than or equal to 0; got -1"


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
@pytest.mark.filterwarnings("default")  # Optuna 2 calls what SQLAlchemy 2 has moved
def test_a_search_chooses_on_validation_data_and_resumes(
    train: Command, tmp_path: Path, capsys: Capture
) -> None:
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    arguments = (*FEW, "hydra.sweep.dir=sweep")
    assert train("-m", "hparams_search=optuna", "hydra.sweeper.n_trials=2", *arguments) == 0
    folder = tmp_path / "sweep"
    before = statuses(folder)
    assert list(before.values()) == ["done"] * 2
    assert "Best of the search" in capsys.readouterr().err
    best = yaml.safe_load((folder / "optimization_results.yaml").read_text())
    on = [json.loads((folder / n / "metrics.json").read_text()) for n in before]
    assert {run["selection"]["on"] for run in on} == {"val"}
    assert best["best_value"] == max(run["best"]["val"]["f1_normal"] for run in on)
    assert set(best["best_params"]) == {"optimizer.lr", "data.batch_size", "augment.zoom"}
    assert set(best["best_params"]) <= sweep.fixed_and_varied(folder)[1]  # those on HParams
    assert train("sweep=sweep", "hydra.sweeper.n_trials=3") == 0
    assert set(before) < set(statuses(folder))
    assert len(statuses(folder)) == 3


def test_a_launcher_that_fails_is_reported_with_its_runs(
    train: Command, tmp_path: Path, monkeypatch: Patch, capsys: Capture
) -> None:
    from hydra._internal.core_plugins.basic_launcher import BasicLauncher

    def killed(*_: object, **__: object) -> None:
        (tmp_path / "a sweep" / "a").mkdir(parents=True)
        RunWriter(tmp_path / "a sweep" / "a").write_status("running", epoch=1, max_epochs=2)
        raise RuntimeError("a worker was killed\nmuch more")

    monkeypatch.setattr(BasicLauncher, "launch", killed)
    assert train("-m", "seed=0,1", "hydra.sweep.dir='a sweep'") == 1
    shown = capsys.readouterr().err
    assert "the sweep ended early: RuntimeError: a worker was killed\n" in shown
    assert "failed   a: interrupted" in shown
    assert "resume with: python -m pneumo.train 'sweep=a sweep'\n" in shown
    assert "TensorBoard" not in shown  # no run has written events


def test_a_run_of_another_process_is_not_called_failed(
    train: Command, tmp_path: Path, capsys: Capture
) -> None:
    folder = tmp_path / "sweep" / "seed=0"
    with RunWriter(folder).claim():
        RunWriter(folder).write_status("running", epoch=1, max_epochs=2)
        subdir = "hydra.sweep.subdir='seed=${seed}'"
        assert train("-m", "seed=0,-1", "hydra.sweep.dir=sweep", subdir) == 1
        assert statuses(tmp_path / "sweep") == {"seed=-1": "failed", "seed=0": "running"}
    assert "running  seed=0: in another process, or interrupted" in capsys.readouterr().err
    RunWriter(folder).write_status("done", epoch=2, max_epochs=2)
    assert statuses(tmp_path / "sweep")["seed=0"] == "done"


def test_a_full_disk_ends_one_run_and_not_the_sweep(
    train: Command, tmp_path: Path, monkeypatch: Patch, capsys: Capture
) -> None:
    write, full = atomic.write_text, {"now": False}

    def fit(config: Config, _: RunWriter, *, start: float) -> None:
        if config.seed == 0:
            full["now"] = True
            raise OSError(28, "No space left on device")
        full["now"] = False
        raise ValueError("the second run has begun")

    def write_text(path: Path, text: str) -> None:
        if full["now"] and "seed=0" in str(path):
            raise OSError(28, "No space left on device")
        write(path, text)

    monkeypatch.setattr(train_module, "prepare", lambda *_: fit)
    monkeypatch.setattr(atomic, "write_text", write_text)
    assert train("-m", "seed=0,1", "hydra.sweep.dir=sweep") == 1
    assert list(statuses(tmp_path / "sweep").values()) == ["failed"] * 2
    shown = capsys.readouterr().err
    assert "the second run has begun" in shown
    assert shown.count("the run folder must be writable; ") == 1  # when it happens
    assert "failed   model=tiny,seed=0: interrupted, by a kill or a full disk" in shown
    assert "None:" not in shown
    ended = {
        p.parent.name: run_folder.read_status(p.parent)
        for p in tmp_path.glob("sweep/*/status.json")
    }
    assert {each["status"] for each in ended.values()} == {"failed"}
    assert "Traceback" not in shown


def alive(pid: int) -> bool:
    """Whether a process is there that is not merely waiting to be collected."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_workers_of_joblib_end_with_a_killed_sweep_which_resumes_at_once(
    train: Command, tmp_path: Path
) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    few = ("seed=0,1", "trainer.max_epochs=300", "data.image_size=32", "trainer=cpu")
    launcher = ("launcher=joblib", "hydra.launcher.n_jobs=2")
    process = subprocess.Popen(
        [sys.executable, "-m", "pneumo.train", *SWEEP, *launcher, *few], start_new_session=True
    )
    folder, children = tmp_path / "sweep", Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not list(folder.glob("*/checkpoints/last.ckpt")):
        assert process.poll() is None
        time.sleep(0.1)
    workers = [int(pid) for pid in children.read_text().split()]
    assert workers
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 20  # a second, but on a busy machine
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [pid for pid in workers if alive(pid)] == []
    for run in folder.glob("*/status.json"):
        with RunWriter(run.parent).claim():  # which a run that is resumed will ask for
            pass


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (["model=tiny,small", "seed=0,1,2"], 6),
        (["model=tiny", "seed=range(5)"], 5),
        (["model=tiny"], 1),
        (["model=glob(*)"], None),
        (["experiment=paper"], 20),
        (["experiment=paper", "seed=0,1"], 8),
        (["experiment=rahman"], 12),
        (["hparams_search=optuna"], None),  # Optuna reports the number of trials
    ],
)
def test_number_of_runs(arguments: list[str], count: int | None) -> None:
    runs = sweep.planned(multirun_config(arguments), arguments)
    assert (None if runs is None else len(runs)) == count


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["optimzer.lr=0.1,0.2"], "Did you mean optimizer.lr?"),
        (["hparams_search=optuna", "protocol=paper"], "a search must choose on a validation split"),
        (["hparams_search=optuna", "protocol=kfold", "protocol.val=0"], "with protocol.val=0. Use"),
        (
            ["hparams_search=optuna", "callbacks.checkpoint.monitor=loss/test"],
            "got protocol=holdout with callbacks.checkpoint.monitor=loss/test. Use",
        ),
    ],
)
def test_a_sweep_that_cannot_start_leaves_nothing(
    train: Command, tmp_path: Path, capsys: Capture, arguments: list[str], message: str
) -> None:
    if "hparams_search=optuna" in arguments:
        pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    assert train("-m", *arguments, "hydra.sweep.dir=sweep") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "sweep").exists()


def test_runs_that_a_sweep_never_began_are_named(tmp_path: Path, capsys: Capture) -> None:
    runs = sweep.planned(multirun_config(["seed=0,1,2"]), ["seed=0,1,2"])
    sweep.begin(tmp_path, ["seed=0,1,2"], runs)
    run = RunWriter(tmp_path / "model=tiny,seed=1,protocol=paper")
    run.write_overrides(["seed=1", "protocol=paper"])
    run.write_status("failed", error="a reason")
    assert sweep.conclude(tmp_path, new=[])
    text = capsys.readouterr().err
    assert "not started model=tiny,seed=0\nnot started model=tiny,seed=2\n" in text
    assert "3 of 3 runs are not done" in text


def test_runs_that_an_extended_sweep_never_began_are_named_with_their_command(
    tmp_path: Path, capsys: Capture
) -> None:
    runs = sweep.planned(multirun_config(["seed=0,1"]), ["seed=0,1"])
    assert sweep.begin(tmp_path, ["seed=0,1"], runs) == []
    for seed in range(2):
        run = RunWriter(tmp_path / f"model=tiny,seed={seed}")
        run.write_overrides([f"seed={seed}"])
        run.write_status("failed", error="a reason")
    assert run_folder.not_started(tmp_path) == []
    extended = ["seed=0,1", "hydra.sweep.dir=x", "model=compact", "num_threads=1"]
    new = sweep.begin(tmp_path, extended, runs)
    assert new == ["model=compact", "num_threads=1"]
    missing = run_folder.not_started(tmp_path)
    assert [(run["model"], run["seed"]) for run in missing] == [("compact", 0), ("compact", 1)]
    assert sweep.conclude(tmp_path, new=new)
    assert f"sweep={tmp_path} model=compact num_threads=1\n" in capsys.readouterr().err
    other = RunWriter(tmp_path / "model=compact,seed=0")
    other.write_overrides(["seed=0", "model=compact", "num_threads=2"])
    other.write_status("done")
    assert [run["seed"] for run in run_folder.not_started(tmp_path)] == [1]


def test_a_foreign_sweep_names_only_known_classes(
    train: Command, tmp_path: Path, capsys: Capture
) -> None:
    sweep.begin(tmp_path / "sweep", ["seed=1,2", "data.source._target_=pandas.read_pickle"])
    assert train("sweep=sweep") == 1
    shown = capsys.readouterr().err
    assert "it names pandas.read_pickle, which is not called" in shown
    assert "add --trust pandas" in shown
    (tmp_path / "sweep" / "sweep.json").write_text("{")
    assert train("sweep=sweep") == 2
    assert "it is broken" in capsys.readouterr().err


def multirun_config(arguments: list[str]) -> Any:
    """What Hydra hands to its callbacks at the start of a sweep."""
    parser = OverridesParser.create()
    fixed = [a for a in arguments if not parser.parse_override(a).is_sweep_override()]
    return compose(*fixed, return_hydra_config=True)


def test_progress_counts_epochs_and_estimates_the_rest(tmp_path: Path) -> None:
    for name, state, epoch in (("a", "done", 10), ("b", "running", 5), ("c", "failed", 2)):
        (tmp_path / name).mkdir()
        RunWriter(tmp_path / name).write_status(state, epoch=epoch, max_epochs=10)
    runs = [status for _, status in sweep.states(tmp_path)]
    line = sweep.progress(runs, 4, work=2.5, seconds=300)
    assert line == "1 of 4 runs done, 1 running, 1 failed, 3 min left (epoch 5/10)"


def test_a_sweep_ends_with_medians_that_fit_80_columns(tmp_path: Path) -> None:
    head = "data,protocol,network,runs,epoch,split,score,median,low,high\n"
    name = "tiny (trainer.accumulate_grad_batches=2, seed)"
    scores = ("f1_normal", "accuracy", "auroc")
    rows = [f'set,paper,"{name}",5,best,test,{s},0.9604,0.95,0.97\n' for s in scores]
    rows += ["set,paper,tiny,5,last,test,auroc,0.1,0.1,0.1\n"]
    rows += ["set,paper,prior,1,best,test,auroc,,,\n"]
    table = tmp_path / "summary.csv"
    table.write_text(head + "".join(rows))
    (tmp_path / "runs.csv").write_text("state\ndone\n")
    title, label, tiny, prior = terminal.summary(tmp_path).splitlines()
    assert title.split() == ["set,", "paper", "AUROC", "accuracy", "F1", "of", "NORMAL"]
    assert label == f"{name}, 5 runs"
    assert tiny.split() == ["0.960", "0.950-0.970"] * 3
    assert prior.split() == ["prior,", "1", "run", "nan"]
    assert max(map(len, (title, label, tiny, prior))) <= 80
    table.write_text(head)
    (tmp_path / "summary.md").write_text("# Report\n\nDetectors only.\n\nA table.\n")
    assert terminal.summary(tmp_path) == "Detectors only.\n"


def test_a_value_of_any_characters_hides_no_run_and_no_run_leaves_the_folder(
    train: Command, tmp_path: Path, capsys: Capture
) -> None:
    argument = f"+data.note='{'a/b and é ' * 50}'"
    assert train("-m", "seed=-1,-2", argument, "run_dir=x", "hydra.sweep.dir=sweep") == 1
    assert list(statuses(tmp_path / "sweep").values()) == ["failed"] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["sweep"]
    # each is counted once, though it has no configuration
    assert "2 of 2 runs are not done" in capsys.readouterr().err
