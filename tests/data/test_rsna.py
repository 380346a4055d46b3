import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pneumo.data import reader, rsna
from pneumo.labels import NORMAL, PNEUMONIA

FIRST, SECOND = "phantom-0-00000", "phantom-0-00001"  # without boxes, with one


@pytest.fixture
def folder(rsna_set: Path, tmp_path: Path) -> Path:
    """A copy that may be changed, with links to the images."""
    copy = tmp_path / "set"
    (copy / rsna.IMAGES).mkdir(parents=True)
    shutil.copy(rsna_set / rsna.LABELS, copy / rsna.LABELS)
    for path in (rsna_set / rsna.IMAGES).iterdir():
        (copy / rsna.IMAGES / path.name).symlink_to(path)
    return copy


def table(root: Path) -> pd.DataFrame:
    return rsna.Rsna.open(str(root)).table(patient_key="person", on_unknown_name="error")


def test_each_patient_has_an_image_a_label_and_boxes(rsna_set: Path) -> None:
    images = table(rsna_set)
    count = len(images)
    assert images["patient"].is_unique
    assert images["label"].tolist() == ([NORMAL, PNEUMONIA] * count)[:count]
    boxes = rsna.Rsna.open(str(rsna_set)).boxes().set_index("path")
    for number, path in enumerate(images["path"]):
        file = boxes.loc[path]
        if number < 4:
            pixels, _ = reader.decode(str(rsna_set / path))
            assert pixels.shape == (file["height"], file["width"])
        assert len(file["boxes"]) == (0, 1, 0, 2)[number % 4]
        assert (file["boxes"] >= 0).all()
        assert (file["boxes"][:, 2:] <= (file["width"], file["height"])).all()


def set_first_box(**values: float) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def edit(labels: pd.DataFrame) -> pd.DataFrame:
        first = labels.index[labels["Target"] == 1][0]
        labels.loc[first, list(values)] = list(values.values())
        return labels

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (set_first_box(width=0), f"and height above 0; not so: '{SECOND}'. Cor"),
        (set_first_box(x=np.nan), f"all of x, y, width and height .*'{SECOND}'. Cor"),
        (set_first_box(Target=2), f"Target must be 0 or 1; not so: '{SECOND}'"),
        (set_first_box(x=-1), f"must lie within its image; not so: '{SECOND}'. Corr"),
        (set_first_box(y=5000), f"must lie within its image; not so: '{SECOND}'"),
        (lambda t: t.drop(columns="Target"), "must be a table of patientId, .*Target.* not in"),
        (lambda t: t.replace({"width": {195.0: "wide"}}), "all but the first of numbers; .*wide"),
        (lambda t: t.iloc[1:], f"each image must have a row in .*; not so: '{FIRST}'. Download"),
        (lambda t: t.replace(FIRST, "x"), "each row of .* must have an image; not so: 'x'"),
        (lambda t: pd.concat([t, t[:1]]), f"one row without .*'{FIRST}'. Correct"),
        (
            lambda t: pd.concat([t, t[t["Target"] == 1][:1].astype({"x": int})]),
            f"a box must be listed once; not so: '{SECOND}'. Correct or remove",
        ),
    ],
)
def test_broken_tables(
    folder: Path, edit: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    path = folder / rsna.LABELS
    edit(pd.read_csv(path)).to_csv(path, index=False)
    with pytest.raises(ValueError, match=message) as raised:
        table(folder)
        rsna.Rsna.open(str(folder)).boxes()
    assert "\n" not in str(raised.value)


def test_a_folder_that_lacks_the_table(tmp_path: Path) -> None:
    (tmp_path / rsna.IMAGES).mkdir()
    with pytest.raises(FileNotFoundError, match=r"lacks stage_2\S+\.csv. .* --layout rsna"):
        rsna.Rsna.open(str(tmp_path))
