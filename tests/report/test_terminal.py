from pathlib import Path

import pytest

from pneumo.report.terminal import show_predictions


def test_predictions_are_listed_below_their_common_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    names = [f"{'a-long-name-' * 5}/{label}/1.png" for label in ("NORMAL", "PNEUMONIA")]
    row = {"p_pneumonia": 0.1234, "decision": "NORMAL", "error": None, "ood_reason": None}
    show_predictions([row | {"path": str(tmp_path / name)} for name in names])
    folder, _, *lines = capsys.readouterr().out.splitlines()
    assert folder == f"in {tmp_path / names[0].split('/')[0]}:"
    assert [line.split() for line in lines] == [
        [f"{label}/1.png", "0.123", "NORMAL"] for label in ("NORMAL", "PNEUMONIA")
    ]
    show_predictions([row | {"path": name} for name in ("image 0", "/a.png")])
    _, *lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["image 0", "/a.png"]
