"""Finished runs and image files become a table: what the networks say of each image."""

import argparse
import codecs
import csv
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from pneumo import cli

if __name__ == "__main__":  # --help and wrong arguments need nothing of what follows
    raise SystemExit(cli.start("predict"))

import numpy as np
import torch
from tqdm import tqdm

from pneumo.arguments.predict import parse
from pneumo.data import reader
from pneumo.data.dicom_header import IDS
from pneumo.data.reader import Radiograph
from pneumo.evaluation.operating_point import calibrated
from pneumo.inference import (
    detection_predict,
    ensemble,
    local_calibration,
    ood,
    structured_report,
)
from pneumo.inference.decision import Decision, decide
from pneumo.inference.ensemble import Member, Networks, Scored
from pneumo.labels import NORMAL, PNEUMONIA
from pneumo.runs import detection_run, output, pretrained, run_folder
from pneumo.runs.checkpoint import Trained, load
from pneumo.runs.output import check_out, opened

if TYPE_CHECKING:  # matplotlib, for pictures only
    from pneumo.inference import heatmap_images

BATCH_SIZE = 32  # images at once through the network


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    given = parse(arguments)
    return cli.run(lambda: predict(given))


def predict(given: argparse.Namespace) -> int:
    """Writes the table of predictions, or boxes; returns 3 if a file could not be read, else 0."""
    run_dirs, paths = split_paths(given.paths)
    names = _names(paths, given.list)
    if not run_dirs:
        run_dirs = [pretrained.find(pretrained.DEFAULT)]
        _say(_shipped(ensemble.read(run_dirs[0])))
    run_folder.check_named_once(run_dirs)
    if given.out:
        check_out(given.out, run_dirs=run_dirs, inputs=_files(names))
    if given.threads:
        torch.set_num_threads(given.threads)
    if detection_run.are_detectors(run_dirs):
        return detection_predict.predict(run_dirs, names, given)
    return _classify(run_dirs, names, given)


def _classify(run_dirs: Sequence[Path], names: Sequence[str], given: argparse.Namespace) -> int:
    detection_predict.check_not_given(given)
    threads = given.threads or os.cpu_count() or 1
    runs = [ensemble.read(run_dir) for run_dir in run_dirs]
    networks = Networks(
        run_dirs, checkpoint=given.checkpoint, device=given.device, trust=given.trust
    )
    decision = _decision(given, runs, networks)
    shown_at = decision.threshold if given.calibration else given.threshold
    request = _heatmap_request(given, run_dirs, threshold=shown_at)
    errors = incomplete = 0
    stream = reader.read_all(names, shapes=networks.shapes, threads=threads)
    header = columns(networks.trained, decision, ids=given.ids)
    header += ["heatmap"] * (given.heatmap is not None)
    header += ["dicom_sr"] * (given.dicom_sr is not None)
    with (
        opened(given.out, standard=sys.stdout) as file,
        _reports(given, names, networks) as reports,
        _pictures(given, request, names) as pictures,
    ):
        for note in decision.notes:  # after all that may be refused
            _say(note)
        reference = reference_of(runs[0], networks, checkpoint=given.checkpoint, threads=threads)
        write = _writer(file, header, form=_form(given.format, given.out))
        with _progress(len(names)) as bar:
            for batch in ensemble.batches(stream, batch_size=given.batch_size or BATCH_SIZE):
                found = rows(batch, networks, decision=decision, reference=reference, ids=given.ids)
                for radiograph, row in zip(batch, found, strict=True):
                    if pictures is not None:
                        row["heatmap"] = None if radiograph.error else pictures.draw(radiograph)
                    if reports is not None:
                        row["dicom_sr"] = (
                            None if radiograph.error else _reported(reports, radiograph.name, row)
                        )
                    write(row)
                    errors += bool(row["error"])
                    incomplete += any(row.get(key, "") is None for key in ("heatmap", "dicom_sr"))
                bar.update(len(batch))
        file.flush()  # a table that cannot be written leaves the folders, too, as they were
    if errors:
        _say(
            f"{errors:,} of {cli.counted(len(names), 'file')} could not be read: see the column "
            "error"
        )
    return cli.UNREADABLE if errors or incomplete else 0


@dataclass(frozen=True)
class Pictures:
    """Draws where the network looked in each radiograph."""

    request: "heatmap_images.HeatmapRequest"
    album: "heatmap_images.Album"

    def draw(self, radiograph: Radiograph) -> str | None:
        """Returns the name of the picture; of standard input, the image as prepared."""
        from pneumo.inference import heatmap_images

        try:
            (prepared,) = radiograph.prepared.values()
            from_pipe = radiograph.name == reader.STANDARD_INPUT
            grey = prepared if from_pipe else reader.decode(radiograph.name)[0]
            made = heatmap_images.explain(self.request, grey, name=radiograph.name)
        except ValueError as error:  # the image was there a moment ago
            _say(f"no picture of {error}")
            return None
        return self.album.add(radiograph.name, made)


def _heatmap_request(
    given: argparse.Namespace, run_dirs: Sequence[Path], *, threshold: float | None
) -> "heatmap_images.HeatmapRequest | None":
    """What the pictures show; checks --heatmap."""
    if given.heatmap is None:
        return None
    if len(run_dirs) > 1:
        raise ValueError(
            f"--heatmap shows where one network looked; got {len(run_dirs)} runs. Name one of them"
        )
    if given.dicom_sr is not None and given.dicom_sr.resolve() == given.heatmap.resolve():
        raise ValueError(
            f"--heatmap and --dicom-sr must name two folders; both are {given.heatmap}"
        )
    from pneumo.inference import heatmap_images

    heatmap_images.check_album(given.heatmap, "--heatmap")
    # another on the CPU, as captum wants it
    one = load(run_dirs[0], checkpoint=given.checkpoint, trust=given.trust)
    return heatmap_images.make_request(one, checkpoint=given.checkpoint, threshold=threshold)


@contextmanager
def _pictures(
    given: argparse.Namespace,
    request: "heatmap_images.HeatmapRequest | None",
    names: Sequence[str],
) -> Iterator[Pictures | None]:
    """Yields what draws the pictures, whose folder is there at the end."""
    if request is None:
        yield None
        return
    from pneumo.inference import heatmap_images

    with heatmap_images.album(given.heatmap, request, names) as album:
        yield Pictures(request, album)


def _reports(
    given: argparse.Namespace, names: Sequence[str], networks: Networks
) -> AbstractContextManager[structured_report.Reports | None]:
    if given.dicom_sr is None:
        if given.keep_patient:
            raise ValueError("--keep-patient is about --dicom-sr, which is not given")
        return nullcontext()
    algorithm = "; ".join(
        f"{one.metrics['model']}, weights {ensemble.weights_digest(one.network)[:16]}"
        for one in networks.trained
    )
    return structured_report.reports(
        given.dicom_sr, names, algorithm=algorithm, keep_patient=given.keep_patient
    )


def _reported(reports: structured_report.Reports, name: str, row: dict[str, Any]) -> str | None:
    try:
        return reports.write(name, row)
    except ValueError as error:
        _say(f"no report of {error}")
        return None


def split_paths(paths: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Returns the run folders, which come first, and what follows them.

    There are none where the first is an image, a folder that holds some, or - for standard input.

    Raises:
        ValueError: the package has no such network, see pneumo.runs.pretrained.
    """
    number = int(bool(paths) and not _is_image(paths[0]))
    while number and number < len(paths) and _is_run(paths[number]):
        number += 1
    return [pretrained.find(path) for path in paths[:number]], list(paths[number:])


def _is_run(path: str) -> bool:
    return pretrained.is_name(path) or ensemble.looks_like_run(Path(path))


def _is_image(path: str) -> bool:
    """Whether a first argument is no run but an image, there or not, or a folder that has one."""
    if _is_run(path):
        return False
    if Path(path).is_dir():
        return bool(reader.find([path])[0])
    suffix = Path(path).suffix.lower()
    return path == reader.STANDARD_INPUT or Path(path).exists() or suffix in reader.SUFFIXES


def _decision(given: argparse.Namespace, runs: Sequence[Member], networks: Networks) -> Decision:
    """What decides."""
    return decide(
        runs,
        checkpoint=given.checkpoint,
        threshold=given.threshold,
        calibration=_calibration(given, networks),
        coverage=given.coverage,
    )


def _calibration(
    given: argparse.Namespace, networks: Networks
) -> local_calibration.LocalCalibration | None:
    if given.calibration is None:
        return None
    if len(networks.trained) > 1:
        raise ValueError(
            f"--calibration is of one run; got {len(networks.trained)} runs. Name one of them"
        )
    one = networks.trained[0]
    digest = ensemble.weights_digest(one.network)
    return local_calibration.read(one.run_dir, given.calibration, weights_sha256=digest)


def _shipped(member: Member) -> str:
    """What is said where no run was named."""
    point = ensemble.assessment(member)["operating_point"]
    return (
        f"no RUN is named, so {member.name} answers. On its {len(member.of_split('test')):,} test "
        f"images (protocol={member.metrics['protocol']}) its decisions have a sensitivity of "
        f"{point['sensitivity']['value']:.3f} and a specificity of "
        f"{point['specificity']['value']:.3f}. Research use only, not a medical device"
    )


def reference_of(
    member: Member, networks: Networks, *, checkpoint: str, threads: int
) -> ood.Reference | None:
    """Returns where the first run's own images lie, see pneumo.inference.ood.

    The training leaves it in the run folder; where it is missing or of other weights, it is made of
    the run's own images, if they are still where the run found them, and left there.
    """
    trained = networks.trained[0]
    found = ensemble.stored_reference(trained, checkpoint=checkpoint)
    if found is not None:
        return found
    root = ensemble.own_images(member)
    if root is None:
        _say(
            f"ood speaks of files only: {member.name} has no fitting reference.npz, and its "
            "images are not where it found them"
        )
        return None
    names = [str(root / path) for path in ensemble.reference_paths(member.predictions)]
    shape = networks.shapes[0]
    prepared = []
    stream = reader.read_all(names, shapes=[shape], threads=threads)
    with _progress(len(names), label="the run's own images") as bar:
        for radiograph in stream:
            prepared += [] if radiograph.error else [radiograph.prepared[shape]]
            bar.update()
    made = None
    if prepared:
        made = ensemble.make_reference(trained.network, np.stack(prepared), views=trained.views)
    if made is None:
        _say(f"ood speaks of files only: {member.name} has too few images of its own")
        return None
    path = ensemble.reference_path(member.run_dir, checkpoint=checkpoint)
    try:
        ood.save(made, path)
    except OSError as error:
        _say(f"{path} could not be written ({error.strerror}): the next command makes it again")
    return made


def columns(trained: Sequence[Trained], decision: Decision, *, ids: bool = False) -> list[str]:
    """Returns the columns of the table; bacteria and virus if every network tells them apart."""
    three = all(len(each.classes) == 3 for each in trained)
    return [
        "path",
        *(IDS if ids else ()),
        *("p_normal", "p_pneumonia"),
        *(("p_bacteria", "p_virus") if three else ()),
        *("p_normal_calibrated", "p_pneumonia_calibrated"),
        *("decision", "threshold", "threshold_from"),
        *(("prediction_set",) if decision.sets is not None else ()),
        *("ood", "ood_score", "ood_reason", "error"),
    ]


def rows(
    batch: Sequence[Radiograph],
    networks: Networks,
    *,
    decision: Decision,
    reference: ood.Reference | None,
    ids: bool = False,
) -> Iterator[dict[str, Any]]:
    """Yields a row for each radiograph, by column; what is not known is None."""
    whole = [radiograph for radiograph in batch if not radiograph.error]
    scored = networks.score(whole) if whole else None
    data = [each.metrics["data"] for each in networks.trained]
    place = 0
    for radiograph in batch:
        row: dict[str, Any] = dict.fromkeys(columns(networks.trained, decision, ids=ids))
        row |= {
            "path": output.printable(radiograph.name),
            "error": output.printable(radiograph.error) or None,
        }
        if ids:
            row |= radiograph.header.ids
        reasons = ood.file_reasons(radiograph, data)
        if scored is not None and not radiograph.error:
            row |= _probabilities(scored, place, decision)
            if reference is not None:
                score, far = reference.judge(scored.layout[place], scored.features[place])
                row["ood_score"], reasons = score, reasons + far
            place += 1
        row |= ood.flag(reasons, is_readable=not radiograph.error)
        yield row


def _probabilities(scored: Scored, place: int, decision: Decision) -> dict[str, Any]:
    p = float(scored.pneumonia[:, place].mean())
    row: dict[str, Any] = {"p_normal": 1 - p, "p_pneumonia": p}
    if all(each.shape[1] == 3 for each in scored.classes):
        mean = np.mean([each[place] for each in scored.classes], axis=0)
        row |= {"p_bacteria": float(mean[1]), "p_virus": float(mean[2])}
    if decision.temperature is not None:
        after = float(calibrated([p], temperature=decision.temperature)[0])
        row |= {"p_normal_calibrated": 1 - after, "p_pneumonia_calibrated": after}
    called = PNEUMONIA if p >= decision.threshold else NORMAL
    if decision.sets is not None:
        row["prediction_set"] = decision.sets.name(p)
    return row | {
        "decision": called,
        "threshold": decision.threshold,
        "threshold_from": decision.threshold_from,
    }


def _writer(file: TextIO, names: Sequence[str], *, form: str) -> Any:
    """Returns a function that writes one row."""
    if form == "jsonl":
        return lambda row: file.write(json.dumps(row, allow_nan=False) + "\n")
    table = csv.DictWriter(file, names, lineterminator="\n")
    table.writeheader()

    def write(row: dict[str, Any]) -> None:
        flag = row["ood"]
        cells = {**row, "ood": None if flag is None else str(flag).lower()}
        table.writerow({name: output.spreadsheet_safe(value) for name, value in cells.items()})

    return write


def _form(chosen: str | None, out: Path | None) -> str:
    return chosen or ("jsonl" if out is not None and out.suffix == ".jsonl" else "csv")


def _names(paths: Sequence[str], list_path: str | None) -> list[str]:
    if list_path == reader.STANDARD_INPUT and reader.STANDARD_INPUT in paths:
        raise ValueError("standard input is either one image (-) or a list (--list -), not both")
    if list(paths).count(reader.STANDARD_INPUT) > 1:
        raise ValueError("standard input holds one image; - may be given once")
    names, others = reader.find(paths)
    if others:
        found = cli.counted(others, "file")
        _say(
            f"left out {found} in these folders: no image ({', '.join(reader.SUFFIXES)}), "
            "or a linked folder"
        )
    if list_path is not None:
        names += _listed(list_path)
    if not names:
        raise ValueError(
            "there must be something to predict: name images, folders that hold some, - for an "
            "image on standard input, or --list FILE. The runs come first; got no image"
        )
    return names


def _listed(path: str) -> list[str]:
    if path == reader.STANDARD_INPUT:
        data = sys.stdin.buffer.read()
    elif Path(path).exists() and not Path(path).is_dir():  # a pipe, too: --list <(find radiographs)
        data = Path(path).read_bytes()
    else:
        raise FileNotFoundError(f"--list must name a file with a path a line; there is no {path}")
    return [line for line in _decoded(data).replace("\r\n", "\n").split("\n") if line.strip()]


def _decoded(data: bytes) -> str:
    """The text of a list; its byte-order mark says UTF-8 or UTF-16, which Windows writes."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    return os.fsdecode(data.removeprefix(codecs.BOM_UTF8))


def _files(names: Sequence[str]) -> list[Path]:
    return [Path(name) for name in names if "\0" not in name]


def _progress(total: int, *, label: str = "predicting") -> Any:
    return tqdm(total=total, desc=label, unit="image", disable=not sys.stderr.isatty())


def _say(text: str) -> None:
    sys.stderr.write(f"note: {text}\n")
