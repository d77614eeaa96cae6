"""The voice of a bundle: the shipped workflows with sound, as they are, to an mp4 that plays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import pytest
from server import HostServer
from test_audio import AAC_FRAME, RATE, read_sound
from test_workflows import NAMES, twin

from lumina_core.pipelines.bundle import DESCRIPTION, SHIPPED, read_bundle

MINI = "mini (bundled)"
SOUND = [name for name in NAMES if any("Sound" in node["class_type"] for node in twin(name).values())]
RANDOM, SHIPPED_VOICE = "a random voice", "the shipped voice"


@pytest.fixture(scope="module", params=[RANDOM, SHIPPED_VOICE])
def voiced(request, server: HostServer, random_bundle: Path) -> Iterator[tuple[HostServer, str]]:
    """The host with a bundle that has a voice, and no other models."""
    folder = random_bundle if request.param == RANDOM else SHIPPED / "mini"
    if not (folder / DESCRIPTION).is_file() or read_bundle(folder).audio is None:
        pytest.skip("the shipped bundle has no voice: its workflows are not run")
    with server.bundle(folder), server.no_models():
        yield server, request.param


def test_there_are_four_workflows_with_sound():
    assert len(SOUND) == 4


def test_the_voice_stands_first_in_every_loader(voiced):
    server, _ = voiced
    info = server.object_info()
    for node, field in (("Model", "model_name"), ("Features", "folder"), ("Codec", "codec_name")):
        spec = info[f"LuminaVideoLoadSound{node}"]["input"]["required"][field]
        assert (spec[0] if isinstance(spec[0], list) else spec[1]["options"])[0] == MINI


@pytest.mark.parametrize("name", SOUND)
def test_workflow_gives_a_video_with_its_sound(voiced, name):
    server, kind = voiced
    prompt = twin(name)
    if kind == RANDOM:
        for node in prompt.values():
            node["inputs"].update({key: 6 for key in ("points", "steps") if key in node["inputs"]})
    result = server.prompt(prompt)
    (file,) = [file for key, node in prompt.items() if node["class_type"] == "SaveVideo" for file in result.files(key)]
    with av.open(str(file)) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]
        lengths = [float(stream.duration * stream.time_base) for stream in container.streams]
        assert str(server.base) not in container.metadata["prompt"], "the file tells where the pack lies"
    assert abs(lengths[0] - lengths[1]) <= AAC_FRAME / RATE
    heard = read_sound(file)
    # The older host writes a mono sound on two channels.
    assert heard.shape[0] <= 2 and float((heard - heard[:1]).abs().max()) < 1e-2
    # Nothing strikes in the loaded clip: the shipped voice rolls softly there.
    assert heard.isfinite().all() and float(heard.abs().max()) > 2e-4
