"""The walk over a data set's images: what is asked, in which batches, and what is left out."""

import pytest
from PIL import Image

from harness.grounding.walk import Shard
from protocols.errors import ReIDError
from tests.harness.grounding.scripted import Script, Scripted


def asked(walk):
    return [sorted(set(call)) for call in walk.scripted.calls]


def said(walk):
    return {image: one.answers for image, one in walk.known.items()}


def test_every_image_is_asked_about_each_part_in_order(walk):
    one = walk()
    one.run()
    assert one.scripted.calls[0] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert asked(one) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert not one.left
    known = one.known["images/007.png"]
    assert known.size == (4, 8)
    assert {p: said.raw for p, said in known.answers.items()} == {
        "head": "the head of the person of 7",
        "upper": "the upper body of the person of 7",
        "legs": "the legs of the person of 7",
    }
    assert one.watch.passes == [("parts", 10, 10)] and one.watch.images == 10


def test_what_is_answered_is_not_asked_again(walk):
    first = walk()
    first.run()
    again = walk()
    again.open_expert = lambda: pytest.fail("opened")
    again.run()
    assert said(again) == said(first)


def test_a_walk_that_broke_off_goes_on_with_the_same_batches(walk):
    whole = walk(folder="whole")
    whole.run()
    broken = walk()
    broken.scripted.locate = _breaks(broken.scripted, after=2)
    with pytest.raises(ReIDError, match="broke"):
        broken.run()
    rest = walk()
    assert len(rest.left) == 2
    rest.run()
    assert asked(rest) == [[8, 9]]
    # boxes tell which images were asked together
    assert said(rest) == said(whole)


def _breaks(expert, after):
    def locate(images, phrases):
        if len(expert.calls) == after:
            raise RuntimeError("broke")
        return Scripted.locate(expert, images, phrases)

    return locate


def test_shards_share_the_images_and_one_can_finish_what_two_began(walk):
    whole = walk(folder="whole", batch=2)
    whole.run()
    shards = [walk(batch=2, shard=Shard(i, 2)) for i in (1, 2)]
    shards[0].run()
    assert asked(shards[0]) == [[0, 1], [4, 5], [8, 9]]
    assert len(shards[0].left) == 4 and not shards[0].waits
    shards[1].scripted.locate = _breaks(shards[1].scripted, after=1)
    with pytest.raises(ReIDError, match="broke"):
        shards[1].run()
    rest = walk(batch=2)
    rest.run()
    assert asked(rest) == [[6, 7]]
    assert said(rest) == said(whole)


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/0", "a/b", "-1/2", "1/2/3", ""])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(ReIDError, match="expected I/N"):
        Shard.parse(text)


def test_a_limit_is_the_first_images(walk):
    for _ in range(2):
        one = walk(limit=3)
        one.run()
    assert one.scripted.calls == []
    assert sum(bool(answers) for answers in said(one).values()) == 3
    assert len(one.left) == 7 and not one.waits


def test_where_memory_is_short_fewer_are_asked_at_a_time_from_then_on(walk):
    short, plenty = walk(Script(memory=5)), walk(folder="plenty")
    short.run()
    plenty.run()
    # 12 pairs a batch, 3 after two shortages; no shortage is met twice
    assert short.scripted.tried == [12, 6, *[3] * 10]
    assert short.at_most == 3
    assert short.watch.lines == [
        "Out of memory with 12 questions at a time (an image and a phrase each); it goes on with 3."
    ]
    raw = [{i: [s.raw for s in a.values()] for i, a in said(w).items()} for w in (short, plenty)]
    assert raw[0] == raw[1]


def test_one_question_that_is_too_much_is_an_error(walk):
    one = walk(Script(memory=5))
    one.scripted.script.memory = 0.5
    with pytest.raises(ReIDError, match="Out of memory with one image and one phrase"):
        one.run()


def test_an_error_that_is_no_shortage_is_not_taken_for_one(walk):
    one = walk()
    one.scripted.locate = lambda images, phrases: 1 / 0
    failure = r"failed when .*images/000.png and 3 more: ZeroDivisionError: .*\n.*--batch-size 1"
    with pytest.raises(ReIDError, match=failure):
        one.run()


def test_the_time_it_takes_to_open_an_expert_is_not_spent_asking(walk, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("harness.grounding.walk.time.monotonic", lambda: clock[0])
    one = walk()
    expert = one.open_expert()

    def opens():
        clock[0] += 1000
        return expert

    one.open_expert = opens
    one.run()
    assert sum(known.seconds for known in one.known.values()) == 0


def test_too_few_answers_are_an_error(walk):
    one = walk()
    one.scripted.locate = lambda images, phrases: []
    with pytest.raises(ReIDError, match="0 answers to 12 questions"):
        one.run()


def test_an_image_that_has_changed_is_asked_about_again(walk, root):
    walk().run()
    Image.new("RGB", (4, 8), (77, 0, 0)).save(root / "images" / "003.png")
    one = walk()
    assert one.waits == ["images/003.png"]
    one.run()
    assert asked(one) == [[77]]
    assert one.known["images/003.png"].answers["head"].raw.endswith("of 77")


def test_further_questions_are_asked_of_what_is_answered(walk):
    walk().run()
    script = Script(crowds=[3])
    doubts = walk(script, double_check=True, single_person=True)
    assert len(doubts.left) == 10
    doubts.run()
    assert doubts.watch.passes == [("single person", 10, 10), ("double check", 10, 10)]
    assert doubts.scripted.tried == [4, 4, 2, 12, 12, 6]
    assert len(doubts.known["images/003.png"].person.boxes) == 2
    assert doubts.known["images/003.png"].checks.keys() == {"head", "upper", "legs"}
    again = walk(double_check=True, single_person=True)
    again.open_expert = lambda: pytest.fail("opened")
    again.run()


def test_further_questions_go_on_where_they_were(walk):
    walk().run()
    broken = walk(double_check=True)
    broken.scripted.judge = _judges(broken.scripted, after=1)
    with pytest.raises(ReIDError, match="broke"):
        broken.run()
    rest = walk(double_check=True)
    rest.run()
    assert asked(rest) == [[4, 5, 6, 7], [8, 9]]


def _judges(expert, after):
    def judge(images, boxes, phrases):
        if len(expert.calls) == after:
            raise RuntimeError("broke")
        return Scripted.judge(expert, images, boxes, phrases)

    return judge


def test_parts_that_were_not_found_are_not_asked_about_again(walk):
    one = walk(Script(lost=[0, 1, 2, 3], mute=[4]), double_check=True)
    one.run()
    assert one.scripted.tried[3:] == [9, 6]
    assert not one.left


def test_images_are_decoded_by_other_processes_too(walk):
    alone, helped = walk(folder="alone"), walk(workers=1)
    alone.run()
    helped.run()
    assert said(alone) == said(helped)
