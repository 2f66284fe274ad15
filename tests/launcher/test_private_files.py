import stat

import pytest

from portal.launcher.errors import CannotContinue
from portal.launcher.messages import sentence
from portal.launcher.private_files import make_private_folder, read_json, write_private


def test_folder_planted_by_somebody_else_in_the_shared_temporary_folder_is_refused(tmp_path):
    planted = tmp_path / "portal-0-123"
    planted.symlink_to(tmp_path)

    with pytest.raises(CannotContinue):
        make_private_folder(planted)


def test_a_folder_and_a_file_are_for_this_account_alone(tmp_path):
    old = tmp_path / "open"
    old.mkdir(mode=0o755)

    make_private_folder(old)
    make_private_folder(tmp_path / "a" / "b")
    write_private(old / "keys.json", {"key": 1})

    modes = [stat.S_IMODE(path.stat().st_mode) for path in (old, tmp_path / "a" / "b", old / "keys.json")]
    assert modes == [0o700, 0o700, 0o600]


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "keys.json"
    write_private(path, {"key": "first"})
    (tmp_path / "keys.json.new").write_text("what an interrupted write left")
    with pytest.raises(TypeError):
        write_private(path, {"key": object()})
    kept = read_json(path)

    write_private(path, {"key": "second"})

    assert (kept, read_json(path)) == ({"key": "first"}, {"key": "second"})
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_missing_or_cut_short_is_nothing(tmp_path):
    (tmp_path / "cut").write_text('{"key": "fi')
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")

    assert [read_json(tmp_path / name) for name in ("none", "cut", "bytes")] == [None, None, None]


def test_a_link_is_refused_with_its_name(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(CannotContinue) as problem:
        make_private_folder(tmp_path / "link")
    assert str(problem.value) == sentence("folder_not_ours", path=tmp_path / "link")
