"""The pipeline of the core and the nodes make the same latents: one test for each way to begin a clip."""

from __future__ import annotations

from functools import reduce

import pytest
import torch
from graphs import NEGATIVE, PROMPT, SIZE, VAE, Graph, Node, custom_sampler, guided, preset_parts, sigmas
from reference import SEED, distance, saved_latents

from lumina_core import LuminaVideoPipeline, VideoSize
from lumina_core.media import write_image
from lumina_core.media.reader import all_frames
from lumina_core.sampling.draft import draft_steps
from lumina_core.sampling.presets import PRESETS
from scripts.make_tiny_set import MODEL_FOLDER, TEXT_FOLDER, VAE_FOLDER

PRESET = "f16F64R512-MultiScale"
POINTS = 9
PLAN = PRESETS[PRESET].replace(points=POINTS)
HOLD = 0.4
TOLERANCE = 1e-4
CALL = {"prompt": PROMPT, "negative_prompt": NEGATIVE, "plan": PLAN, "size": VideoSize(**SIZE), "output_type": "latent"}


@pytest.fixture(scope="module")
def pipe(tiny_models) -> LuminaVideoPipeline:
    torch.set_num_threads(1)
    files = {"checkpoint": MODEL_FOLDER, "text_encoder": TEXT_FOLDER, "vae": VAE_FOLDER}
    return LuminaVideoPipeline.from_files(
        **{name: tiny_models / folder for name, folder in files.items()}, device="cpu", dtype="fp32", keep="all"
    )


class Modes:
    """A graph with the preset's parts, to which each test adds what it is about."""

    def __init__(self):
        self.graph = Graph()
        self.parts = preset_parts(self.graph, PRESET)
        self.grid = sigmas(self.graph, self.parts, POINTS)
        self.guider = guided(self.graph, self.parts)

    def frames(self, count: int) -> list:
        """The first images of ``given`` as one batch."""
        images = [self.graph.add("LoadImage", image=name(index))[0] for index in range(count)]
        return reduce(lambda first, second: self.graph.add("ImageBatch", image1=first, image2=second)[0], images)

    def sample(self, latent: list, noise: Node, steps: list | None = None, guider: Node | None = None) -> Node:
        return custom_sampler(self.graph, guider or self.guider, steps or self.grid[0], latent, noise)

    def noise(self, seed: int = SEED) -> Node:
        return self.graph.ours("Noise", seed=seed)

    def vae(self) -> list:
        return self.graph.ours("VAELoader", vae_name=VAE)[0]


def name(index: int) -> str:
    """Of an image in the host's input folder."""
    return f"given-{index:02}.png"


@pytest.fixture(scope="module")
def given(server, clip, tmp_path_factory) -> torch.Tensor:
    """Frames (16, H, W, 3), which lie in the host's input folder as lossless images."""
    folder = tmp_path_factory.mktemp("given")
    frames = torch.stack(list(all_frames(clip))).float() / 255
    for index, frame in enumerate(frames):
        server.put_input(write_image(folder / name(index), frame))
    return frames


@pytest.mark.parametrize("count", [1, 8], ids=["image-to-video", "continuation"])
def test_clips_that_begin_with_given_frames(server, pipe, given, count):
    modes = Modes()
    images = modes.frames(count)
    begun = modes.graph.ours(
        "ImageToVideo", model=modes.parts.model[0], vae=modes.vae(), images=images, frames=SIZE["frames"], hold=HOLD
    )
    conditioning, preset = modes.parts.conditioning, modes.parts.preset
    guider = modes.graph.ours(
        "Guider", model=begun[0], positive=conditioning[0], negative=conditioning[1], guidance=preset[1],
        renorm=preset[2],
    )  # fmt: skip
    made = modes.graph.save_latent(modes.sample(begun[1], modes.noise(), guider=guider)[0])
    result = server.prompt(modes.graph.api)
    clip = pipe(**CALL, image=given[:count], hold=HOLD, seed=SEED)
    assert distance(clip.latents, saved_latents(result, made.id)) <= TOLERANCE
    # The given frames count: without them the clip is another.
    assert distance(pipe(**CALL, seed=SEED).latents, saved_latents(result, made.id)) > 0.1


@pytest.mark.parametrize("strength", [0.3, 0.6])
def test_video_to_video(server, pipe, given, strength):
    modes = Modes()
    images = modes.frames(SIZE["frames"])
    source = modes.graph.add("VAEEncode", pixels=images, vae=modes.vae())
    split = modes.graph.add("SplitSigmasDenoise", sigmas=modes.grid[0], denoise=strength)
    made = modes.graph.save_latent(modes.sample(source[0], modes.noise(), split[1])[0])
    result = server.prompt(modes.graph.api)
    clip = pipe(**CALL, video=given, strength=strength, seed=SEED)
    assert distance(clip.latents, saved_latents(result, made.id)) <= TOLERANCE


def test_draft_then_refine(server, pipe):
    modes = Modes()
    split = modes.graph.ours("SplitSigmas", sigmas=modes.grid[0], patch=str(PLAN.patch))
    draft = modes.sample(modes.parts.latent[0], modes.noise(), split[0])
    made = modes.sample(draft[0], modes.graph.add("DisableNoise"), split[1])
    kept, estimate, refined = (modes.graph.save_latent(each) for each in (draft[0], draft[1], made[0]))
    result = server.prompt(modes.graph.api)
    times = PLAN.grid().tolist()
    step = draft_steps(PLAN.patch, times)
    found = pipe(**CALL, stop=step, seed=SEED)
    # The host divides the state by t, for noise that is added again.
    assert distance(found.latents, times[step] * saved_latents(result, kept.id)) <= TOLERANCE
    whole = pipe(**CALL, latents=found.latents, start=step)
    assert distance(whole.latents, saved_latents(result, refined.id)) <= TOLERANCE
    job = pipe.prepare(**CALL, stop=step, seed=SEED)
    with pipe.run(job) as parts:
        assert distance(parts.estimate, saved_latents(result, estimate.id)) <= TOLERANCE


def test_several_prompts_and_seeds(server, pipe):
    modes = Modes()
    clip, graph = modes.graph.clip(), modes.graph
    texts = [graph.ours("TextEncode", clip=clip[0], text=text)[0] for text in (NEGATIVE, PROMPT)]
    swapped = graph.ours(
        "MotionScore", positive=texts[0], negative=texts[1], motion=modes.parts.preset[3],
        negative_motion=modes.parts.preset[4],
    )  # fmt: skip
    preset = modes.parts.preset
    other = graph.ours(
        "Guider", model=modes.parts.model[0], positive=swapped[0], negative=swapped[1], guidance=preset[1],
        renorm=preset[2],
    )  # fmt: skip
    latent = modes.parts.latent[0]
    saved = [
        graph.save_latent(modes.sample(latent, modes.noise(seed), guider=guider)[0]).id
        for guider in (modes.guider, other)
        for seed in (SEED, SEED + 1)
    ]
    result = server.prompt(graph.api)
    both = {"prompt": [PROMPT, NEGATIVE], "negative_prompt": [NEGATIVE, PROMPT]}
    clips = pipe(**{**CALL, **both}, seed=SEED, videos_per_prompt=2)
    for latents, node in zip(clips.latents, saved, strict=True):
        assert distance(latents[None], saved_latents(result, node)) <= TOLERANCE
