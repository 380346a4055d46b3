import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import plain, run, time_to_score
from pneumo.data import cache, kermany


def test_plain_files_are_the_prepared_images(phantoms: Path, cache_dir: Path) -> None:
    paths = kermany.list_images(phantoms)[0][:6]
    files = plain.Files(phantoms, paths, np.arange(6), image_size=64, augment=None)
    prepared = cache.load(phantoms, paths, cache_dir=cache_dir, image_size=64).images
    for number in range(6):
        image, target = files[number]
        assert target == number
        assert torch.equal(image[0], torch.from_numpy(np.array(prepared[number])).float())


@pytest.mark.slow
def test_one_command_prints_and_saves_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks.run", "--quick", "--out", str(tmp_path)])
    monkeypatch.setenv("PNEUMO_CACHE", "")  # put back afterwards
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # other tests are on the other cores
    run.main()
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert (tmp_path / "benchmark.txt").read_text() == text
    found = json.loads((tmp_path / "benchmark.json").read_text())
    for form in ("plain", "fast", "two"):
        assert found["networks"]["tiny"][form]["training"] > 0
    assert found["sweep"] > 0


def test_minutes_to_a_score_are_those_of_the_first_epoch_with_it(tmp_path: Path) -> None:
    curve = time_to_score.Curve("fast", "measured", [30, 60, 90], [0.9, 0.93, 0.91])
    text = time_to_score.table([curve])
    assert curve.reached(0.92) == 60
    assert text[1].split()[1:] == ["1.5", "1.0", "never", "0.910"]
    assert max(map(len, text)) <= 80
    time_to_score.draw([curve], tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 5000
