"""Clips that begin with given frames, or are made over from a clip, by the host's noise masks and partial denoising."""

from __future__ import annotations

import pytest
import torch
from graphs import NEGATIVE, PROMPT, SIZE, VAE, Graph, Node, custom_sampler, guided, preset_parts, sigmas
from reference import SEED, Core, distance, noise, saved_latents
from test_failures import failure
from test_validation import refusal

from lumina_core.sampling.frame_conditioning import FrameCondition, release_times
from lumina_core.sampling.noise import noised
from lumina_core.sampling.presets import PRESETS
from lumina_core.sampling.video import sample

PRESET = "f16F64R512-MultiScale"
POINTS = 9
HOLD = 0.4
TOLERANCE = 1e-4
EXACT = 1e-5
"""Of latents that went through the noise levels and back in float32."""


@pytest.fixture(scope="module")
def core(tiny_models) -> Core:
    return Core(tiny_models)


def frames(graph: Graph, count: int, first: int = 0) -> list:
    """Frames of the clip in the host's input folder."""
    parts = graph.add("GetVideoComponents", video=graph.add("LoadVideo", file="clip.mp4")[0])
    return graph.add("ImageFromBatch", image=parts[0], batch_index=first, length=count)[0]


def vae(graph: Graph) -> list:
    return graph.ours("VAELoader", vae_name=VAE)[0]


def begun(graph: Graph, parts, images: list, hold: float = HOLD, model: list | None = None) -> Node:
    return graph.ours(
        "ImageToVideo", model=model or parts.model[0], vae=vae(graph), images=images, frames=SIZE["frames"], hold=hold
    )


def sampled(graph: Graph, parts, model: list, latent: list, sampler: Node | None = None) -> Node:
    """The custom sampler on a model with its latent; ``sampler`` in place of euler."""
    guider = graph.ours(
        "Guider", model=model, positive=parts.conditioning[0], negative=parts.conditioning[1],
        guidance=parts.preset[1], renorm=parts.preset[2],
    )  # fmt: skip
    node = custom_sampler(graph, guider, sigmas(graph, parts, POINTS)[0], latent, graph.ours("Noise", seed=SEED))
    if sampler is not None:
        graph.api[node.id]["inputs"]["sampler"] = sampler[0]
    return node


def both(server, graph: Graph, given: list, made: list) -> tuple[torch.Tensor, torch.Tensor]:
    """What the node gives and what the sampler makes of it."""
    first, second = graph.save_latent(given), graph.save_latent(made)
    result = server.prompt(graph.api)
    return saved_latents(result, first.id), saved_latents(result, second.id)


@pytest.mark.parametrize("count", [1, 8])
def test_given_frames_come_out_as_given_and_the_rest_as_the_core_makes_it(server, core, count):
    graph = Graph()
    parts = preset_parts(graph, PRESET)
    node = begun(graph, parts, frames(graph, count))
    given, made = both(server, graph, node[1], sampled(graph, parts, node[0], node[1])[0])
    known = max(1, count // 4)
    assert given.shape == made.shape == (1, 16, SIZE["frames"] // 4, 8, 8)
    assert distance(made[:, :, :known], given[:, :, :known]) <= EXACT
    plan, release = PRESETS[PRESET].replace(points=POINTS), release_times(known, given.shape[2], HOLD)
    texts = core.text(PROMPT), core.text(NEGATIVE)
    expected = sample(core.network, noise(), plan, *texts, condition=FrameCondition(given, release))
    assert distance(made, expected) <= TOLERANCE
    # The times count: without them the frames behind the given ones are others.
    unheld = FrameCondition(given, release_times(known, given.shape[2], 0.0))
    alone = sample(core.network, noise(), plan, *texts, condition=unheld)
    assert distance(made, alone) > 100 * TOLERANCE


def test_one_picture_is_a_still_of_its_frame(server):
    graph = Graph()
    parts = preset_parts(graph, PRESET)
    node = begun(graph, parts, frames(graph, 1))
    alone = graph.add("VAEEncode", pixels=frames(graph, 1), vae=vae(graph))
    still, single = both(server, graph, node[1], alone[0])
    assert single.shape[2] == 1
    for frame in range(still.shape[2]):
        assert distance(still[:, :, frame], single[:, :, 0]) <= EXACT


def test_every_clip_of_a_batch_begins_with_the_picture(server):
    graph = Graph()
    parts = preset_parts(graph, PRESET)
    node = begun(graph, parts, frames(graph, 1))
    several = graph.add("RepeatLatentBatch", samples=node[1], amount=2)
    given, made = both(server, graph, several[0], sampled(graph, parts, node[0], several[0])[0])
    assert len(given) == len(made) == 2
    assert distance(made[:, :, :1], given[:, :, :1]) <= EXACT
    assert distance(made[:1, :, 1:], made[1:, :, 1:]) > 0.1


def _step_cache(graph: Graph, parts) -> tuple[list, Node | None]:
    return graph.ours("StepCache", model=parts.model[0], tolerance=0.6)[0], None


def _context_drop(graph: Graph, parts) -> tuple[list, Node | None]:
    return graph.ours("ContextDrop", model=parts.model[0], until=0.5)[0], None


def _midpoint(graph: Graph, parts) -> tuple[list, Node | None]:
    return parts.model[0], graph.ours("Solver", solver="midpoint")


def _heun(graph: Graph, parts) -> tuple[list, Node | None]:
    return parts.model[0], graph.ours("Solver", solver="heun2")


def _rk4(graph: Graph, parts) -> tuple[list, Node | None]:
    return parts.model[0], graph.ours("Solver", solver="rk4")


def _adams(graph: Graph, parts) -> tuple[list, Node | None]:
    return parts.model[0], graph.ours("Solver", solver="adams2")


def _dpmpp(graph: Graph, parts) -> tuple[list, Node | None]:
    return parts.model[0], graph.add("KSamplerSelect", sampler_name="dpmpp_2m")


@pytest.mark.parametrize("option", [_step_cache, _context_drop, _midpoint, _heun, _rk4, _adams, _dpmpp])
def test_given_frames_stay_with_other_ways_to_run(server, option):
    graph = Graph()
    parts = preset_parts(graph, PRESET)
    model, sampler = option(graph, parts)
    node = begun(graph, parts, frames(graph, 8), model=model)
    given, made = both(server, graph, node[1], sampled(graph, parts, node[0], node[1], sampler)[0])
    assert torch.isfinite(made).all()
    # Solvers that evaluate t = 1 divide the rounding of the last state by a small sigma.
    assert distance(made[:, :, :2], given[:, :, :2]) <= TOLERANCE
    assert distance(made[:, :, 2:], given[:, :, 2:]) > 0.1


def test_the_native_mask_holds_what_it_covers_in_ksampler(server):
    graph = Graph()
    parts = preset_parts(graph, PRESET)
    encoded = graph.add("VAEEncode", pixels=frames(graph, SIZE["frames"]), vae=vae(graph))
    # One mask for all frames, of another size than theirs: the host fits it.
    left = graph.add("SolidMask", value=0.0, width=32, height=64)
    whole = graph.add("SolidMask", value=1.0, width=64, height=64)
    mask = graph.add("MaskComposite", destination=whole[0], source=left[0], x=0, y=0, operation="multiply")
    latent = graph.add("SetLatentNoiseMask", samples=encoded[0], mask=mask[0])
    made = graph.add(
        "KSampler", model=parts.model[0], positive=parts.conditioning[0], negative=parts.conditioning[1],
        latent_image=latent[0], seed=SEED, steps=6, cfg=4.0, sampler_name="euler", scheduler="simple", denoise=1.0,
    )  # fmt: skip
    given, found = both(server, graph, encoded[0], made[0])
    assert distance(found[..., :4], given[..., :4]) <= EXACT
    assert distance(found[..., 4:], given[..., 4:]) > 0.1


def test_made_over_clips_begin_at_the_noise_of_their_first_sigma(server, core):
    graph = Graph()
    parts = preset_parts(graph, PRESET)
    encoded = graph.add("VAEEncode", pixels=frames(graph, SIZE["frames"]), vae=vae(graph))
    grid = sigmas(graph, parts, POINTS)
    found, start = [], POINTS // 2
    for step in (start, POINTS - 1):
        split = graph.add("SplitSigmas", sigmas=grid[0], step=step)
        made = custom_sampler(graph, guided(graph, parts), split[1], encoded[0], graph.ours("Noise", seed=SEED))
        found.append(graph.save_latent(made[0]).id)
    source = graph.save_latent(encoded[0]).id
    result = server.prompt(graph.api)
    given = saved_latents(result, source)
    plan, texts = PRESETS[PRESET].replace(points=POINTS), (core.text(PROMPT), core.text(NEGATIVE))
    state = noised(given, noise(), plan.grid()[start])
    expected = sample(core.network, state, plan, *texts, start=start)
    assert distance(saved_latents(result, found[0]), expected) <= TOLERANCE
    # At the end of the clock nothing is left to change.
    assert distance(saved_latents(result, found[1]), given) <= EXACT


@pytest.mark.parametrize(
    ("count", "length", "said"),
    [
        (3, 16, "There are 3 images; give one, or a multiple of 8 to continue from"),
        (16, 16, "There are 16 images for a clip of 16 frames, so no frame is left to generate"),
    ],
)
def test_wrong_numbers_of_images_end_in_a_sentence(server, count, length, said):
    graph = Graph()
    parts = preset_parts(graph, PRESET)
    node = begun(graph, parts, frames(graph, count))
    graph.api[node.id]["inputs"]["frames"] = length
    graph.save_latent(node[1])
    assert said in failure(server, graph)


def test_wrong_frames_are_refused_when_queued(server):
    graph = Graph()
    parts = preset_parts(graph, PRESET)
    node = begun(graph, parts, frames(graph, 1))
    graph.api[node.id]["inputs"]["frames"] = 12
    graph.save_latent(node[1])
    assert refusal(server, graph, node) == "frames is 12; use a multiple of 8."


def test_another_model_and_another_vae_are_told(server):
    graph = Graph()
    sound = graph.audio_model()
    graph.save_latent(begun(graph, None, frames(graph, 1), model=sound[0])[1])
    assert failure(server, graph).startswith("The model is of type ")
    graph = Graph()
    mini = graph.model("mini (bundled)")
    graph.save_latent(begun(graph, None, frames(graph, 1), model=mini[0])[1])
    assert "use the VAE that it was trained with" in failure(server, graph)
