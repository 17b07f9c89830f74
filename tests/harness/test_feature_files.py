"""Features in the files that people write them to."""

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file
from scipy.io import savemat

from harness.feature_files import read_all, read_features
from harness.mapped import BFloat16, Stacked, Watched
from harness.ranking import rank_features
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


def npy(path):
    np.save(path, FEATURES)
    for name, values in (("pids", PIDS), ("camids", CAMIDS)):
        np.save(path.with_suffix(f".{name}.npy"), values)
    path.with_suffix(".names.txt").write_text("\n".join(NAMES) + "\n", encoding="utf-8")


@pytest.mark.parametrize("write", [npy, npz, safetensors, pt, parquet, mat])
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


@pytest.mark.parametrize("kind", ["npz", "mat", "pt", "txt"])
def test_names_as_bytes_cells_and_lines(kind, tmp_path):
    path, coded = tmp_path / f"f.{kind}", [name.encode() for name in NAMES]
    if kind == "npz":
        np.savez(path, features=FEATURES, names=np.array(coded))
    elif kind == "mat":
        savemat(path, {"features": FEATURES, "names": np.array(NAMES, dtype=object)})
    elif kind == "pt":
        torch.save({"features": torch.tensor(FEATURES), "names": coded}, path)
    else:
        path = tmp_path / "f.npy"
        np.save(path, FEATURES)
        lines = "\r\n".join(NAMES) + "\r\n\r\n"
        path.with_suffix(".names.txt").write_bytes(lines.encode("utf-8-sig"))
    assert read_features(path).names == tuple(NAMES)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_python_objects_matter_only_where_they_are_asked_for(save, tmp_path):
    names = np.array(NAMES, dtype=object)
    save(tmp_path / "a.npz", features=FEATURES, pids=PIDS, camids=CAMIDS, names=names, x={"a": 1})
    np.testing.assert_array_equal(read_features(tmp_path / "a.npz", "query").features, FEATURES)
    with pytest.raises(DataError, match=r"a.npz: names can't be read .*save numbers, or text"):
        read_features(tmp_path / "a.npz")


def test_of_many_arrays_some_are_named(tmp_path):
    arrays = {f"{i:03}.jpg": torch.tensor(FEATURES[0]) for i in range(50)}
    torch.save(arrays, tmp_path / "a.pt")
    with pytest.raises(DataError, match=r"no array 'features'.*009.jpg, \.\.\.\.$"):
        read_features(tmp_path / "a.pt")


def cut(write, path):
    """A file that lacks its end."""
    write(path)
    path.write_bytes(path.read_bytes()[:-1])


class Harm:
    def __reduce__(self):
        return open, ("/tmp/harm", "w")


@pytest.mark.parametrize(
    ("name", "write", "said"),
    [
        ("a.npz", lambda p: np.savez(p, features=np.array([Harm()])), "can't be read"),
        ("a.npy", lambda p: np.save(p, np.array([Harm()])), "can't be read"),
        ("a.npy", lambda p: np.save(p, FEATURES[:0]), r"float32 \[0, 3\]"),
        ("a.safetensors", lambda p: cut(safetensors, p), "can't be read"),
        ("a.npy", lambda p: cut(npy, p), "can't be read"),
        ("a.pt", lambda p: torch.save({"features": Harm()}, p), "could run code"),
        ("a.pt", lambda p: p.write_bytes(pickle.dumps([1], 2)), "can't be read"),
        ("a.pt", lambda p: torch.save(torch.ones(2, 2), p), "holds a Tensor"),
        ("a.npz", lambda p: p.write_bytes(b"PK half a file"), "can't be read"),
        ("a.mat", lambda p: p.write_bytes(b"x" * 200), "can't be read"),
        ("a.txt", lambda p: p.write_text("1"), "ends in .npy"),
        ("a.npz", lambda p: None, "no such file"),
        ("a.npz", lambda p: np.savez(p, x=FEATURES), "has no array 'features'.*it has x"),
        ("a.npz", lambda p: np.savez(p, features=FEATURES[0]), r"\[N, D\].*float32 \[3\]"),
        ("a.npz", lambda p: np.savez(p, features=PIDS[None]), "floating-point"),
        ("a.npz", lambda p: np.savez(p, features=np.ones((2, 2), "g")), "at most 64 bits, .*128"),
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


# ---- larger than memory -------------------------------------------------------------------------


def test_features_stay_in_their_files(tmp_path):
    for write in (npy, npz, safetensors):
        path = tmp_path / f"f.{write.__name__}"
        write(path)
        assert isinstance(read_features(path).features, np.memmap)
        assert read_features(path, "gallery").names is None  # of many images they are large
    np.savez_compressed(tmp_path / "c.npz", features=FEATURES, pids=PIDS)
    np.testing.assert_array_equal(read_features(tmp_path / "c.npz").features, FEATURES)


@pytest.mark.parametrize("kind", [torch.float16, torch.float32, torch.float64, torch.bfloat16])
def test_tensors_of_every_precision(kind, tmp_path):
    values = torch.tensor(FEATURES).to(kind)
    # names of odd lengths: the numbers begin anywhere
    save_file(
        {"features": values, "n" * 7: torch.ones(3, dtype=torch.bool)}, tmp_path / "f.safetensors"
    )
    found = read_features(tmp_path / "f.safetensors").features
    assert isinstance(found, BFloat16 if kind == torch.bfloat16 else np.memmap)
    wide = values.double().numpy()
    for rows in (slice(1, 3), np.array([3, 0, 0]), slice(None)):
        np.testing.assert_array_equal(found[rows].astype(np.float64), wide[rows])


def test_a_folder_is_one_set_or_shards(tmp_path):
    whole, shards = tmp_path / "whole", tmp_path / "shards"
    whole.mkdir()
    for name, values in (("features", FEATURES), ("pids", PIDS), ("camids", CAMIDS)):
        np.save(whole / f"{name}.npy", values)
    shards.mkdir()
    parts = [(slice(0, 1), np.float16), (slice(1, 3), np.float32), (slice(3, 4), np.float16)]
    for i, (rows, dtype) in enumerate(parts):
        np.save(shards / f"{i}.npy", FEATURES[rows].astype(dtype))
        np.save(shards / f"{i}.pids.npy", PIDS[rows])
        np.save(shards / f"{i}.camids.npy", CAMIDS[rows])
    for texts in ([whole], [shards], [shards / "*.npy"], [shards / f"{i}.npy" for i in range(3)]):
        found = read_all(list(map(str, texts)), "gallery")
        for array, expected in zip(found.labels(), (PIDS, CAMIDS), strict=True):
            np.testing.assert_array_equal(array, expected)
        for rows in (slice(1, 2), slice(0, 9), np.array([3, 0, 2])):
            np.testing.assert_allclose(found.features[rows], FEATURES[rows], rtol=1e-3)
    assert isinstance(found.features, Stacked)
    assert found.features.shape == (4, 3)
    assert found.features.dtype == np.float32
    assert found.place(2) == f"{shards / '1.npy'}, row 1"


def test_files_that_do_not_go_together(tmp_path):
    (tmp_path / "empty").mkdir()
    for name, width in (("a", 3), ("b", 2)):
        np.savez(tmp_path / name, features=FEATURES[:, :width], pids=PIDS, camids=CAMIDS)
    for text, said in (
        ("*.npz", "one width; .*a.npz has 3, .*b.npz has 2"),
        ("*.npy", "no file fits"),
        ("empty", "folder without features: expected features.npy"),
        ("[0].npy", "no file fits"),
    ):
        with pytest.raises(DataError, match=said):
            read_all([str(tmp_path / text)], "gallery")


def test_a_gallery_that_is_not_read_at_once(tmp_path):
    """205 MB of features, nearly all zeros, which the disk does not keep."""
    rows, width = 100_000, 512
    gallery = np.lib.format.open_memmap(tmp_path / "g.npy", "w+", np.float32, (rows, width))
    gallery[7] = 1
    del gallery
    np.save(tmp_path / "g.pids.npy", np.arange(rows))
    np.save(tmp_path / "g.camids.npy", np.zeros(rows, dtype=int))
    file = read_all([str(tmp_path / "g.npy")], "gallery")
    peak = before = own_memory()

    def look(rows):
        nonlocal peak
        peak = max(peak, own_memory())

    query = np.ones((2, width), np.float32)
    pids, camids = file.labels()
    ranking = rank_features(
        query,
        Watched(file.features, look),
        query_pids=[7, 9],
        query_camids=[1, 1],
        gallery_pids=pids,
        gallery_camids=camids,
    )
    # all others are as far away as item 9: two have a smaller index than it has and the rest not
    assert ranking.first_hit.tolist() == [1, 10]
    assert peak - before < 100  # with compiled code and labels


def own_memory():
    """Anonymous memory of this process in MB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024
