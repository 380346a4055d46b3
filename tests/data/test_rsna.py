import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pneumo.data import phantom, reader, rsna
from pneumo.data.phantom_rsna import KINDS
from pneumo.labels import NORMAL, PNEUMONIA


@pytest.fixture
def folder(rsna_set: Path, tmp_path: Path) -> Path:
    """A copy that may be changed, with links to the images."""
    copy = tmp_path / "set"
    (copy / rsna.IMAGES).mkdir(parents=True)
    for name in (rsna.LABELS, rsna.CLASSES):
        shutil.copy(rsna_set / name, copy / name)
    for path in (rsna_set / rsna.IMAGES).iterdir():
        (copy / rsna.IMAGES / path.name).symlink_to(path)
    return copy


def table(root: Path) -> pd.DataFrame:
    return rsna.rsna(str(root)).table(patient_key="person", on_unknown_name="error")


@pytest.mark.slow
def test_each_patient_has_an_image_a_label_and_boxes(rsna_set: Path) -> None:
    images = table(rsna_set)
    count = len(images)
    assert images["patient"].is_unique
    assert images["label"].tolist() == ([NORMAL, PNEUMONIA] * count)[:count]
    boxes = rsna.rsna(str(rsna_set)).boxes().set_index("path")
    for number, path in enumerate(images["path"]):
        pixels, _ = reader.decode(str(rsna_set / path))
        file = boxes.loc[path]
        assert pixels.shape == (file["height"], file["width"])
        assert len(file["boxes"]) == {"normal": 0, "bacteria": 1, "virus": 2}[KINDS[number % 4][1]]
        assert (file["boxes"] >= 0).all()
        assert (file["boxes"][:, 2:] <= (file["width"], file["height"])).all()


def change(path: Path, edit: Callable[[pd.DataFrame], pd.DataFrame | None]) -> None:
    changed = pd.read_csv(path)
    edited = edit(changed)
    (changed if edited is None else edited).to_csv(path, index=False)


def set_first_box(**values: float) -> Callable[[pd.DataFrame], None]:
    def edit(labels: pd.DataFrame) -> None:
        first = labels.index[labels["Target"] == 1][0]
        labels.loc[first, list(values)] = list(values.values())

    return edit


FIRST, SECOND = "phantom-0-00000", "phantom-0-00001"  # without boxes, with one


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        (rsna.LABELS, set_first_box(width=0), f"width and a height above 0; not so: {SECOND}. Cor"),
        (rsna.LABELS, set_first_box(x=np.nan), f"all of x, y, width and height .* {SECOND}. Take"),
        (rsna.LABELS, set_first_box(Target=2), f"Target of .* must be 0 or 1; not so: {SECOND}"),
        (rsna.LABELS, set_first_box(x=-1), f"must lie within its image; not so: {SECOND}. Correct"),
        (rsna.LABELS, set_first_box(y=5000), f"must lie within its image; not so: {SECOND}"),
        (rsna.LABELS, lambda t: t.drop(columns="Target"), "must have the columns .*lacks Target"),
        (rsna.LABELS, lambda t: t.replace({"width": {195.0: "wide"}}), "must have numbers after"),
        (rsna.LABELS, lambda t: t.iloc[1:], f"must have the same patients, .* {FIRST}. Take both"),
        (rsna.LABELS, lambda t: pd.concat([t, t[:1]]), f"one row without .* {FIRST}. Remove one"),
        (
            rsna.LABELS,
            lambda t: pd.concat([t, t[t["Target"] == 1][:1].astype({"x": int})]),
            f"each box of .* must be listed once; not so: {SECOND}. Remove the other",
        ),
        (rsna.LABELS, lambda t: t[:0], f"{rsna.LABELS} must have rows; it has none. Take the"),
        (rsna.CLASSES, lambda t: t[:0], f"{rsna.CLASSES} must have rows; it has none. Take the"),
        (rsna.CLASSES, lambda t: t.iloc[:-2], "must have the same patients"),
        (rsna.CLASSES, lambda t: t.replace("Normal", "Lung Opacity"), f"same patients.* {FIRST}"),
        (rsna.CLASSES, lambda t: t.replace("Normal", "Fine"), "class of .* must be one of Lung"),
        (rsna.CLASSES, lambda t: t.replace(FIRST, SECOND), f"must have one class in.* {SECOND}"),
        (rsna.CLASSES, lambda t: t.replace(FIRST, "../../x"), "must be the name of an image"),
    ],
)
def test_broken_tables_are_told(
    folder: Path, name: str, edit: Callable[[pd.DataFrame], pd.DataFrame | None], message: str
) -> None:
    change(folder / name, edit)
    with pytest.raises(ValueError, match=message) as raised:
        table(folder)
        rsna.rsna(str(folder)).boxes()
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_images_and_rows_belong_together(folder: Path) -> None:
    image = folder / rsna.path_of(FIRST)
    other = image.with_name("other.dcm")
    image.rename(other)
    with pytest.raises(ValueError, match=f"must have an image in .*; not so: {FIRST}. Take"):
        table(folder)
    shutil.copy(other.resolve(), image)
    with pytest.raises(ValueError, match=r"must have a row in .*; not so: other\. Take"):
        table(folder)


def test_a_folder_that_lacks_the_tables(tmp_path: Path) -> None:
    (tmp_path / rsna.IMAGES).mkdir()
    with pytest.raises(
        FileNotFoundError, match=f"lacks {re.escape(rsna.LABELS)}, .* --layout rsna"
    ):
        rsna.rsna(str(tmp_path))


def test_phantoms_are_not_written_over_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--layout", "rsna", "--out", str(tmp_path)]
    assert phantom.main(arguments) == 2
    assert capsys.readouterr().err == (
        f"error: --out must be a new folder; {tmp_path} is there. Name another\n"
    )
    assert phantom.main([*arguments[:3], str(tmp_path / "new"), "--num-images", "3"]) == 2
    assert "--num-images must be at least 24" in capsys.readouterr().err
