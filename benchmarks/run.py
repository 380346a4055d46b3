"""python -m benchmarks.run: plain and fast side by side on this machine, as a table."""

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks import stages
from benchmarks.work import config
from pneumo.data import phantom

MODELS = ("tiny", "small", "medium", "large")
Result = dict[str, float]


def main() -> None:
    """Measures, prints, and saves benchmark.json and benchmark.txt."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of the real set; else phantoms")
    parser.add_argument("--out", type=Path, default=Path("multirun/benchmark"))
    parser.add_argument(
        "--quick", action="store_true", help="a trial of the command: its figures mean nothing"
    )
    parser.add_argument("--seconds", type=float, default=10, help="of training in a measurement")
    parser.add_argument("--rounds", type=int, default=2, help="measurements of each, in turns")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(arguments, Path(folder))
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "benchmark.json").write_text(json.dumps(found, indent=1) + "\n")
    text = "\n".join(lines(found)) + "\n"
    (arguments.out / "benchmark.txt").write_text(text)
    sys.stdout.write(text)


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Returns all measurements; ``folder`` is for what they leave."""
    quick = arguments.quick
    root = arguments.data
    if root is None:
        root = phantom.generate(
            folder / "set", num_images=48 if quick else 400, seed=0, progress=False
        )
    root = root.resolve()
    size, rounds, seconds = (64, 1, 0.3) if quick else (256, arguments.rounds, arguments.seconds)
    os.environ["PNEUMO_CACHE"] = str(folder / "cache")
    common = [f"data.root={root}", f"data.image_size={size}", "data=kermany", "trainer=cpu"]
    names = 20_000 if quick else 1_000_000
    cores = os.cpu_count() or 1
    found: dict[str, Any] = {
        "machine": machine(),
        "arithmetic": stages.best_arithmetic(1),
        "index": {str(n): stages.index_and_split(n) for n in (names // 2, names)},
        "cache": stages.build_cache(root, folder / "built", 10_000, size),
        "help": stages.command("pneumo.train", "--help", cwd=folder),
    }
    # fills the cache, and leaves runs to report on
    for seed in (0,) if quick else (0, 1):
        one_step = ["+trainer.limit_train_batches=1", "+trainer.limit_val_batches=1"]
        short = [*common, f"seed={seed}", "trainer.max_epochs=1", f"hydra.run.dir=runs/{seed}"]
        found["one_step"] = stages.training(*short, *one_step, cwd=folder)
    found["report"] = stages.command("pneumo.report", "runs", cwd=folder)
    counts = () if quick else (400, 1600)
    found["memory"] = {str(count): memory_of(count, size, folder) for count in counts}
    (folder / "epoch").mkdir()
    torch.set_num_threads(cores)
    found["epoch"] = stages.epochs(config(*common, run_dir=folder / "epoch"))
    found["networks"] = {
        model: side_by_side([f"model={model}", *common], seconds, rounds)
        for model in (MODELS[:1] if quick else MODELS)
    }
    if torch.cuda.is_available():
        found["gpu"] = on_gpu(common, seconds, cores)
        on_the_gpu = [word for word in common if word != "trainer=cpu"] + ["trainer=gpu"]
        found["gpu_run"] = stages.whole_run(*on_the_gpu, cwd=folder)
    found["sweep"] = stages.two_trials(*common, batches=2 if quick else 60, cwd=folder)
    return found


def memory_of(count: int, size: int, folder: Path) -> float:
    """Returns MB of its own that a process has after it trained on ``count`` phantoms once."""
    root = phantom.generate(folder / str(count), num_images=count, seed=0, progress=False)
    options = ["data=kermany", f"data.image_size={size}", "trainer=cpu", "trainer.max_epochs=1"]
    run_dir = f"hydra.run.dir={folder}/memory/{count}"
    return stages.training(f"data.root={root}", *options, run_dir, cwd=folder)["own_mb"]


def side_by_side(overrides: list[str], seconds: float, rounds: int) -> dict[str, Result]:
    """Returns the medians of plain, fast, and two fast processes of one thread, in turns."""
    cores = os.cpu_count() or 1
    taken: dict[str, list[Result]] = {"plain": [], "fast": [], "two": []}
    for _ in range(rounds):
        taken["plain"].append(processes("plain", overrides, seconds, cores, 1)[0])
        taken["fast"].append(processes("fast", overrides, seconds, cores, 1)[0])
        both = processes("fast", overrides, seconds, 1, 2)
        sums = {key: sum(one[key] for one in both) for key in ("training", "evaluation", "peak_mb")}
        taken["two"].append({**both[0], **sums})
    return {
        name: {key: statistics.median(one[key] for one in many) for key in many[0]}
        for name, many in taken.items()
    }


def on_gpu(common: list[str], seconds: float, cores: int) -> dict[str, dict[str, Result]]:
    """Returns what plain and fast training measure on the GPU, for each network."""
    return {
        model: {
            form: processes(form, [f"model={model}", *common], seconds, cores, 1, gpu=True)[0]
            for form in ("plain", "fast")
        }
        for model in MODELS
    }


def processes(
    form: str,
    overrides: list[str],
    seconds: float,
    threads: int,
    count: int,
    *,
    gpu: bool = False,
) -> list[Result]:
    """Returns what ``count`` processes measure at the same time."""
    arguments = [sys.executable, "-m", "benchmarks.work", form, *overrides]
    arguments += ["--threads", str(threads), "--seconds", str(seconds)]
    arguments += ["--gpu"] if gpu else []
    pipe = subprocess.PIPE
    started = [
        subprocess.Popen(arguments, stdin=pipe, stdout=pipe, text=True) for _ in range(count)
    ]
    for _ in ("training", "evaluation"):
        go_at_once(started)
    outputs = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise SystemExit(f"{form}: a measuring process failed; its error is above")
    return [json.loads(output) for output in outputs]


def go_at_once(started: list[subprocess.Popen[str]]) -> None:
    """Waits until all processes are warm, then lets them go; one that failed is left alone."""
    for process in started:
        assert process.stdout
        process.stdout.readline()
    for process in started:
        assert process.stdin
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write("\n")
            process.stdin.flush()


def machine() -> str:
    """Returns the processor, its cores, the system and the versions."""
    info = Path("/proc/cpuinfo")
    names = (
        [x for x in info.read_text().splitlines() if x.startswith("model name")]
        if (info.exists())
        else []
    )
    name = names[0].partition(": ")[2] if names else platform.processor()
    return (
        f"{name}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}; "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def lines(found: dict[str, Any]) -> list[str]:
    """Returns the table, at most 80 columns wide."""
    text = [found["machine"][:80], ""]
    text += ["training, images/s        plain    fast   ratio  2 procs   ratio   limit   share"]
    memory, evaluation = [], []
    cores = os.cpu_count() or 1
    for model, one in found["networks"].items():
        plain, fast, two = one["plain"], one["fast"], one["two"]
        limit = cores * found["arithmetic"] / fast["training_multiply_adds"]
        best = max(fast["training"], two["training"])
        text.append(
            f"{model:22} {plain['training']:8.1f}{fast['training']:8.1f}"
            f"{fast['training'] / plain['training']:8.2f}{two['training']:9.1f}"
            f"{two['training'] / plain['training']:8.2f}{limit:8.0f}{best / limit:8.0%}"
        )
        evaluation.append(
            f"{model:22} {plain['evaluation']:8.1f}{fast['evaluation']:8.1f}"
            f"{fast['evaluation'] / plain['evaluation']:8.2f}"
        )
        memory.append(
            f"{model:22} {plain['cpu_ms']:8.1f}{fast['cpu_ms']:8.1f}"
            f"{plain['cpu_ms'] / fast['cpu_ms']:8.2f}{plain['peak_mb']:12.0f}{fast['peak_mb']:8.0f}"
        )
    sweep, plain = found["sweep"], found["networks"]["tiny"]["plain"]
    text.append(
        f"{'tiny, epochs of a sweep, two trials at once':47}{sweep:9.1f}"
        f"{sweep / plain['training']:8.2f}"
    )
    text += ["", "evaluation, images/s      plain    fast   ratio", *evaluation]
    text += ["", "CPU ms per image         plain    fast   ratio    MB plain    fast", *memory]
    if "gpu" in found:
        text += ["", "on the GPU, images/s      plain    fast   ratio"]
        for model, forms in found["gpu"].items():
            plain, fast = (forms[form]["training"] for form in ("plain", "fast"))
            text.append(f"{model:22} {plain:8.0f}{fast:8.0f}{fast / plain:8.2f}")
        total, training = found["gpu_run"]
        text.append(f"a run of tiny: {total:8.1f} s, of which epochs {training:8.1f} s")
    images, built, decoded = found["cache"]
    full, bare = found["epoch"]
    text += ["", "stage                                                       seconds"]
    text += [f"index and split, {int(n):9,} names {s:36.2f}" for n, s in found["index"].items()]
    text += [
        f"cache, {images:6,} images: {built:6.0f} images/s; decoding alone {decoded:6.0f}"
        f"{images / built:12.2f}",
        f"--help {found['help']:60.2f}",
        f"from command to the end of the first step {found['one_step']['first_step']:26.2f}",
        f"a run of one step, from command to end {found['one_step']['total']:28.2f}",
        f"report of two runs {found['report']:48.2f}",
        f"epoch of up to 320 + 80 images {full:37.2f}",
        f"epoch, bare loop {bare:50.2f}  ratio {full / bare:.2f}",
        "",
        *(
            f"memory that no file holds, {int(n):5,} images {mb:30.0f} MB"
            for n, mb in found["memory"].items()
        ),
        "",
        "limit: multiply-adds a second of a matrix product on one core, times cores, over",
        "3 x the network's multiply-adds (forward, gradients of inputs and of weights),",
        "less those of the image's own gradient.",
    ]
    return text


if __name__ == "__main__":
    main()
