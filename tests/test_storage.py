"""States as files: objects come back as they were, and other files are errors."""

import os
import pickle
import socket
import stat
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import skvae.storage
from skvae.storage import encoded, pack, read, rebuilt, remove, target, unpack, write


class Pair(NamedTuple):
    name: str
    values: np.ndarray


@dataclass(frozen=True)
class Box:
    content: Pair
    size: float


def through_a_file(state, folder):
    write(folder / "state", encoded(state))
    return read(folder / "state")


LAYOUTS = {
    "C": np.arange(6.0).reshape(2, 3),
    "Fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "swapped": np.swapaxes(np.arange(24.0).reshape(2, 3, 4), 1, 2),
    "rolled": np.moveaxis(np.arange(24.0).reshape(2, 3, 4), 0, 2),
    "a number": np.array(2.5),
    "one": np.ones((1, 1, 1)),
    "none": np.ones((0, 3)),
    "float32": np.arange(3, dtype=np.float32),
    "int": np.arange(3),
    "bool": np.array([True, False]),
    "infinite": np.array([np.inf, np.nan, -0.0]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_arrays_come_back_with_their_layout(layout, tmp_path):
    array = LAYOUTS[layout]
    found = through_a_file({"array": array}, tmp_path)["array"]
    assert_array_equal(found, array)
    assert found.dtype == array.dtype
    assert found.tobytes() == array.tobytes()  # the sign of zero too
    if array.size:
        assert found.strides == array.strides


def test_repeated_values_are_written_once_and_stay_repeated(tmp_path):
    array = np.broadcast_to(np.arange(3.0), (1000, 3))
    found = through_a_file([array], tmp_path)[0]
    assert_array_equal(found, array)
    assert found.strides == (0, 8)
    assert (tmp_path / "state").stat().st_size < 2000


def test_slices_and_turned_arrays_keep_their_values(tmp_path):
    array = np.arange(20.0).reshape(4, 5)[::-1, 1::2]
    assert_array_equal(through_a_file([array], tmp_path)[0], array)


def test_shared_arrays_stay_shared(tmp_path):
    array = np.ones(3)
    one, two, other = through_a_file([array, (array,), array + 1], tmp_path)
    assert two[0] is one
    assert_array_equal(other, 2.0)


def test_values_come_back_with_their_types(tmp_path):
    state = {
        "tuple": (1, (None, True), [np.float32(0.1), np.int8(-3), np.bool_(True)]),
        "numbers": [float("nan"), float("inf"), -0.0, 2**70],
        "words": np.array([["a", "bc"]]),
        "objects": np.array(["a", "b"], dtype=object),
        "keys": {1: slice(None, 3), ("a", 2.5): 0, "$array": "x"},
    }
    found = through_a_file(state, tmp_path)
    assert repr(found) == repr(state)


def test_objects_are_rebuilt_like_others(tmp_path):
    state = Box(Pair("a", np.ones((2, 3))), np.float64(0.1 + 0.2))
    like = Box(Pair("a", np.zeros((2, 3))), np.float64(0.0))
    found = rebuilt(like, through_a_file(state, tmp_path))
    assert isinstance(found, Box)
    assert isinstance(found.content, Pair)
    assert isinstance(found.size, np.float64)
    assert found.size == state.size
    assert_array_equal(found.content.values, 1.0)
    longer = unpack(*pack(Box(Pair("a", np.ones((5, 3))), 1.0)))
    assert len(rebuilt(like, longer, resized=True).content.values) == 5


@pytest.mark.parametrize(
    "other",
    [
        None,
        [],
        [["a", np.zeros((2, 3))]],
        [["b", np.zeros((2, 3))], 0.0],
        [["a", np.zeros((2, 4))], 0.0],
        [["a", np.zeros((3, 3))], 0.0],
        [["a", np.zeros(2)], 0.0],
        [["a", np.zeros((2, 3), dtype=int)], 0.0],
        [["a", [0.0]], 0.0],
        [["a", np.zeros((2, 3))], "0"],
        [["a", np.zeros((2, 3))], True],
        {"content": 1},
    ],
)
def test_states_of_other_objects_are_refused(other):
    with pytest.raises(ValueError, match=r"expected (a value like|an array of|2 values of a)"):
        rebuilt(Box(Pair("a", np.zeros((2, 3))), 0.0), other)


@pytest.mark.parametrize("value", [object(), {1}, 1j, b"a", np.array([None]), Box])
def test_other_values_are_refused(value):
    with pytest.raises(TypeError, match=r"state\['value'\]\[0\] is (of type|an array of objects)"):
        pack({"value": [value]})


def test_numpy_opens_a_file(tmp_path):
    write(tmp_path / "state", encoded({"mean": np.arange(3.0)}))
    with np.load(tmp_path / "state", allow_pickle=False) as archive:
        assert_array_equal(archive["0.mean"], np.arange(3.0))
        assert bytes(archive["header"]) == b'{"mean": {"$array": "0.mean"}}'


class Bomb:
    def __reduce__(self):
        return (open, ("exploded", "x"))


def test_a_pickle_in_a_file_is_not_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "state.npz", header=np.array([Bomb()]))
    (tmp_path / "pickle").write_bytes(pickle.dumps(Bomb()))
    for name in ("state.npz", "pickle"):
        with pytest.raises(ValueError, match=r"no checkpoint"):
            read(tmp_path / name)
    assert not (tmp_path / "exploded").exists()


def test_any_byte_that_is_changed_or_missing_is_noticed(tmp_path):
    content = encoded({"mean": np.arange(3.0)})
    path = tmp_path / "state"
    for i in range(0, len(content), 7):
        path.write_bytes(content[:i] + bytes([content[i] ^ 1]) + content[i + 1 :])
        with pytest.raises(ValueError, match=r"no checkpoint"):
            read(path)
        path.write_bytes(content[:i])
        with pytest.raises(ValueError, match=r"no checkpoint"):
            read(path)


def test_a_file_is_replaced_or_stays_and_nothing_is_left_beside_it(tmp_path, monkeypatch):
    path = tmp_path / "state"
    write(path, encoded(1))

    def failing(source, target):
        raise OSError("no")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", failing)
        with pytest.raises(OSError, match="no"):
            write(path, encoded(2))
    assert read(path) == 1
    assert list(tmp_path.iterdir()) == [path]
    (tmp_path / ".state.part-0123456789ab").touch()  # as a process leaves it that is killed
    (tmp_path / "other").touch()
    remove(path)
    assert [p.name for p in tmp_path.iterdir()] == ["other"]


def as_pipe(path):
    os.mkfifo(path)


def as_socket(path):
    here = os.getcwd()
    os.chdir(path.parent)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


def as_link_to_a_device(path):
    path.symlink_to("/dev/null")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
@pytest.mark.parametrize("make", [as_pipe, as_socket, as_link_to_a_device])
def test_what_is_no_regular_file_is_never_replaced(make, tmp_path):
    path = tmp_path / "place"
    make(path)
    before = os.lstat(path)
    for action in (lambda: write(path, b"1"), lambda: target(path), lambda: remove(path)):
        with pytest.raises(OSError, match=r"a pipe, a socket or a device.*choose another path"):
            action()
    assert os.lstat(path).st_ino == before.st_ino
    assert stat.S_IFMT(os.lstat(path).st_mode) == stat.S_IFMT(before.st_mode)
    assert list(tmp_path.iterdir()) == [path]


def test_links_are_followed_and_loops_are_an_error(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "new")
    assert target(tmp_path / "link") == (tmp_path / "new").resolve()
    for name, other in (("one", "two"), ("two", "one")):
        (tmp_path / name).symlink_to(tmp_path / other)
    with pytest.raises(OSError, match="one"):
        target(tmp_path / "one")
    with pytest.raises(IsADirectoryError):
        target(tmp_path)


@pytest.mark.parametrize("name", ["a" * 237, "b" * 255, "ü" * 127, "ü" * 100 + "c" * 55])
def test_names_may_be_as_long_as_open_takes_them(name, tmp_path):
    path, other = tmp_path / name, tmp_path / (name[:-1] + "z")
    write(path, encoded(1))
    write(other, encoded(2))
    assert (read(path), read(other)) == (1, 2)
    for long, number in ((path, 1), (other, 2)):  # parts of killed processes
        part = skvae.storage._beside(long)
        (tmp_path / f"{part}{number}23456789abc").touch()
    remove(path)
    assert read(other) == 2
    assert len(list(tmp_path.iterdir())) == 2  # the other's part stays


def test_too_long_a_name_is_the_error_of_the_system(tmp_path):
    with pytest.raises(OSError, match="too long"):
        write(tmp_path / ("a" * 256), b"1")
    assert list(tmp_path.iterdir()) == []
