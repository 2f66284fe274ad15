from portal.launcher import checks


def test_lock_with_the_address_of_a_registry_is_refused(tmp_path, capsys):
    (tmp_path / "requirements.lock").write_text("a==1 \\\n    --hash=sha256:0\n")
    assert checks.check_locks(tmp_path) is True

    (tmp_path / "requirements-dev.lock").write_text("a==1\nb @ https" + "://registry.example/b.whl\n")
    assert checks.check_locks(tmp_path) is False
    assert "requirements-dev.lock" in capsys.readouterr().out


def test_the_repositorys_own_locks_are_clean():
    assert checks.check_locks() is True


def test_all_tests_are_shared_by_the_cores_there_are():
    assert [checks.side_by_side(cores)[1] for cores in (1, 2, 3, 64)] == ["3", "4", "4", "4"]
