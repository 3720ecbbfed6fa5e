"""State as plain arrays and JSON, there and back; files that cannot be trusted."""

import json
import os
import pickle
import stat
from collections import OrderedDict, namedtuple

import numpy as np
import pytest
import skops.io
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from safetensors.numpy import save as safetensors_bytes
from torch import nn

from skvae.neural import model_file as storage
from skvae.neural.model_file import load, pack_tensors, save, unpack_tensors

Pair = namedtuple("Pair", ["first", "second"])


def assert_same(a, b):
    """Assert equal values of the same types throughout; -0.0 is not 0.0, NaN is NaN."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert_same(list(a), list(b))
        assert_same(list(a.values()), list(b.values()))
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        bits = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
        assert torch.equal(a.view(bits), b.contiguous().view(bits))
    elif isinstance(a, np.ndarray | np.generic):
        assert a.dtype == b.dtype.newbyteorder("=")
        assert a.shape == b.shape
        np.testing.assert_array_equal(a, b)
        if a.dtype.kind == "f":
            np.testing.assert_array_equal(np.signbit(a), np.signbit(b))
    elif isinstance(a, float):
        assert repr(a) == repr(b)
    else:
        assert a == b


# Values that can be stored ------------------------------------------------------------------------

array_dtypes = st.one_of(
    npst.boolean_dtypes(),
    npst.integer_dtypes(endianness="?"),
    npst.unsigned_integer_dtypes(endianness="?"),
    npst.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
)
shapes = npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
arrays = npst.arrays(array_dtypes, shapes).map(lambda a: np.asfortranarray(a) if a.ndim else a)
words = npst.arrays(object, shapes, elements=st.text(max_size=3), fill=st.nothing())
tensors = st.builds(
    lambda array, dtype: torch.from_numpy(array).to(dtype).mT,
    npst.arrays(np.float32, npst.array_shapes(min_dims=2, max_dims=3, min_side=0, max_side=3)),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.float64]),
)
numbers = st.one_of(st.integers(), st.floats(), st.booleans(), st.none())
leaves = st.one_of(
    numbers,
    st.text(max_size=6),
    st.sampled_from(["$array", "__metadata__", "\ud800", "a.b", np.float32(1.5), np.int8(3)]),
    arrays,
    words,
    tensors,
)
keys = st.recursive(
    st.one_of(numbers, st.text(max_size=4), st.sampled_from(["$tuple", "__metadata__"])),
    lambda inner: st.lists(inner, max_size=2).map(tuple),
    max_leaves=3,
)
states = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(keys, inner, max_size=4),
    ),
    max_leaves=12,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.safetensors"


@given(state=states)
def test_packed_states_come_back(state):
    assert_same(unpack_tensors(*pack_tensors(state)), state)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(state=states)
def test_saved_states_come_back(state, path):
    save(path, *pack_tensors(state))
    assert_same(unpack_tensors(*load(path)), state)


@given(state=states)
def test_trees_are_strict_json_and_arrays_are_native(state):
    tree, stored = pack_tensors(state)
    assert_same(json.loads(json.dumps(tree, allow_nan=False)), tree)
    for array in stored.values():
        assert array.flags.c_contiguous
        assert array.dtype.isnative
        assert array.dtype.kind in "biuf"


def trained():
    """A module that has been trained for a step, and its optimiser."""
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    optimizer = torch.optim.Adam(module.parameters())
    module(torch.ones(5, 3)).sum().backward()
    optimizer.step()
    return module, optimizer


def test_states_of_modules_and_optimisers(path):
    module, optimizer = trained()
    history = [{"epoch": 1, "loss": float("nan"), "best": True, "batches": [{"size": 5}]}]
    names = np.array(["a", "b"], dtype=object)
    save(path, *pack_tensors([module.state_dict(), optimizer.state_dict(), history, names]))
    weights, moments, again, columns = unpack_tensors(*load(path))
    other, other_optimizer = trained()
    other.load_state_dict(weights)
    other_optimizer.load_state_dict(moments)
    for name, value in module.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)
    assert_same(dict(optimizer.state_dict()), other_optimizer.state_dict())
    assert_same(again, history)
    assert_same(columns, names)


def test_subclasses_come_back_plain():
    state = [
        OrderedDict(b=1, a=2),
        Pair(1, 2),
        nn.Parameter(torch.ones(2)),
        np.str_("word"),
        np.ma.masked_array([1.0, 2.0]),
    ]
    plain = [{"b": 1, "a": 2}, (1, 2), torch.ones(2), "word", np.array([1.0, 2.0])]
    assert_same(unpack_tensors(*pack_tensors(state)), plain)
    assert not unpack_tensors(*pack_tensors(state))[2].requires_grad


def test_arrays_come_back_as_copies():
    array, tensor = np.zeros(2), torch.zeros(2)
    packed = pack_tensors([array, tensor])
    array += 1
    tensor += 1
    first = unpack_tensors(*packed)
    first[0] += 1
    first[1] += 1
    assert_same(unpack_tensors(*packed), [np.zeros(2), torch.zeros(2)])


def test_pickle_and_skops_see_plain_things_only():
    module, optimizer = trained()
    packed = pack_tensors({"weights": module.state_dict(), "optimizer": optimizer.state_dict()})
    assert b"torch" not in pickle.dumps(packed)
    dumped = skops.io.dumps(packed)
    assert skops.io.get_untrusted_types(data=dumped) == []
    for again in (pickle.loads(pickle.dumps(packed)), skops.io.loads(dumped)):
        assert_same(unpack_tensors(*again)["weights"], dict(module.state_dict()))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": [1, {2}]}, r"state\['a'\]\[1\] is of type set: to be stored it must be a dict"),
        (object, "state is of type type"),
        ([1j], r"state\[0\] is of type complex"),
        ({"a": np.array([1j])}, r"state\['a'\] has dtype complex128"),
        ({"a": np.zeros(1, dtype="M8[s]")}, r"state\['a'\] has dtype datetime64"),
        (np.array([object()]), "state is an array of objects: to be stored all must be strings"),
        (torch.zeros(2, dtype=torch.complex64), "state is a torch.strided tensor of .*complex64"),
        (torch.eye(2).to_sparse(), "state is a torch.sparse_coo tensor"),
        ({torch.zeros(1): 1}, "state has a key with an array: .* keys must be strings"),
        ({frozenset(): 1}, r"state\['\(key\)'\] is of type frozenset"),
    ],
)
def test_values_that_cannot_be_stored_are_named(state, message):
    with pytest.raises(TypeError, match=message):
        pack_tensors(state)


def test_a_state_in_itself_cannot_be_stored():
    state = []
    state.append(state)
    with pytest.raises(ValueError, match="contains itself, or is nested too deeply"):
        pack_tensors(state)


# Trees that pack did not make ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "tree",
    [
        {"$object": "os.system"},
        {"$array": "missing"},
        {"$array": ["a"]},
        {"$array": "a", "more": 1},
        {"$tensor": ["a", "float64x"]},
        {"$tensor": ["a", "float32"]},
        {"$tensor": ["a", []]},
        {"$tensor": "a"},
        {"$tensor": ["a"]},
        {"$scalar": "a"},
        {"$tuple": {"0": 1}},
        {"$dict": [[[1], 2]]},
        {"$dict": [[1, 2, 3]]},
        {"$dict": {"a": 1}},
        {"$float": "1e5"},
        {"$float": 1.0},
        {"$strings": ["object", [2], ["a"]]},
        {"$strings": ["str", [1], [1]]},
        {"$strings": ["S5", [1], ["a"]]},
        {"$strings": ["str", "2", ["a", "b"]]},
        {"$strings": ["str", [-2], ["a", "b"]]},
        {1: {"$array": "a"}, "$array": "a"},
        ("a",),
        {"b": 1},
    ],
)
def test_trees_of_others_are_refused(tree):
    with pytest.raises(ValueError, match="the stored state"):
        unpack_tensors(tree, {"a": np.zeros(3)})


def test_arrays_of_others_are_refused():
    with pytest.raises(ValueError, match="array 'a' has dtype object"):
        unpack_tensors({"$array": "a"}, {"a": np.array([object()])})
    with pytest.raises(ValueError, match="does not name its array 'b'"):
        unpack_tensors({"$array": "a"}, {"a": np.zeros(1), "b": np.zeros(1)})


def test_deep_trees_are_refused():
    tree = []
    for _ in range(100_000):
        tree = [tree]
    with pytest.raises(ValueError, match="nested too deeply"):
        unpack_tensors(tree, {})


# Files --------------------------------------------------------------------------------------------

STATE = {"weights": torch.arange(6.0).reshape(2, 3), "n": 3, "best": float("-inf")}


@pytest.fixture
def saved(path):
    save(path, *pack_tensors(STATE))
    return path


def test_the_same_state_is_the_same_file(saved, tmp_path):
    save(tmp_path / "other", *pack_tensors(STATE))
    assert (tmp_path / "other").read_bytes() == saved.read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["other", "state.safetensors"]


def test_files_that_were_cut_off(saved):
    whole = saved.read_bytes()
    for n_bytes in range(len(whole)):
        saved.write_bytes(whole[:n_bytes])
        with pytest.raises(ValueError, match=r"state\.safetensors"):
            load(saved)
    saved.write_bytes(whole + b"\0")
    with pytest.raises(ValueError, match="no safetensors file, or not a whole one"):
        load(saved)


def test_files_with_a_changed_byte_are_refused_or_equal(saved):
    whole = saved.read_bytes()
    expected, refused = unpack_tensors(*load(saved)), 0
    for flip in (0x01, 0x80):
        for place in range(len(whole)):
            changed = bytearray(whole)
            changed[place] ^= flip
            saved.write_bytes(bytes(changed))
            try:
                found = unpack_tensors(*load(saved))
            except ValueError as error:
                refused += "state" in str(error)
            else:
                assert_same(found, expected)
    assert refused > 1.9 * len(whole)


def rewritten(path, arrays=None, metadata=None, **changes):
    """Write the file anew with something of it changed, and a digest that agrees."""
    tree, stored = pack_tensors(STATE)
    text = json.dumps(tree)
    stored = stored if arrays is None else arrays
    inside = {"version": storage.VERSION, "tree": text} | changes
    inside.setdefault("digest", storage._digest(inside["tree"], stored))
    metadata = {"skvae": json.dumps(inside)} if metadata is None else metadata
    path.write_bytes(safetensors_bytes(stored, metadata))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metadata": {}}, "is a safetensors file, but none that skvae saved"),
        ({"metadata": {"format": "pt"}}, "is a safetensors file, but none that skvae saved"),
        ({"metadata": {"skvae": "{"}}, "has a header that cannot be read"),
        ({"metadata": {"skvae": "[" * 10**5}}, "has a header that cannot be read"),
        ({"metadata": {"skvae": "[]"}}, "has a header that cannot be read"),
        ({"metadata": {"skvae": "{}"}}, "has a header that cannot be read"),
        ({"version": 2}, "saved in format 2, by a later skvae.*reads format 1; upgrade skvae"),
        ({"version": "1"}, "has a header that cannot be read"),
        ({"digest": 5}, "has a header that cannot be read"),
        ({"digest": "0"}, "does not agree with its digest: the file was cut off, damaged"),
        ({"tree": "[NaN]"}, "holds a state that is no JSON"),
        ({"tree": "[1,]"}, "holds a state that is no JSON"),
        ({"tree": "[" * 10**5}, "holds a state that is no JSON"),
    ],
)
def test_files_of_others_and_of_later_versions(path, changes, message):
    rewritten(path, **changes)
    with pytest.raises(ValueError, match=message):
        load(path)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (b'"F32","shape":[1]', "no safetensors file, or not a whole one"),
        (b'"F32","shape":[-2]', "no safetensors file, or not a whole one"),
        (b'"BF16","shape":[4]', "holds an array 'weights' of BF16"),
        (b'"I32","shape":[2]', "does not agree with its digest"),
    ],
)
def test_files_with_other_sizes_and_kinds_of_numbers(path, written, message):
    rewritten(path, arrays={"weights": np.zeros(2, dtype=np.float32)})
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = content[8:end].replace(b'"F32","shape":[2]', written)
    assert header != content[8:end]
    path.write_bytes(len(header).to_bytes(8, "little") + header + content[end:])
    with pytest.raises(ValueError, match=message):
        load(path)


@pytest.mark.parametrize("content", [b"", b"text", pickle.dumps([1]), b"PK\3\4" + bytes(100)])
def test_files_of_other_kinds(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"state\.safetensors"):
        load(path)


def test_no_file_and_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load(tmp_path / "nowhere")
    with pytest.raises(IsADirectoryError):
        load(tmp_path)
    with pytest.raises(IsADirectoryError):
        save(tmp_path, *pack_tensors(1))
    with pytest.raises(FileNotFoundError, match=r"no such folder to save in.*nowhere"):
        save(tmp_path / "nowhere" / "file", *pack_tensors(1))
    assert os.listdir(tmp_path) == []


def test_paths_may_be_strings(tmp_path):
    save(str(tmp_path / "ä b"), *pack_tensors(STATE))
    assert_same(unpack_tensors(*load(str(tmp_path / "ä b"))), STATE)


def test_a_save_that_fails_leaves_the_earlier_file(monkeypatch, saved):
    before = saved.read_bytes()

    def full(_descriptor):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        save(saved, *pack_tensors(5))
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


def test_links_stay_links_and_rights_are_those_of_new_files(saved, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(saved)
    save(link, *pack_tensors(5))
    assert link.is_symlink()
    assert unpack_tensors(*load(saved)) == 5
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    assert stat.S_IMODE(saved.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


@pytest.mark.parametrize(
    ("tree", "arrays", "message"),
    [
        ([float("nan")], {}, "the tree must be as from pack"),
        ([object()], {}, "the tree must be as from pack"),
        ({"$array": "a"}, {"a": np.zeros((2, 3)).T}, "array 'a' .* must be as from pack"),
        ({"$array": "a"}, {"a": np.array(["x"])}, "array 'a' with dtype <U1: must be as from"),
    ],
)
def test_only_packed_states_are_saved(path, tree, arrays, message):
    with pytest.raises(ValueError, match=message):
        save(path, tree, arrays)
    assert not path.exists()
