"""What tests of the walk share: ten images, and walks over them with a scripted expert."""

import pytest

from harness.catalog import DataCatalog
from harness.grounding.answers import Head
from harness.grounding.walk import Walk, WalkOptions, Watch
from methods.grounding.expert import Wording
from tests.harness.grounding.scripted import Scripted, make_data

HEAD = Head(expert="e", model="m", revision="1", wording={}, precision="fp32", device="cpu")


class Says(Watch):
    def __init__(self):
        self.lines, self.passes, self.images = [], [], 0

    def begin(self, doing, images, left):
        self.passes.append((doing, images, left))

    def advance(self, images, seconds):
        self.images += images

    def say(self, text):
        self.lines.append(text)


@pytest.fixture
def root(tmp_path, standin_cache):
    return make_data(tmp_path / "data", 10)


@pytest.fixture
def walk(root, tmp_path):
    """Make a walk with an expert of its own: `walk(script, batch=4, ...)`."""

    def make(script=None, batch=4, folder="answers", **options):
        catalog = DataCatalog(root)
        images = [image.path for image in catalog.source("Mine", "train").images]
        expert = Scripted(script)
        made = Walk(
            key="Mine", root=root, contents=catalog.contents.digests(images),
            folder=tmp_path / folder, head=HEAD, wording=Wording(), open_expert=lambda: expert,
            options=WalkOptions(batch=batch, **options), watch=Says(),
        )  # fmt: skip
        made.scripted = expert
        return made

    return make
