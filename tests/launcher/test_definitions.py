import pytest

from portal.launcher.definitions import package_folder, short_folder
from portal.launcher.errors import CannotContinue
from portal.launcher.messages import sentence


def test_a_sockets_path_is_short_however_deep_the_folder_lies(tmp_path):
    deep = tmp_path.joinpath(*["a-folder-with-a-long-name"] * 20)

    assert len(str(short_folder(deep) / ".s.PGSQL.5432.lock").encode()) < 107


def test_each_folder_has_its_own_and_always_the_same(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "a")

    assert short_folder(tmp_path / "a") == short_folder(tmp_path / "b" / ".." / "a") == short_folder(tmp_path / "link")
    assert short_folder(tmp_path / "a") != short_folder(tmp_path / "b")


def test_a_package_is_found_without_running_it_and_a_missing_one_is_a_sentence():
    assert (package_folder("antigravity") / "antigravity.py").exists()  # importing it opens a browser
    with pytest.raises(CannotContinue) as problem:
        package_folder("no_such_package")
    assert str(problem.value) == sentence("module_missing", module="no_such_package")
