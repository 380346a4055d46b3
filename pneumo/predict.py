"""Finished runs and image files become a table: what the networks say of each image."""

import argparse
import codecs
import csv
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
import torch
from tqdm import tqdm

from pneumo import cli
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
from pneumo.runs.checkpoint import CHECKPOINTS, Trained, load
from pneumo.runs.output import check_out, opened

if TYPE_CHECKING:  # matplotlib, for pictures only
    from pneumo.inference import heatmap_images

BATCH_SIZE = 32  # images at once through the network
EXAMPLES = """\
examples:
  python -m pneumo.predict radiograph.png
      by the network that comes with the package, pretrained:compact
  python -m pneumo.predict RUN radiograph.png other.dcm
  python -m pneumo.predict RUN radiographs/ --out predictions.csv
      all images in a folder and its folders; an existing predictions.csv is
      replaced at the end
  python -m pneumo.predict RUN radiographs/ --out predictions.csv --heatmap maps
      also a picture for each image of what spoke for PNEUMONIA; see python -m
      pneumo.heatmap --help
  python -m pneumo.predict RUN1 RUN2 RUN3 radiographs/ --format jsonl
      the mean of three networks
  python -m pneumo.predict RUN study/ --dicom-sr reports --coverage 0.9
      DICOM structured reports (extra dicom-sr), without the patient's tags
  python -m pneumo.predict DETECTOR radiographs/ --out boxes.csv --overlays seen
      a run of task=detection: boxes, and pictures of them; --format rsna writes
      the challenge's patientId,PredictionString; of several detectors fused
  find radiographs -name '*.dcm' | python -m pneumo.predict RUN --list -
  python -m pneumo.predict RUN - < radiograph.png

Columns: p_* are the networks' probabilities, *_calibrated those after the
temperature that the run's validation split fixes (empty without one); decision
is PNEUMONIA where p_pneumonia is at least threshold, and threshold_from says
where that comes from: validation (sensitivity at least 0.95 there), calibration
(of --calibration), given, or default (0.5). ood is true for an
out-of-distribution image, ood_score its distance in units of the limit that
99 % of the run's radiographs keep, ood_reason why (by pixels, and by a DICOM
header's age, view, body part and modality). prediction_set, with
--coverage only, is NORMAL, PNEUMONIA, both or neither. heatmap, with --heatmap
only, names the radiograph's picture, dicom_sr, with --dicom-sr, its report.
--ids adds SOPInstanceUID, StudyInstanceUID and AccessionNumber of DICOM files,
which identify the patient to whoever has the archive; empty for PNG and JPEG.
error says why a file could not be read. Of a detector there is a row a box, and
one for an image without (boxes is 0): score and x_min, y_min, x_max, y_max in
pixels of the file; a box counts from the threshold on.
exit codes: 0 done; 2 a mistake in the command; 3 done, but some files could
not be read, or have no picture or report; 130 stopped. Not a medical device.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    given = _parser().parse(arguments)
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
    reports = _reports(given, names, networks)
    pictures = _pictures(given, request, names)
    for note in decision.notes:  # after all that may be refused
        _say(note)
    reference = reference_of(runs[0], networks, checkpoint=given.checkpoint, threads=threads)
    errors = incomplete = 0
    stream = reader.read_all(names, shapes=networks.shapes, threads=threads)
    header = columns(networks.trained, decision, ids=given.ids) + ["heatmap"] * (
        pictures is not None
    )
    header += ["dicom_sr"] * (reports is not None)
    with opened(given.out, standard=sys.stdout) as file, _progress(len(names)) as bar:
        write = _writer(file, header, form=_form(given.format, given.out))
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
    if pictures is not None:
        pictures.album.write_list()
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
            return self.album.add(radiograph.name, made)
        except ValueError as error:  # the image was there a moment ago, or the disk is full
            _say(f"no picture of {error}")
            return None


def _heatmap_request(
    given: argparse.Namespace, run_dirs: Sequence[Path], *, threshold: float | None
) -> "heatmap_images.HeatmapRequest | None":
    """What the pictures show; checks --heatmap, whose folder is not made yet."""
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

    heatmap_images.check_album(
        given.heatmap, "--heatmap", list_name=heatmap_images.LIST, writer=heatmap_images.WRITER
    )
    # another on the CPU, as captum wants it
    one = load(run_dirs[0], checkpoint=given.checkpoint, trust=given.trust)
    return heatmap_images.make_request(one, checkpoint=given.checkpoint, threshold=threshold)


def _pictures(
    given: argparse.Namespace,
    request: "heatmap_images.HeatmapRequest | None",
    names: Sequence[str],
) -> Pictures | None:
    """What draws the pictures; makes their folder."""
    if request is None:
        return None
    from pneumo.inference import heatmap_images

    return Pictures(request, heatmap_images.Album(given.heatmap, request, names, flag="--heatmap"))


def _reports(
    given: argparse.Namespace, names: Sequence[str], networks: Networks
) -> structured_report.Reports | None:
    if given.dicom_sr is None:
        if given.keep_patient:
            raise ValueError("--keep-patient is about --dicom-sr, which is not given")
        return None
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
    made = ensemble.make_reference(trained.network, np.stack(prepared)) if prepared else None
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


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be from 0 to 1; got {text}")
    return value


def _coverage(text: str) -> float:
    value = _share(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"must be between 0 and 1, such as 0.9; got {text}")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1; got {text}")
    return int(text)


def _parser() -> cli.Parser:
    parser = cli.Parser(
        "predict",
        description="What finished runs say of radiographs: PNG, JPEG and DICOM to CSV or JSON.",
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="[RUN...] FILE",
        help="run folders or pretrained:compact, which is the default; then images, folders or -",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="whole or not at all; else stdout")
    parser.add_argument(
        "--format", choices=("csv", "jsonl", "rsna"), help="default: as --out ends, or csv"
    )
    parser.add_argument("--list", metavar="FILE", help="more images, a path a line; - is stdin")
    parser.add_argument("--heatmap", type=Path, metavar="DIR", help="a picture for each radiograph")
    parser.add_argument(
        "--overlays", type=Path, metavar="DIR", help="a detector's boxes, a picture a radiograph"
    )
    parser.add_argument(
        "--dicom-sr",
        type=Path,
        metavar="DIR",
        help="a DICOM structured report for each DICOM image, in a new folder",
    )
    parser.add_argument(
        "--keep-patient",
        action="store_true",
        help="name, numbers and dates of patient and study go into the reports",
    )
    parser.add_argument(
        "--ids", action="store_true", help="columns of the UIDs and the accession number of DICOM"
    )
    parser.add_argument("--checkpoint", choices=CHECKPOINTS, default="best", help="default: best")
    parser.add_argument(
        "--threshold", type=_share, metavar="P", help="default: fixed on validation, or 0.5"
    )
    parser.add_argument(
        "--calibration",
        metavar="NAME",
        help="of local images: a name in RUN/calibrations, or a file (pneumo.calibrate)",
    )
    parser.add_argument(
        "--coverage",
        type=_coverage,
        metavar="C",
        help="also a set of labels, which holds the right one in a share C of images, such as 0.9",
    )
    parser.add_argument(
        "--batch-size", type=_count, metavar="N", help="images; default: 32, of a detector 8"
    )
    parser.add_argument(
        "--device", choices=ensemble.DEVICES, default="auto", help="default: a GPU if there is one"
    )
    parser.add_argument(
        "--threads", type=_count, metavar="N", help="that compute and decode; default: all cores"
    )
    parser.add_trust()
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
