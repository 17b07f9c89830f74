"""Part labels on their way from a file, or from the stand-ins, to a training; `harness ground`."""

import json
import pickle
import re
import struct
import sys
import zlib
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch.nn import Parameter

from harness.catalog import DataCatalog
from harness.config import RunSpec
from harness.part_labels import PartLabelFinder, image_size
from harness.plan import choose, plan
from harness.testing import check_method
from methods.colour_histogram import ColourHistogram, ColourHistogramConfig
from methods.grounding.labels import PartLabels
from methods.interface import PartNeeds, Stage
from protocols import standin
from protocols.errors import DataError, ReIDError
from protocols.registry import select
from protocols.types import Fold

NAMES = ("head", "upper body", "legs")


class PartsConfig(ColourHistogramConfig):
    partition: str = "found"
    calibration: bool = True
    part_labels: str | None = None
    grid: tuple[int, int] = (6, 3)


class Watches(Stage):
    """Looks at every batch, learns next to nothing."""

    name = "watch"
    epochs = 1
    seen: ClassVar[list] = []

    def __init__(self, method):
        self.method = method

    def optimizer(self):
        return torch.optim.SGD([self.method.weight], lr=0.1)

    def batches(self, epoch, data):
        return data.pk_batches(epoch, 2, 2)

    def forward(self, batch):
        assert batch.part_masks.shape == (len(batch), 3, *self.method.config.grid)
        Watches.seen.append(batch)
        return {"masks": batch.part_masks}

    def losses(self, outputs, batch):
        share = outputs["masks"].float().mean()
        return {"share": (self.method.weight - share).square()}


class Parts(ColourHistogram):
    """A histogram that wants to know where body parts are."""

    Config = PartsConfig

    def __init__(self, config, sources):
        super().__init__(config, sources)
        self.config = config
        self.weight = Parameter(torch.ones(()))

    @classmethod
    def part_needs(cls, config):
        if config.partition == "stripes":
            return None
        return PartNeeds(config.grid, config.calibration, config.part_labels, "partition=stripes")

    def stages(self):
        return [Watches(self)] if self.config.partition == "found" else []


@pytest.fixture(autouse=True)
def method(monkeypatch):
    """`Parts` under a name the command line knows."""
    module = sys.modules[__name__]
    monkeypatch.setitem(sys.modules, "watching", module)
    Watches.seen.clear()
    return "watching:Parts"


def planned(root, rows="MA->D", out=None, **overrides):
    chosen = choose(["watching:Parts"], "paper", overrides)
    return plan(chosen, select(rows), [0], DataCatalog(root), out=out)


def sources(root, key="MA"):
    return [image.path for image in DataCatalog(root).source(key, "train").images]


def write_csv(root, path, key="MA", skip=0):
    """The stand-ins' true boxes as a CSV of annotations, without the first `skip` images."""
    truth = standin.truth(root, key)
    lines = ["image,part,xmin,ymin,xmax,ymax"]
    for image in sources(root, key)[skip:]:
        boxes, name = truth[image]["boxes"], image.rsplit("/", 1)[1]
        for part in NAMES:
            box = map(str, boxes.get(part, [""] * 4))
            lines.append(",".join([name, part.split()[0], *box]))
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_stand_ins_own_boxes_become_masks(standins):
    (one,) = planned(standins, calibration=False, grid=(128, 64))
    masks = one.part_masks.tensor()
    truth, paths = standin.truth(standins, "MA"), sources(standins)
    assert masks.shape == (len(paths), 3, 128, 64)
    for row in range(0, len(paths), 10):
        for part, name in enumerate(NAMES):
            expected = torch.zeros(128, 64, dtype=torch.bool)
            if name in truth[paths[row]]["boxes"]:
                # pictures of MA are 64 x 128 pixels: a patch is a pixel
                x0, y0, x1, y1 = truth[paths[row]]["boxes"][name]
                expected[y0:y1, x0:x1] = True
            assert torch.equal(masks[row, part], expected)


def test_masks_of_several_sources_come_in_their_order(standins):
    both, one, other = planned(standins, "MA+D->C3,MA->C3,D->C3")
    both, one, other = (run.part_masks.tensor() for run in (both, one, other))
    assert torch.equal(both, torch.cat([one, other]))


def test_the_name_of_a_run_is_of_its_masks(standins):
    base = planned(standins)[0].spec
    assert re.fullmatch("[0-9a-f]{16}", base.part_labels)
    assert planned(standins)[0].spec.id == base.id
    others = [
        planned(standins, calibration=False)[0].spec,
        planned(standins, grid=(8, 4))[0].spec,
        planned(standins, partition="stripes")[0].spec,
    ]
    assert len({base.id, *(spec.id for spec in others)}) == 4
    assert others[-1].part_labels is None
    assert base.id == RunSpec.model_validate_json(base.model_dump_json()).id


def test_runs_without_masks_keep_their_names():
    # made by the harness before it knew of part labels
    spec = RunSpec(
        method="colour-histogram",
        method_version="1",
        preset="tiny",
        config={"image_size": [128, 64], "stripes": 6, "bins": [8, 4, 4]},
        weights=(),
        sources={"MA": "a" * 16, "D": "b" * 16},
        source_images="train",
        seed=3,
        precision="fp32",
    )
    assert spec.id == "4aae8957af2c"
    old = {k: v for k, v in spec.model_dump(mode="json").items() if k != "part_labels"}
    assert RunSpec.model_validate(old) == spec


def test_a_file_says_what_the_masks_are_and_not_where_it_lies(standins, harness, tmp_path):
    csv = write_csv(standins, tmp_path / "boxes.csv")
    ground = ("ground", "--data", standins, "--datasets", "MA", "--expert", "annotations")
    assert harness(*ground, "--from", csv, "--out", tmp_path / "runs")[0] == 0
    (file,) = (tmp_path / "runs" / "part_labels").glob("*.safetensors")
    elsewhere = tmp_path / "other.safetensors"
    elsewhere.write_bytes(file.read_bytes())
    found = planned(standins, calibration=False)[0].spec
    for named in (file, elsewhere, file.parent, f"{csv.parent / 'other.safetensors'},"):
        (one,) = planned(standins, part_labels=str(named), calibration=False)
        assert one.spec.id == found.id  # the same boxes, however they came here
        assert str(tmp_path) not in one.spec.model_dump_json()


def test_boxes_that_are_known_to_be_true_are_not_calibrated(standins, harness, tmp_path):
    csv = write_csv(standins, tmp_path / "boxes.csv")
    ground = ("ground", "--data", standins, "--datasets", "MA", "--expert", "annotations")
    assert harness(*ground, "--from", csv, "--out", tmp_path)[0] == 0
    (file,) = (tmp_path / "part_labels").glob("*.safetensors")
    (drawn,), (raw,) = planned(standins), planned(standins, calibration=False)
    assert drawn.spec.part_labels == raw.spec.part_labels
    (given,) = planned(standins, part_labels=str(file))
    (as_given,) = planned(standins, part_labels=str(file), calibration=False)
    assert as_given.spec.part_labels == raw.spec.part_labels != given.spec.part_labels


def test_of_several_files_each_source_takes_its_own(standins, tmp_path):
    for key, high in (("MA", 0.5), ("D", 1.0)):
        paths = sources(standins, key)
        boxes = np.tile(np.array([0, 0, 1, high], dtype=np.float32), (len(paths), 3, 1))
        PartLabels(tuple(paths), boxes=boxes).write(tmp_path / f"{key}.safetensors")
    named = f"{tmp_path / 'D.safetensors'}, {tmp_path / 'MA.safetensors'}"
    for given in (named, str(tmp_path)):
        (one,) = planned(standins, "MA+D->C3", part_labels=given, grid=(2, 1))
        shares = [masks.mean() for masks in one.part_masks.sources]
        assert shares == [0.5, 1.0]


def write_share(path, root, share, key="D", names=False):
    """Labels that cover the upper `share` of every image, under paths or under file names."""
    paths = [p.rsplit("/", 1)[1] if names else p for p in sources(root, key)]
    boxes = np.tile(np.array([0, 0, 1, share], dtype=np.float32), (len(paths), 3, 1))
    PartLabels(tuple(paths), boxes=boxes).write(path)


def test_of_several_files_for_a_source_one_is_chosen_where_it_is_plain_which(standins, tmp_path):
    def share():
        (one,) = planned(standins, "D->C3", part_labels=str(tmp_path), grid=(4, 1))
        return one.part_masks.sources[0].mean()

    write_share(tmp_path / "a.safetensors", standins, 0.25, names=True)
    assert share() == 0.25
    write_share(tmp_path / "b.safetensors", standins, 0.5)
    assert share() == 0.5  # known by path, not by file name
    write_share(tmp_path / "c.safetensors", standins, 0.5)
    assert share() == 0.5  # the same
    write_share(tmp_path / "d.safetensors", standins, 0.75)
    complaint = r"D: .*b\.safetensors and .*c\.safetensors and .*d\.safetensors all hold"
    with pytest.raises(ReIDError, match=complaint):
        share()
    write_share(tmp_path / f"D-{'0' * 16}.safetensors", standins, 0.75)  # made of other images
    with pytest.raises(ReIDError, match="and not the same; name the one"):
        share()
    digest = DataCatalog(standins).source_fingerprint("D", "train")
    write_share(tmp_path / f"D-{digest}.safetensors", standins, 1.0)
    assert share() == 1.0
    masks = np.ones((len(sources(standins, "D")), 3, 2, 1), dtype=bool)  # of another grid
    other = PartLabels(tuple(sources(standins, "D")), masks=masks)
    other.write(tmp_path / "e.safetensors")
    assert share() == 1.0


def test_the_authors_pickle_is_a_file_like_another(standins, tmp_path):
    paths = sources(standins)
    masks = np.random.default_rng(0).random((len(paths), 3, 6, 3)) < 0.5
    added = np.where(masks, 0, -np.inf).astype(np.float32).reshape(len(paths), 3, -1)
    value = {p.rsplit("/", 1)[1]: a for p, a in zip(paths, added, strict=True)}
    (tmp_path / "masks.pkl").write_bytes(pickle.dumps(value))
    (one,) = planned(standins, part_labels=str(tmp_path / "masks.pkl"))
    assert np.array_equal(one.part_masks.sources[0], masks)
    with pytest.raises(ReIDError, match=r"expected \[3, 20\] for 5x4 patches"):
        planned(standins, part_labels=str(tmp_path / "masks.pkl"), grid=(5, 4))


@pytest.mark.parametrize(
    ("named", "complaint"),
    [
        ("gone.safetensors", "is no file of part labels and no folder with any"),
        ("labels.csv", "`harness ground --expert annotations --from labels.csv`"),
        (",", "expected a file, a folder or a comma list"),
    ],
)
def test_files_that_do_not_serve_are_named(standins, tmp_path, monkeypatch, named, complaint):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.csv").write_text("image,part\n")
    with pytest.raises(ReIDError, match=complaint):
        planned(standins, part_labels=named)


def test_what_no_one_has_labelled_is_said_before_anything_is_trained(
    real, harness, tmp_path, method
):
    out = tmp_path / "my runs"
    status, printed = harness(
        "run", "--method", method, "--protocol", "MA->C3,D->C3,MS->C3", "--data", real,
        "--out", out, "--tracking", "off",
    )  # fmt: skip
    assert status == 1
    assert "nobody has said for D, MA, MS." in printed
    command = re.search("`(harness ground .*?)` takes boxes", printed)[1]
    assert f"--data '{str(real)[:-2]}'\"'\"'s' --datasets D,MA,MS" in command
    assert f"--out '{out}'" in command
    assert "`--set partition=stripes` runs without." in printed
    assert not list(out.glob("*/spec.json"))
    assert not Watches.seen
    # and it does
    status, printed = harness(
        "run", "--method", method, "--protocol", "MA->C3", "--data", real, "--out", out,
        "--tracking", "off", "--set", "partition=stripes",
    )  # fmt: skip
    assert status == 0, printed


def test_what_ground_writes_is_found_until_the_images_change(real, standins, harness, tmp_path):
    csv, out = write_csv(standins, tmp_path / "boxes.csv"), tmp_path / "runs"
    status, printed = harness(
        "ground", "--data", real, "--datasets", "MA", "--expert", "annotations", "--from", csv,
        "--out", out,
    )  # fmt: skip
    assert status == 0
    assert "MA: 288 images, boxes" in printed
    truth = standin.truth(standins, "MA")
    for part, name in zip(("head", "upper", "legs"), NAMES, strict=True):
        found = sum(name in truth[path]["boxes"] for path in sources(standins))
        assert re.search(rf"{part} +{found} +{288 - found} +\d+", printed)
    (one,) = planned(real, out=out, calibration=False)
    assert one.spec.id == planned(standins, calibration=False)[0].spec.id
    with pytest.raises(ReIDError, match="nobody has said for MA"):
        planned(real, out=tmp_path / "elsewhere")
    folder = real / "Market-1501-v15.09.15"
    copy = folder.resolve()
    folder.unlink()
    (folder / "bounding_box_train").mkdir(parents=True)
    for child in copy.iterdir():
        if child.name != "bounding_box_train":
            (folder / child.name).symlink_to(child)
    for image in sorted((copy / "bounding_box_train").iterdir())[1:]:
        (folder / "bounding_box_train" / image.name).symlink_to(image)
    with pytest.raises(
        ReIDError, match=r"MA-\w{16}-annotations\.safetensors is of other images of MA, or"
    ):
        planned(real, out=out)


def test_labels_of_all_images_serve_for_training_images_too(real, harness, tmp_path):
    ground = ("ground", "--data", real, "--datasets", "MA", "--expert", "stripes")
    assert harness(*ground, "--images", "all", "--out", tmp_path)[0] == 0
    finder = PartLabelFinder(DataCatalog(real), tmp_path)
    needs = PartNeeds((6, 2))
    found = {w: finder.find(Fold(("MA",), w, ()), needs).tensor() for w in ("train", "all")}
    assert len(found["train"]) == 288 < len(found["all"])
    bands = torch.arange(6).repeat_interleave(2).reshape(6, 2) // 2
    for masks in found.values():
        assert (masks == torch.stack([bands == part for part in range(3)])).all()
    with pytest.raises(ReIDError, match="no part labels for D"):
        finder.find(Fold(("D",), "train", ()), needs)
    with pytest.raises(ReIDError, match="--images all` takes boxes"):
        finder.require("parts", [Fold(("D",), "all", ())], needs)


def test_a_training_gets_the_masks_of_its_images(harness, standins, tmp_path, method):
    command = ("run", "--method", method, "--protocol", "MA->C3", "--preset", "paper", "--out",
               tmp_path, "--tracking", "off", "--precision", "fp32")  # fmt: skip
    status, printed = harness(*command)
    assert status == 0, printed
    masks = planned(standins)[0].part_masks.tensor()
    assert Watches.seen
    for batch in Watches.seen:
        assert torch.equal(batch.part_masks, masks[batch.indices])
    (record,) = tmp_path.glob("*/run.json")
    spec = json.loads(record.read_text())["spec"]
    assert spec["part_labels"] == planned(standins)[0].spec.part_labels
    assert spec["config"]["part_labels"] is None
    # done already, and known to be
    assert "0 trainings and 0 tests computed" in harness(*command)[1]


def test_a_plan_reads_every_source_once(standins, monkeypatch):
    read = []
    truth = standin.truth
    monkeypatch.setattr(standin, "truth", lambda root, key: read.append(key) or truth(root, key))
    runs = planned(standins, "all")
    assert len(runs) == 8
    assert sorted(read) == ["C3", "D", "MA", "MS"]


def test_methods_that_ask_for_masks_are_given_some_when_they_are_checked():
    check_method(Parts, {"grid": (5, 2)}, "paper")
    shapes = {tuple(batch.part_masks.shape[1:]) for batch in Watches.seen}
    assert shapes == {(3, 5, 2)}


MA = ("ground", "--datasets", "MA")
HUGE = f"{'9' * 5000}x1"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--expert", "annotation"), "Unknown --expert 'annotation'. Did you mean 'annotations'"),
        (("--expert", "masks"), "--expert masks needs --from FILE"),
        (("--expert", "stripes", "--from", "a.csv"), "reads no file; leave --from out"),
        (("--expert", "annotations", "--from", "gone.csv"), "gone.csv: there is no such file"),
        (("--expert", "masks", "--from", "x.csv", "--grid", "16"), "expected rows x columns"),
        (("--expert", "masks", "--from", "x.csv", "--grid", HUGE), "at most 1024x1024"),
        (("--expert", "masks", "--from", "x.csv", "--grid", "1025x1"), "at most 1024x1024"),
        (("--expert", "stripes", "--images", "al"), "Unknown --images 'al'. Did you mean 'all'"),
        (("--expert", "annotations", "--from", "x.csv"), r"x.csv:2: part is 'hed'.*mean 'head'"),
    ],
)  # fmt: skip
def test_messages_of_ground(harness, standins, tmp_path, monkeypatch, arguments, complaint):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.csv").write_text("image,part,xmin,ymin,xmax,ymax\n1.jpg,hed,1,2,3,4\n")
    status, printed = harness(*MA, "--data", standins, *arguments)
    assert status == 1
    assert re.search(complaint, printed), printed
    assert not (tmp_path / "runs" / "part_labels").exists()


def test_ground_writes_nothing_where_a_data_set_lacks_labels(harness, standins, tmp_path):
    csv = write_csv(standins, tmp_path / "boxes.csv", skip=2)
    status, printed = harness(
        "ground", "--data", standins, "--datasets", "MA", "--expert", "annotations", "--from", csv,
        "--out", tmp_path / "runs",
    )  # fmt: skip
    assert status == 1
    assert "MA: " in printed and "boxes.csv: 2 of 288 images have no part labels" in printed
    assert not (tmp_path / "runs" / "part_labels").exists()


def test_ground_tells_of_lines_that_it_leaves_out(harness, standins, tmp_path):
    csv = write_csv(standins, tmp_path / "boxes.csv")
    ground = ("ground", "--data", standins, "--datasets", "MA", "--expert", "annotations",
              "--from", csv, "--out", tmp_path / "runs")  # fmt: skip
    assert "left out" not in harness(*ground)[1]
    lines = csv.read_text().splitlines()
    lines[2:2] = ["0002_typo.jpg,head,1,2,3,4", "0002_typo.jpg,legs,1,2,3,4"]
    csv.write_text("\n".join(lines))
    status, printed = harness(*ground)
    assert status == 0
    assert (
        f"{csv}: 2 lines are of no image among the training images of MA and left out; the first "
        f"is {csv}:3, 0002_typo.jpg."
    ) in printed
    # an image that lost its lines to the slip is an error; the slip is told all the same
    csv.write_text("\n".join(line for line in lines if not line.startswith(lines[1].split(",")[0])))
    status, printed = harness(*ground)
    assert status == 1
    assert "1 of 288 images have no part labels" in printed and ":2, 0002_typo.jpg." in printed


def test_an_image_that_claims_to_be_huge_is_named(tmp_path):
    path = tmp_path / "huge.png"
    size = struct.pack(">II5B", 60_000, 60_000, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", size), (b"IDAT", b"")):
        crc = struct.pack(">I", zlib.crc32(kind + data))
        content += struct.pack(">I", len(data)) + kind + data + crc
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"huge\.png can not be read as an image .*bomb"):
        image_size(path)
