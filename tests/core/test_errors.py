import errno
import inspect
import os

from kgvad import errors


def test_the_tree_in_the_docstring_is_the_real_one():
    classes = {name for name, value in vars(errors).items() if inspect.isclass(value)}
    for name in classes:
        assert name in errors.__doc__.split(), name
    assert all(issubclass(getattr(errors, name), errors.KgvadError) for name in classes)


def test_message_and_remedy_make_one_line():
    error = errors.VideoError("a.mp4 is empty", "give another file")
    assert str(error) == "a.mp4 is empty; give another file"
    assert (error.exit_code, errors.SettingsError("x").exit_code) == (1, 2)


def test_a_full_disk_is_no_bug():
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert errors.unexpected(error) == (
        "No space left on device; free space on the disk that is written to, and run the command again"
    )
    error.filename = "features/a.npy"
    assert errors.unexpected(error).startswith("features/a.npy: No space left on device; free space")
