"""Training and predicting from Python; docs/quickstart.ipynb is run as it stands there."""

import json
from pathlib import Path
from typing import Any

import pytest

from pneumo import api
from pneumo.data import phantom
from tests.conftest import ROOT

NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"


@pytest.mark.parametrize(
    ("override", "rule"),
    [
        ("modl=tiny", "Did you mean model"),
        ("trainer.max_epochs=0", "trainer.max_epochs must be"),
        ("seed=1,2", "one run takes one value"),
    ],
)
def test_a_wrong_setting_is_a_value_error_and_leaves_nothing(
    override: str, rule: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=rule):
        api.fit(override, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_images_are_predicted_by_the_network_of_the_package(tmp_path: Path) -> None:
    root = phantom.generate(tmp_path / "set", num_images=24, seed=7, num_workers=1, progress=False)
    paths = sorted(root.rglob("*.jpeg"))[:3]
    table = api.predict([*paths, tmp_path / "gone.png"], threshold=0.0)
    assert table["path"].tolist() == [*map(str, paths), str(tmp_path / "gone.png")]
    assert table["decision"][:3].tolist() == ["PNEUMONIA"] * 3
    assert table["error"].notna().tolist() == [False, False, False, True]
    one = api.predict(paths[0])
    assert one["p_pneumonia"][0] == pytest.approx(table["p_pneumonia"][0], abs=1e-5)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="there must be an image"):
        api.predict(tmp_path / "empty")
    with pytest.raises(ValueError, match="must be one of pretrained:compact"):
        api.predict(paths, run="pretrained:huge")


@pytest.mark.slow
def test_the_notebook_runs(
    tmp_path: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PNEUMO_CACHE", str(cache_dir))
    names: dict[str, Any] = {}
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert "epoch 2/2" in capsys.readouterr().err
    for name in ("metrics.json", "status.json", ".hydra/config.yaml", "checkpoints/best.ckpt"):
        assert (names["run"] / name).is_file()
    assert len(names["mine"]) == len(names["shipped"]) == 24
    again = api.fit(
        "model=compact",
        "protocol=holdout",
        "trainer.max_epochs=2",
        *names["small"],
        run_dir="first",
    )
    assert again == names["run"]
    assert "Done before" in capsys.readouterr().err
