"""API-format graphs of the pack's nodes on the tiny model set."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MODEL = "lumina-video-tiny/consolidated.00-of-01.safetensors"
ENCODER = "gemma-2-tiny"
VAE = "cogvideox-tiny/diffusion_pytorch_model.safetensors"
SOUND_MODEL = "lumina-sound-tiny.safetensors"
FEATURES = "v2a-tiny"
CODEC = "audioldm-tiny"
NEXT = "lumina-next-tiny/consolidated.00-of-01.safetensors"
NEXT_ENCODER = "gemma-tiny"
NEXT_VAE = "sdxl-tiny.safetensors"
PREFIX = "LuminaVideo"
PROMPT = "a cat on the water under the sky"
NEGATIVE = "a fire over the sea"
SIZE = {"width": 64, "height": 64, "frames": 16}
CLIP_FPS = 8
"""Of clip.mp4 in the servers' input folder, which is of this size."""
IMAGE = {"width": 64, "height": 64, "frames": 1}


@dataclass(frozen=True)
class Node:
    """A node of a graph; ``node[1]`` is a link to its second output."""

    id: str

    def __getitem__(self, slot: int) -> list:
        return [self.id, slot]


@dataclass
class Graph:
    """Nodes in the order they were added; ``api`` is what /prompt takes."""

    api: dict[str, dict] = field(default_factory=dict)

    def add(self, class_type: str, **inputs: Any) -> Node:
        node = Node(str(len(self.api) + 1))
        self.api[node.id] = {"class_type": class_type, "inputs": inputs}
        return node

    def ours(self, name: str, **inputs: Any) -> Node:
        return self.add(PREFIX + name, **inputs)

    def model(self, name: str = MODEL, dtype: str = "fp32") -> Node:
        return self.ours("ModelLoader", model_name=name, weight_dtype=dtype)

    def clip(self, folder: str = ENCODER) -> Node:
        return self.ours("TextEncoderLoader", folder=folder)

    def audio_model(self, name: str = SOUND_MODEL) -> Node:
        return self.ours("LoadSoundModel", model_name=name)

    def features(self, folder: str = FEATURES) -> Node:
        return self.ours("LoadSoundFeatures", folder=folder)

    def codec(self, name: str = CODEC) -> Node:
        return self.ours("LoadSoundCodec", codec_name=name)

    def save_latent(self, samples: list) -> Node:
        return self.add("SaveLatent", samples=samples, filename_prefix="test")


def sampler_node(graph: Graph, *, model: list | None = None, clip: list | None = None, **inputs: Any) -> Node:
    """The all-in-one node; ``inputs`` replace the defaults."""
    defaults = {"prompt": PROMPT, "negative_prompt": NEGATIVE, "preset": "f24F96R960-MultiScale", "seed": 7, **SIZE}
    return graph.ours(
        "MultiScaleSampler", model=model or graph.model()[0], clip=clip or graph.clip()[0], **{**defaults, **inputs}
    )


@dataclass(frozen=True)
class Parts:
    """What a sampler of the host needs, wired from a preset node."""

    preset: Node
    model: Node
    conditioning: Node
    latent: Node


def preset_parts(graph: Graph, preset: str, batch: int = 1, dtype: str = "fp32") -> Parts:
    """Preset, patched model, both conditionings with motion scores, and the empty latent."""
    numbers = graph.ours("Preset", preset=preset)
    clip = graph.clip()
    texts = [graph.ours("TextEncode", clip=clip[0], text=text) for text in (PROMPT, NEGATIVE)]
    motion = graph.ours(
        "MotionScore", positive=texts[0][0], negative=texts[1][0], motion=numbers[3], negative_motion=numbers[4]
    )
    model = graph.ours("PatchSchedule", model=graph.model(dtype=dtype)[0], patch=numbers[0])
    latent = graph.ours("EmptyLatent", **SIZE, batch_size=batch, patch=numbers[0])
    return Parts(numbers, model, motion, latent)


def guided(graph: Graph, parts: Parts) -> Node:
    return graph.ours(
        "Guider",
        model=parts.model[0],
        positive=parts.conditioning[0],
        negative=parts.conditioning[1],
        guidance=parts.preset[1],
        renorm=parts.preset[2],
    )


def sigmas(graph: Graph, parts: Parts, points: int | None = None) -> Node:
    return graph.ours("Sigmas", points=points or parts.preset[5], time_shift=parts.preset[6])


def custom_sampler(graph: Graph, guider: Node, sigmas: list, latent: list, noise: Node) -> Node:
    """SamplerCustomAdvanced with the host's euler."""
    return graph.add(
        "SamplerCustomAdvanced",
        noise=noise[0],
        guider=guider[0],
        sampler=graph.add("KSamplerSelect", sampler_name="euler")[0],
        sigmas=sigmas,
        latent_image=latent,
    )


SOUND_TEXTS = {"prompt": "the sound of a bell", "negative_prompt": "a drum"}


def sound_node(graph: Graph, *, model: list | None = None, codec: list | None = None, **inputs: Any) -> Node:
    """Video to Audio, with few steps; ``inputs`` replace the defaults and give images or video."""
    parts = {"model": model or graph.audio_model()[0], "codec": codec or graph.codec()[0]}
    numbers = {"steps": 4, "video_guidance": 3.0, "text_guidance": 2.0, "seed": 7, "fps": 24.0}
    return graph.ours("VideoToAudio", features=graph.features()[0], **{**parts, **SOUND_TEXTS, **numbers, **inputs})


def audio_parts(graph: Graph, **inputs: Any) -> tuple[Node, Node]:
    """Conditioning and empty latent of a clip; ``inputs`` as in `sound_node`."""
    given = {**SOUND_TEXTS, "fps": 24.0, **inputs}
    conditioning = graph.ours("SoundConditioning", features=graph.features()[0], **given)
    return conditioning, graph.ours("EmptySoundLatent", seconds=conditioning[2], batch_size=1)
