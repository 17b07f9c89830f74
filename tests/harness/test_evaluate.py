"""From a method and probe splits to numbers, against a slow and readable evaluation."""

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from harness.evaluate import encoded, evaluate, query_table
from harness.extract import Extractor
from methods.colour_histogram import ColourHistogram, ColourHistogramConfig
from methods.interface import Batch, SourceInfo
from protocols.types import Image, Probe, Split

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def probes(tmp_path_factory):
    root = tmp_path_factory.mktemp("target")
    rng = np.random.default_rng(0)
    images = []
    for pid in range(6):  # 0: distractors
        for camid in range(3):
            name = f"{pid}_{camid}.png"
            colour = 40 * pid + rng.normal(0, 50, (32, 16, 3))
            PillowImage.fromarray(colour.clip(0, 255).astype(np.uint8)).save(root / name)
            images.append(Image(name, pid, camid))
    people = [i for i in images if i.pid]

    def probe(name, camera):
        query = tuple(i for i in people if i.camid == camera)
        gallery = tuple(i for i in images if i not in query)
        return Probe(name, Split("T", "query", query), Split("T", "gallery", gallery))

    return root, (probe("a", 0), probe("b", 2))


def method():
    return ColourHistogram(ColourHistogramConfig(image_size=(16, 8), stripes=2), SourceInfo(0, ()))


def slow(root, probe):
    """AP and first hit per query, by the definitions, one image at a time."""
    encoder = method()
    from harness.augment import apply
    from harness.decoding import decode
    from harness.seeds import generator

    def feature(image):
        pixels = apply(encoder.transforms().eval, decode(root / image.path), generator(0))
        found = encoder.encode(Batch(pixels[None]))["features"][0].double().numpy()
        return found / np.linalg.norm(found)

    results = []
    for q in probe.query.images:
        kept = [g for g in probe.gallery.images if (g.pid, g.camid) != (q.pid, q.camid)]
        order = sorted(kept, key=lambda g: -float(feature(q) @ feature(g)))
        ranks = [r for r, g in enumerate(order, 1) if g.pid == q.pid]
        precision = [(i + 1) / r for i, r in enumerate(ranks)]
        results.append((sum(precision) / len(ranks), ranks[0], len(ranks) / ranks[-1]))
    return results


def test_equals_the_definitions(probes):
    root, splits = probes
    result = evaluate(Extractor(method(), root, CPU), splits)
    expected = [slow(root, probe) for probe in splits]
    means = [np.mean([ap for ap, _, _ in one]) for one in expected]
    assert result.metrics["mAP"] == pytest.approx(np.mean(means), abs=1e-6)
    first = [np.mean([hit == 1 for _, hit, _ in one]) for one in expected]
    assert result.metrics["rank1"] == pytest.approx(np.mean(first), abs=1e-12)
    assert result.cmc[0] == result.metrics["rank1"]
    inp = [np.mean([value for _, _, value in one]) for one in expected]
    assert result.metrics["mINP"] == pytest.approx(np.mean(inp), abs=1e-6)
    assert result.metrics["valid_queries"] == 10
    assert result.images == 18
    table = query_table(result)
    assert table["probe"] == ["a"] * 5 + ["b"] * 5
    assert table["ap"] == pytest.approx([ap for one in expected for ap, _, _ in one], abs=1e-6)


class Euclidean(ColourHistogram):
    """A method with a score of its own."""

    def score(self, queries, gallery):
        return -torch.cdist(queries["features"], gallery["features"])


def test_a_methods_own_score_is_used(probes):
    root, splits = probes
    own = Euclidean(method().config, SourceInfo(0, ()))
    found = evaluate(Extractor(own, root, CPU), splits)
    plain = evaluate(Extractor(method(), root, CPU), splits)
    # both features have one length, so that both distances give one order
    assert found.metrics["mAP"] == pytest.approx(plain.metrics["mAP"], abs=1e-9)

    class Worst(ColourHistogram):
        def score(self, queries, gallery):
            return torch.cdist(queries["features"], gallery["features"])

    worst = evaluate(Extractor(Worst(method().config, SourceInfo(0, ())), root, CPU), splits)
    assert worst.metrics["mAP"] < plain.metrics["mAP"]


def test_images_that_stand_together_are_not_copied():
    """And others are, in the order of their lists."""
    images = [Image(name, pid, camid) for name, pid, camid in
              (("a", 1, 0), ("b", 1, 1), ("c", 2, 1), ("d", 2, 0))]  # fmt: skip
    rows = torch.arange(8.0).view(4, 2)
    for at, together in (((1, 2, 3), True), ((1, 3, 2), False)):
        query = Split("T", "query", (images[0],))
        probe = Probe("p", query, Split("T", "gallery", tuple(images[i] for i in at)))
        ((_, _, gallery),) = encoded(lambda *asked: {"features": rows}, [probe])
        assert torch.equal(gallery["features"], rows[list(at)])
        shares = (
            gallery["features"].untyped_storage().data_ptr() == rows.untyped_storage().data_ptr()
        )
        assert shares == together
