"""model_args.pth: read without running it."""

import argparse
import builtins
import os
import pickle
import pickletools
import zipfile

import pytest
import torch
from refusals import refused

from lumina_core.checkpoints.model_args import MAX_BYTES, read_model_args

RELEASED = {
    "cache_data_on_disk": False, "results_dir": "results/f8F32R256", "use_wandb": True,
    "model": "MultiScaleNextDiT_2B_GQA", "patch_sizes": [2, 2, 4], "f_patch_sizes": [1, 2, 2], "max_steps": 100000,
    "global_seed": 20, "master_port": 18181, "precision": "bf16", "grad_precision": None, "lr": 0.0002, "resume": None,
    "grad_clip": 2.0, "wd": 0.0, "qk_norm": True, "rope_theta": 256.0, "t_scale": 1000.0, "motion_scale": 20.0,
    "task_config": {"images": 0.4, "videos": (0.3, "m\u00f6tion")}, "big": 1 << 40, "negative": -7,
}  # fmt: skip


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old format"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_the_trainers_file(tmp_path, zipped, protocol):
    path = tmp_path / "model_args.pth"
    torch.save(argparse.Namespace(**RELEASED), path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    assert zipfile.is_zipfile(path) == zipped
    assert read_model_args(path) == RELEASED


def test_shared_values_inside_the_file(tmp_path):
    """The second reference to one list is a look-up in the pickle's memo."""
    path, sizes = tmp_path / "model_args.pth", [2, 2, 4]
    torch.save(argparse.Namespace(a=sizes, b=sizes, c={"again": sizes}), path)
    assert read_model_args(path) == {"a": sizes, "b": sizes, "c": {"again": sizes}}


class Payload:
    """Pickles as a call of ``function(*arguments)``."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def payloads(sentinel):
    touch = f"touch {sentinel}"
    python = f"open({str(sentinel)!r}, 'w').close()"
    return {
        "os.system": Payload(os.system, touch),
        "builtins.eval": Payload(builtins.eval, python),
        "builtins.exec": Payload(builtins.exec, python),
        "pathlib": Payload(sentinel.touch),
    }


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old format"])
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "builtins.exec", "pathlib"])
@pytest.mark.parametrize("place", ["alone", "in a field"])
def test_code_is_refused_and_not_run(tmp_path, zipped, protocol, name, place):
    sentinel, path = tmp_path / "ran", tmp_path / "model_args.pth"
    payload = payloads(sentinel)[name]
    content = payload if place == "alone" else argparse.Namespace(rope_theta=256.0, field=payload)
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    with refused("model_args", "file", "model_args.pth"):
        read_model_args(path)
    assert not sentinel.exists()


def test_the_payloads_do_run_in_a_plain_unpickler(tmp_path):
    """Or the test above would prove nothing."""
    for name, payload in payloads(tmp_path / "ran").items():
        pickle.loads(pickle.dumps(payload))  # noqa: S301
        assert (tmp_path / "ran").exists(), name
        (tmp_path / "ran").unlink()


@pytest.mark.parametrize("name", [b"os\nsystem", b"posix\nsystem", b"nt\nsystem", b"__builtin__\neval"])
@pytest.mark.parametrize(
    "body",
    [b"c%s\n.", b"c%s\n(S'true'\ntR.", b"(c%s\nS'true'\no.", b"(S'true'\ni%s\n."],
    ids=["GLOBAL", "REDUCE", "OBJ", "INST"],
)
def test_hand_written_pickles_are_refused(tmp_path, name, body):
    path = tmp_path / "model_args.pth"
    path.write_bytes(body % name)
    assert list(pickletools.genops(path.read_bytes()))[-1][0].name == "STOP"
    with refused("model_args", "file", "model_args.pth"):
        read_model_args(path)


def test_a_namespace_called_with_arguments_is_refused(tmp_path):
    path = tmp_path / "model_args.pth"
    path.write_bytes(b"cargparse\nNamespace\n(I1\ntR.")
    with refused("model_args", "file", "REDUCE"):
        read_model_args(path)


def test_attributes_of_the_namespace_class_stay_out_of_reach(tmp_path):
    """Protocol 4 may ask for a dotted name below an allowed one."""
    path = tmp_path / "model_args.pth"
    path.write_bytes(b"\x80\x04\x8c\x08argparse\x8c\x12Namespace.__init__\x93.")
    with refused("model_args", "file", "'argparse.Namespace.__init__'"):
        read_model_args(path)


def test_a_tensor_in_the_settings_is_refused(tmp_path):
    path = tmp_path / "model_args.pth"
    torch.save(argparse.Namespace(rope_theta=torch.tensor(256.0)), path)
    with refused("model_args", "file", "torch._utils"):
        read_model_args(path)


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"\x80\x02", b"\x80\x02}q\x00", b"PK\x03\x04 not a zip", b"\x00" * 100]
)
def test_garbage(tmp_path, content):
    path = tmp_path / "model_args.pth"
    path.write_bytes(content)
    with refused("model_args", "file", "model_args.pth"):
        read_model_args(path)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old format"])
@pytest.mark.parametrize("content", [{"rope_theta": 256.0}, [1, 2], "text"])
def test_no_namespace(tmp_path, zipped, content):
    path = tmp_path / "model_args.pth"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with refused("model_args", "file", "model_args.pth"):
        read_model_args(path)


def test_truncated(tmp_path):
    path = tmp_path / "model_args.pth"
    torch.save(argparse.Namespace(**RELEASED), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:200])
    with refused("model_args", "file", "model_args.pth"):
        read_model_args(path)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old format"])
def test_oversize(tmp_path, zipped):
    path = tmp_path / "model_args.pth"
    content = argparse.Namespace(text="x" * (MAX_BYTES + 10))
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with refused("model_args", "file", "model_args.pth"):
        read_model_args(path)


def test_missing(tmp_path):
    with refused("model_args", "file", "model_args.pth"):
        read_model_args(tmp_path / "model_args.pth")
