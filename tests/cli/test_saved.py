import json

import numpy as np
import pytest

from jssl.cli import saved
from jssl.cli.main import main


def test_a_file_of_embeddings(tmp_path, capsys):
    y = np.repeat(np.arange(3), 10)
    x = np.eye(3, 4, dtype=np.float32)[y]
    file = tmp_path / "a.npz"
    targets = {"train_targets": y * 2.0, "test_targets": y * 2.0}
    views = np.random.default_rng(0).normal(size=(8, 2, 4)).astype(np.float32)
    np.savez(file, train_x=x, train_y=y, test_x=x, test_y=y, views=views, **targets)
    command = [
        "evaluate",
        "--embeddings",
        str(file),
        "--protocols",
        "retrieval,knn,regression,unlabelled",
    ]
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["retrieval", "knn", "regression", "unlabelled"]
    assert found["knn"] == found["retrieval"]["map"] == 1
    assert found["regression"]["r2"] > 0.99
    assert 1 <= found["unlabelled"]["lidar"] <= 4
    assert found["unlabelled"]["alpha_req"] is None  # three axes are too few
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["embeddings", "100.0", "%"]
    assert lines[-1].split()[:2] == ["unlabelled:", "alignment"]
    assert main([*command, "--rows", "pretrained"]) == 2
    assert "--rows is of a run: it cannot go with --embeddings" in capsys.readouterr().err


def test_bad_files_are_refused(tmp_path):
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    np.savez(tmp_path / "less.npz", train_x=np.ones((2, 2)))
    x, y = np.ones((2, 2)), np.arange(2)
    np.savez(tmp_path / "views.npz", train_x=x, train_y=y, test_x=x, test_y=y, views=x)
    np.savez(tmp_path / "t.npz", train_x=x, train_y=y, test_x=x, test_y=y, test_targets=y)
    with pytest.raises(ValueError, match=r"targets must be \[n\] or \[n t\], as many as train_x"):
        saved.load(tmp_path / "t.npz")
    with pytest.raises(ValueError, match=r"views must be \[n q d\] finite floats, n and q >= 2"):
        saved.load(tmp_path / "views.npz")
    for name in ("bad.npz", "less.npz", "none.npz"):
        with pytest.raises(ValueError, match=r"must be an \.npz of"):
            saved.load(tmp_path / name)
