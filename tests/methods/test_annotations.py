"""Boxes from a CSV: what is read, and what is said of a bad line."""

import pytest

from methods.grounding.annotations import read_csv
from protocols.errors import DataError

HEADER = "image,part,xmin,ymin,xmax,ymax\n"


def test_boxes_from_a_csv(tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_text(
        HEADER + "1.jpg,head,10,0,30,25\n1.jpg,Upper body,0,25,50,60\nb/2.jpg,legs,,,,\n"
    )
    labels = read_csv(path).labels(["a/1.jpg", "b/2.jpg"], lambda image: (50, 100))
    assert labels.images == ("a/1.jpg", "b/2.jpg")
    assert labels.boxes[0, 0].tolist() == pytest.approx([0.2, 0, 0.6, 0.25])
    assert labels.boxes[0, 1].tolist() == pytest.approx([0, 0.25, 1, 0.6])
    assert labels.missing.tolist() == [[False, False, True], [True, True, True]]
    with pytest.raises(DataError, match=r"1 of 2 images have no part labels: c/3\.jpg"):
        read_csv(path).labels(["a/1.jpg", "c/3.jpg"], lambda image: (50, 100))
    with pytest.raises(DataError, match=r"boxes.csv:3: .* ends at 50,60, outside of a/1.jpg"):
        read_csv(path).labels(["a/1.jpg"], lambda image: (50, 59))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("image,part,x,y,w,h\n", ":1: expected the header image,part,xmin"),
        (HEADER, "no lines"),
        (HEADER + "1.jpg,head,1,2,3\n", ":2: expected 6 values"),
        (HEADER + "1.jpg,head,1,2,3,4\n1.jpg,leg,1,2,3,4\n", ":3: part is 'leg'.*mean 'legs'"),
        (HEADER + "1.jpg,head,1,2,1,4\n", ":2: the box is 1,2,1,4; expected xmin,ymin,xmax,ymax"),
        (HEADER + "1.jpg,head,1,,3,4\n", ":2: the box is"),
        (HEADER + "1.jpg,head,a,2,3,4\n", ":2: the box is"),
        (HEADER + "1.jpg,head,nan,2,3,4\n", ":2: the box is"),
        (HEADER + "1.jpg,head,-1,2,3,4\n", ":2: the box is"),
        (HEADER + ",head,1,2,3,4\n", ":2: expected the path"),
        (HEADER + "1.jpg,head,1,2,3,4\n1.jpg,HEAD,1,2,3,4\n", ":3: a second head.*csv:2"),
        (HEADER + "1.jpg,head,1_8,2,30,4\n", ":2: the box is 1_8,2,30,4; expected"),
        (HEADER + '\n1.jpg,"head,1,2\n2.jpg,head,,,,\n', "not CSV from line 3 on.*not closed"),
        (HEADER + '1.jpg,"head,1,2\n2.jpg,head",1,2,3,4\n', ":2: part is 'head,1,2"),
        (
            HEADER + "a/1.jpg,head,,,,\n\n1.jpg,legs,,,,\nb/1.jpg,head,,,,\n",
            ":4: 1.jpg may be a/1.jpg or b/1.jpg; name the image by its path",
        ),
    ],
)
def test_a_bad_line_is_named(tmp_path, text, complaint):
    path = tmp_path / "boxes.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=complaint):
        read_csv(path)


def csv_of(tmp_path, *lines):
    path = tmp_path / "boxes.csv"
    path.write_text(HEADER + "\n".join(lines) + "\n")
    return read_csv(path)


def square(image):
    return 100, 100


def test_an_image_may_be_named_by_path_in_one_line_and_by_file_name_in_another(tmp_path):
    boxes = csv_of(
        tmp_path, "1.jpg,legs,0,50,100,100", "a/1.jpg,head,10,0,30,25", "1.jpg,upper,0,25,50,60"
    )
    labels = boxes.labels(["a/1.jpg"], square)
    assert labels.boxes[0].tolist() == [
        pytest.approx([0.1, 0, 0.3, 0.25]),
        pytest.approx([0, 0.25, 0.5, 0.6]),
        pytest.approx([0, 0.5, 1, 1]),
    ]
    assert boxes.unused([["a/1.jpg"]]) == []


def test_the_same_part_under_path_and_file_name_is_refused(tmp_path):
    boxes = csv_of(tmp_path, "a/1.jpg,head,10,0,30,25", "1.jpg,head,10,0,30,26")
    complaint = r"boxes\.csv:3: a second head of a/1\.jpg.* the first is .*boxes\.csv:2"
    with pytest.raises(DataError, match=complaint):
        boxes.labels(["a/1.jpg"], square)


def test_a_file_name_that_two_images_have_is_joined_to_neither(tmp_path):
    boxes = csv_of(tmp_path, "a/1.jpg,head,10,0,30,25", "b/2.jpg,head,,,,", "1.jpg,legs,0,50,9,90")
    labels = boxes.labels(["a/1.jpg", "b/2.jpg"], square)
    assert labels.missing.tolist() == [[False, True, False], [True] * 3]
    both = ["a/1.jpg", "b/1.jpg", "b/2.jpg"]
    assert boxes.unused([both]) == [(f"{tmp_path}/boxes.csv:4", "1.jpg")]


def test_lines_of_images_that_no_data_set_has_are_told_in_their_order(tmp_path):
    boxes = csv_of(
        tmp_path,
        "typo.jpg,head,,,,",
        "a/1.jpg,head,,,,",
        "x/1.jpg,head,,,,",  # the path is another's
        "2.jpg,head,,,,",
        "typo.jpg,legs,,,,",
    )
    where = f"{tmp_path}/boxes.csv"
    left = [(f"{where}:2", "typo.jpg"), (f"{where}:4", "x/1.jpg"), (f"{where}:6", "typo.jpg")]
    assert boxes.unused([["a/1.jpg"], ["b/2.jpg"]]) == left
    assert boxes.unused([["a/1.jpg"]]) == [*left[:2], (f"{where}:5", "2.jpg"), left[2]]
