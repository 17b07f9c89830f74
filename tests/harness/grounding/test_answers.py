"""Answers on the disk: what is kept, what counts after a crash, what is named as damage."""

import errno
import json
import os

import pytest

from harness.grounding.answers import Answers, Check, Head, Line, Said
from harness.lease import Held, hold
from methods.grounding.expert import Answer, ScoredBox, Verdict
from protocols.errors import DataError, ReIDError

HEAD = Head(
    expert="cogvlm", model="m", revision="1", wording={}, precision="fp32", device="cpu"
)  # fmt: skip
BOX = ScoredBox(0.1, 0.2, 1 / 3, 0.4)
SEEN = Said.of(Answer("[[1,2,3,4]]", (BOX, ScoredBox(0, 0, 1, 1, 0.5))))
FORGED = b'{"image": "a.png", "content": "aa", "answers": {%s}}'
CONTENTS = {"a.png": "aa", "b.png": "bb", "c.png": "cc"}


def line(image, **what):
    what = what or {"answers": {"head": SEEN}, "size": (4, 8)}
    return Line(image=f"{image}.png", content=image * 2, **what)


@pytest.fixture
def answers(tmp_path):
    return Answers(tmp_path / "MA-cogvlm-01234567.answers")


def add(answers, *batches, shard="1-of-1"):
    """Write batches in one start; returns its file."""
    with answers.writing(HEAD, shard) as writer:
        for batch in batches:
            writer.add(batch)
        return writer.path


def known(answers):
    return {image for image, one in answers.read(CONTENTS).items() if one.answers}


def test_what_was_said_comes_back_as_it_was(answers):
    add(answers, [line("a", answers={"head": SEEN, "legs": Said.of(Answer("no", problem="x"))})])
    one = answers.read(CONTENTS)["a.png"]
    assert one.answers["head"].best == BOX
    assert one.answers["head"].boxes[1] == (0, 0, 1, 1, 0.5)
    assert one.answers["legs"] == Said(raw="no", problem="x")
    assert answers.heads == [HEAD]


def test_nothing_is_known_before_anybody_was_asked(answers):
    assert known(answers) == set()
    assert not answers.folder.exists()


def test_every_start_writes_a_file_of_its_own(answers):
    files = [add(answers, [line(image)]) for image in "ab"]
    other = add(answers, [line("c")], shard="1-of-2")
    assert len({*files, other}) == 3
    assert known(answers) == {"a.png", "b.png", "c.png"}


def test_a_start_without_answers_leaves_no_file(answers):
    assert not add(answers).exists()


def test_one_process_at_a_time_works_on_a_shard(answers):
    with (
        answers.writing(HEAD, "1-of-2"),
        answers.writing(HEAD, "2-of-2"),
        pytest.raises(Held),
        hold(answers.folder / ".1-of-2.lease", wait=False),
    ):
        pass


@pytest.mark.parametrize("cut", [1, 20, 10_000])
def test_a_batch_that_is_not_there_to_its_end_does_not_count(answers, cut):
    file = add(answers, [line("a")], [line("b"), line("c")])
    whole = file.read_bytes()
    last = whole.rstrip(b"\n").rindex(b"\n") + 1  # where the line of c begins
    file.write_bytes(whole[: max(last, len(whole) - cut)])
    assert known(answers) == {"a.png"}
    # it is asked again, and that counts
    add(answers, [line("b"), line("c")])
    assert known(answers) == {"a.png", "b.png", "c.png"}


def test_a_file_that_ends_within_its_first_line_holds_nothing(answers):
    file = add(answers, [line("a")])
    file.write_bytes(file.read_bytes()[:30])
    assert known(answers) == set()


@pytest.mark.parametrize(
    ("number", "text", "complaint"),
    [
        (1, b"{}", r":1: no answer as .* \(expert: Field required.*Remove the file"),
        (2, b"\0\0\0", r":2: no answer as .* \(line: Invalid JSON"),
        (2, b'{"image": "a.png"}', r":2: .*content: Field required.*Remove that line"),
        (3, b'{"image": "a.png", "content": "aa", "colour": 1}', r":3: .*colour: Extra inputs"),
        (3, FORGED % b'"legs": {"raw": "", "boxes": [[NaN, 0, 1, 1]]}', ":3: .*finite number"),
        (3, FORGED % b'"legs": {"raw": "", "boxes": [[0.6, 0, 0.5, 1, null]]}', ":3: .*an inside"),
        (3, FORGED % b'"lags": {"raw": ""}', ":3: .*'lags' is none of head, upper, legs"),
    ],
)
def test_other_damage_is_named(answers, number, text, complaint):
    file = add(answers, [line("a")], [line("b")], [line("c")])
    lines = file.read_bytes().split(b"\n")
    lines[number - 1] = text
    file.write_bytes(b"\n".join(lines))
    with pytest.raises(DataError, match=complaint):
        answers.read(CONTENTS)


def test_answers_of_an_image_that_has_changed_do_not_count(answers):
    add(answers, [line("a"), line("b")])
    now = answers.read({**CONTENTS, "a.png": "other"})
    assert not now["a.png"].answers and now["b.png"].answers


def test_of_two_answers_the_first_counts_and_an_answer_outdoes_damage(answers):
    second = Said.of(Answer("later"))
    add(answers, [line("a"), line("b", damaged="truncated")])
    add(answers, [line("a", answers={"head": second}), line("b", answers={"head": second})])
    add(answers, [line("b", damaged="truncated")])
    now = answers.read(CONTENTS)
    assert now["a.png"].answers["head"] == SEEN
    assert now["b.png"].answers["head"] == second and not now["b.png"].damaged


def test_a_check_counts_for_its_box_alone(answers):
    other = ScoredBox(0.5, 0.5, 1, 1)
    verdicts = [(BOX, True), (other, False)]
    for box, right in reversed(verdicts):
        check = Check.of(box, Verdict("yes", right))
        add(answers, [line("a", checks={"head": check})])
    assert answers.read(CONTENTS)["a.png"].checks == {}
    add(answers, [line("a")])
    assert answers.read(CONTENTS)["a.png"].checks["head"].right is True


def test_a_second_look_that_could_not_be_read_is_kept(answers):
    add(answers, [line("a")], [line("a", checks={"head": Check.of(BOX, Verdict("?", None))})])
    assert answers.read(CONTENTS)["a.png"].checks["head"].right is None


@pytest.mark.parametrize(
    "box",
    [
        (float("nan"), 0, 1, 1),
        (0, 0, float("inf"), 1),
        (0.6, 0, 0.5, 1),
        (0, 2, 1, 1),
        (0.5, 0, 0.5, 1),
        (0, 1, 1, 1.5),  # beside the image
        (-0.5, 0, -0.1, 1),
        (0, 0, 1, 1, float("nan")),
        (0, 0, 1, 1, float("-inf")),
    ],
)
def test_a_box_that_is_none_is_a_problem(box, answers):
    said = Said.of(Answer("raw", (ScoredBox(*box),)))
    assert said.raw == "raw" and not said.boxes and said.problem.startswith("no box: ")
    add(answers, [line("a", answers={"head": said})])
    assert answers.read(CONTENTS)["a.png"].answers["head"] == said


def test_a_box_that_reaches_out_of_the_image_is_a_box():
    assert Said.of(Answer("raw", (ScoredBox(-0.1, 0.5, 0.3, 1.2),))).boxes


def test_a_full_disk_is_told_of_and_what_was_written_counts(answers, monkeypatch):
    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    with answers.writing(HEAD, "1-of-1") as writer:
        writer.add([line("a")])
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(ReIDError, match="The disk is full"):
            writer.add([line("b")])
    monkeypatch.undo()
    assert "a.png" in known(answers)
    add(answers, [line("b")])
    assert known(answers) == {"a.png", "b.png"}


def test_the_time_of_all_starts_is_counted(answers):
    for seconds in (1.5, 2.0):
        add(answers, [line("a", answers={"head": SEEN}, seconds=seconds)])
    assert answers.read(CONTENTS)["a.png"].seconds == 3.5


def test_an_image_is_one_line(answers):
    file = add(answers, [line("a", answers={"head": Said.of(Answer("one\ntwo\ud800"))})])
    head, image, end = file.read_text().split("\n")
    assert json.loads(head)["expert"] == "cogvlm" and not end
    assert json.loads(image)["answers"]["head"]["raw"] == "one\ntwo?"
