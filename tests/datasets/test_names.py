import pytest
from django.core.exceptions import ValidationError
from django.utils.translation import override

from portal.datasets.names import file_path_from, folder_from

PATH = "A path is made of folder names with one / between them, without . and .. as names. Correct the path."
LONG = "The path is longer than 1,000 characters. Shorten a folder name and choose it again."


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("words.txt", "words.txt"),
        ("  売上 2026年.csv ", "売上 2026年.csv"),
        ("か\u3099.txt", "が.txt"),
        ("<script>alert(1)</script>".replace("/", ""), "<script>alert(1)<script>"),
        (".bashrc", ".bashrc"),
        ("漢" * 85, "漢" * 85),
        ("train/a.csv", "train/a.csv"),
        ("学習 用/か\u3099 /売上.csv", "学習 用/が/売上.csv"),
        ("a/.../b", "a/.../b"),
        ("👩\u200d🔬.png", "👩\u200d🔬.png"),
        ("/".join(["d"] * 32), "/".join(["d"] * 32)),
        ("/".join(["漢" * 85] * 11 + ["漢" * 54]), "/".join(["漢" * 85] * 11 + ["漢" * 54])),
        ("/".join(["x" * 249] * 4), "/".join(["x" * 249] * 4)),
    ],
)
def test_paths_stay_as_people_wrote_them(raw: str, name: str) -> None:
    assert file_path_from(raw) == name


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        ("", "Enter a file name."),
        ("a/ /b", PATH),
        ("a//b", PATH),
        ("/a", PATH),
        ("a/", PATH),
        ("a/./b", PATH),
        ("a/../b", PATH),
        (".", PATH),
        ("..", PATH),
        ("../../etc/passwd", PATH),
        ("a/b\nc/d", "The file name contains invisible control characters. Rename the file and choose it again."),
        ("a/\u200fb", "The file name contains invisible control characters. Rename the file and choose it again."),
        ("/".join(["漢" * 85] * 11 + ["漢" * 55]), LONG),
        ("/".join(["x" * 249] * 4) + "xx", LONG),
        ("/".join(["d"] * 33), "Files can lie up to 31 folders deep. Move the file up and choose it again."),
        ("a\\b", "A file name cannot contain / or \\. Rename the file and choose it again."),
        ("a\u200bb", "The file name contains invisible control characters. Rename the file and choose it again."),
        ("a\ufffe", "The file name contains invisible control characters. Rename the file and choose it again."),
        ("a\U0001ffff", "The file name contains invisible control characters. Rename the file and choose it again."),
        ("\ufeffa", "The file name contains invisible control characters. Rename the file and choose it again."),
        ("a\nb", "The file name contains invisible control characters. Rename the file and choose it again."),
        ("a\0b", "The file name contains invisible control characters. Rename the file and choose it again."),
        ("a\u202efdp.exe", "The file name contains invisible control characters. Rename the file and choose it again."),
        (
            "a/" + "漢" * 86,
            "The file name is longer than 255 bytes (about 85 Japanese characters). Shorten it and choose it again.",
        ),
    ],
)
def test_paths_that_could_harm_are_refused_with_a_sentence(raw: str, sentence: str) -> None:
    with override("en"), pytest.raises(ValidationError) as refused:
        file_path_from(raw)
    assert refused.value.messages == [sentence]


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("日本語コーパス 2026", "日本語コーパス_2026"),
        ("../../etc", "etc"),
        ("a/b\\c\nd", "a_b_c_d"),
        ("...", "data"),
        ("🎉", "data"),
        ("-rf", "rf"),
        ("漢" * 100, "漢" * 40),
    ],
)
def test_a_folder_is_one_safe_segment(name: str, folder: str) -> None:
    assert folder_from(name, is_taken=lambda _: False) == folder


def test_a_taken_folder_gets_a_number() -> None:
    assert folder_from("data", is_taken={"data", "data-2"}.__contains__) == "data-3"
