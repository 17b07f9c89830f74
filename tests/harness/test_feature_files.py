"""Features in the files that people write them to."""

import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file
from scipy.io import savemat

from harness.feature_files import read_features
from protocols.errors import DataError

FEATURES = np.arange(12, dtype=np.float32).reshape(4, 3) / 7
PIDS, CAMIDS = np.array([5, 5, 2**40, 0]), np.array([0, 1, 0, 2])
NAMES = ["a.jpg", "b.jpg", "c d.jpg", "é.jpg"]


def npz(path):
    np.savez(path, features=FEATURES, pids=PIDS, camids=CAMIDS, names=np.array(NAMES))


def safetensors(path):
    save_file({"feats": torch.tensor(FEATURES), "labels": torch.tensor(PIDS),
               "cams": torch.tensor(CAMIDS)}, path)  # fmt: skip


def pt(path):
    torch.save({"f": torch.tensor(FEATURES), "pids": PIDS.tolist(),
                "camids": torch.tensor(CAMIDS), "paths": NAMES}, path)  # fmt: skip


def parquet(path):
    columns = {"features": list(FEATURES), "pid": PIDS, "camid": CAMIDS, "name": NAMES}
    pq.write_table(pa.table(columns), path)


def mat(path):
    savemat(path, {"features": FEATURES, "pids": PIDS, "camids": CAMIDS.astype(float)})


@pytest.mark.parametrize("write", [npz, safetensors, pt, parquet, mat])
def test_every_kind_of_file_gives_the_same_arrays(write, tmp_path):
    path = tmp_path / f"f.{write.__name__}"
    write(path)
    found = read_features(path)
    np.testing.assert_array_equal(found.features, FEATURES)
    assert found.features.dtype == np.float32
    for array, expected in zip(found.labels(), (PIDS, CAMIDS), strict=True):
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == np.int64
    assert found.names in (None, tuple(NAMES))
    assert (found.names is None) == (write in (safetensors, mat))


def test_a_file_of_both_sides_as_older_code_bases_write_it(tmp_path):
    path = tmp_path / "pytorch_result.mat"
    savemat(path, {
        "gallery_f": FEATURES, "gallery_label": PIDS, "gallery_cam": CAMIDS,
        "query_f": -FEATURES[:2].astype(">f4"), "query_label": PIDS[1:3], "query_cam": [3, 4],
    })  # fmt: skip
    query, gallery = read_features(path, "query"), read_features(path, "gallery")
    np.testing.assert_array_equal(query.features, -FEATURES[:2])
    np.testing.assert_array_equal(query.labels()[0], [5, 2**40])
    np.testing.assert_array_equal(gallery.labels()[1], CAMIDS)
    assert torch.from_numpy(query.features).dtype == torch.float32
    with pytest.raises(DataError, match="has no array 'features'"):
        read_features(path)


def test_one_image_keeps_its_labels(tmp_path):
    savemat(tmp_path / "q.mat", {"query_f": FEATURES[:1], "query_label": [[7]], "query_cam": 1})
    found = read_features(tmp_path / "q.mat", "query")
    assert [array.tolist() for array in found.labels()] == [[7], [1]]


def test_half_precision_of_torch_is_kept_or_widened_exactly(tmp_path):
    for kind in (torch.float16, torch.bfloat16):
        values = torch.tensor(FEATURES).to(kind)
        torch.save({"features": values}, tmp_path / "h.pt")
        found = read_features(tmp_path / "h.pt").features
        np.testing.assert_array_equal(found.astype(np.float32), values.float().numpy())


class Harm:
    def __reduce__(self):
        return open, ("/tmp/harm", "w")


@pytest.mark.parametrize(
    ("name", "write", "said"),
    [
        ("a.npz", lambda p: np.savez(p, features=np.array([Harm()])), "can't be read"),
        ("a.pt", lambda p: torch.save({"features": Harm()}, p), "could run code"),
        ("a.pt", lambda p: p.write_bytes(pickle.dumps([1], 2)), "can't be read"),
        ("a.pt", lambda p: torch.save(torch.ones(2, 2), p), "holds a Tensor"),
        ("a.npz", lambda p: p.write_bytes(b"PK half a file"), "can't be read"),
        ("a.mat", lambda p: p.write_bytes(b"x" * 200), "can't be read"),
        ("a.txt", lambda p: p.write_text("1"), "ends in .npz"),
        ("a.npz", lambda p: None, "no such file"),
        ("a.npz", lambda p: np.savez(p, x=FEATURES), "has no array 'features'.*it has x"),
        ("a.npz", lambda p: np.savez(p, features=FEATURES[0]), r"\[N, D\].*float32 \[3\]"),
        ("a.npz", lambda p: np.savez(p, features=PIDS[None]), "floating-point"),
        ("a.npz", lambda p: np.savez(p, features=FEATURES, pids=PIDS[:3]), "pids must be 4 whole"),
        ("a.npz", lambda p: np.savez(p, features=FEATURES, camids=[0, 1, 2, 0.5]), "camids must"),
        ("a.npz", lambda p: np.savez(p, features=FEATURES, names=NAMES[:2]), "2 names for 4 rows"),
        ("a.parquet", lambda p: pq.write_table(pa.table({"f": [[1.0], [1.0, 2.0]]}), p), "unequal"),
    ],
)
def test_what_can_not_be_used_is_named(name, write, said, tmp_path):
    write(tmp_path / name)
    with pytest.raises(DataError, match=said) as raised:
        read_features(tmp_path / name)
    assert name in str(raised.value)


def test_missing_labels_are_asked_for(tmp_path):
    np.savez(tmp_path / "a.npz", features=FEATURES, pids=PIDS)
    with pytest.raises(DataError, match="no array 'camids'"):
        read_features(tmp_path / "a.npz").labels()
