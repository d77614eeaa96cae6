"""The native VAE equals diffusers, and works in the host's own nodes."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from safetensors.torch import load_file, save_file

COUNTS = (1, 2, 3, 4, 6)
FOLDER = "vae/cogvideox-tiny"


@dataclass
class Run:
    given: dict[str, torch.Tensor]
    got: dict[str, torch.Tensor]
    report: dict


@pytest.fixture(scope="session")
def run(worker, tiny_models, tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("vae")
    generator = torch.Generator().manual_seed(7)

    def noise(*shape):
        return torch.randn(*shape, generator=generator)

    given = {f"latents_{count}": noise(1, 16, count, 6, 4) for count in COUNTS}
    given |= {"batch": noise(2, 16, 3, 4, 4), "latents_wide": noise(1, 16, 2, 8, 32)}
    given |= {f"frames_{count}": noise(count, 32, 48, 3).sigmoid() for count in (1, 8, 17)}
    given |= {"frames_wide": noise(8, 128, 32, 3).sigmoid(), "frames_odd_size": noise(8, 37, 50, 4).sigmoid()}
    save_file(given, folder / "in.safetensors")
    weights = tiny_models / FOLDER / "diffusion_pytorch_model.safetensors"
    report = worker("vae.py", weights, folder / "in.safetensors", folder / "out.safetensors")
    return Run(given, load_file(folder / "out.safetensors"), report)


@pytest.fixture(scope="session")
def reference(tiny_models):
    from diffusers import AutoencoderKLCogVideoX

    return AutoencoderKLCogVideoX.from_pretrained(tiny_models / FOLDER, torch_dtype=torch.float32).eval()


@torch.no_grad()
def official_decode(reference, latents: torch.Tensor) -> torch.Tensor:
    return ((reference.decode(latents).sample[0] + 1) / 2).clamp(0, 1).permute(1, 2, 3, 0)


@torch.no_grad()
def official_encode(reference, frames: torch.Tensor) -> torch.Tensor:
    return reference.encode((frames * 2 - 1).permute(3, 0, 1, 2)[None]).latent_dist.mean


def close(got: torch.Tensor, wanted: torch.Tensor) -> bool:
    return got.shape == wanted.shape and bool((got - wanted).abs().max() < 1e-5)


def psnr(got: torch.Tensor, wanted: torch.Tensor) -> float:
    return float(-10 * (got - wanted).square().mean().log10())


@pytest.mark.parametrize("count", COUNTS)
def test_decode_equals_diffusers(run, reference, count):
    wanted = official_decode(reference, run.given[f"latents_{count}"])
    assert close(run.got[f"decoded_{count}"], wanted)
    assert len(wanted) == (4 * count if count % 2 == 0 else 4 * count - 3)


def test_frame_counts_are_told_to_the_host(run):
    assert run.report["frames"] == [1, 8, 9, 16, 24]
    assert run.report["latents"] == [1, 1, 2, 3, 4, 5]
    assert run.report["compression"] == [4, 8]


def test_a_batch_is_decoded_clip_by_clip(run, reference):
    wanted = torch.stack([official_decode(reference, clip[None]) for clip in run.given["batch"]])
    assert close(run.got["batch"], wanted)


def test_tiles_keep_every_frame_and_come_near_the_whole(run, reference):
    wanted = official_decode(reference, run.given["latents_wide"])
    assert close(run.got["whole"], wanted)
    assert close(run.got["tiled_4096"], wanted)
    for size in (64, 128):
        assert run.got[f"tiled_{size}"].shape == wanted.shape
    # Far below what real weights and pictures give: here latents are noise, and each tile is normalised for itself.
    assert psnr(run.got["tiled_128"], wanted) > 20


@pytest.mark.parametrize("count", (1, 8, 17))
def test_encode_equals_diffusers(run, reference, count):
    assert close(run.got[f"encoded_{count}"], official_encode(reference, run.given[f"frames_{count}"]))


def test_encode_crops_the_border_and_the_alpha(run, reference):
    cropped = run.given["frames_odd_size"][:, 2:34, 1:49, :3]
    assert close(run.got["encoded_odd_size"], official_encode(reference, cropped))


def test_encode_takes_a_batch(run, reference):
    frames = run.given["frames_8"]
    wanted = torch.cat([official_encode(reference, clip) for clip in (frames, frames.flip(0))])
    assert close(run.got["encoded_batch"], wanted)


def test_encode_in_tiles(run, reference):
    wanted = official_encode(reference, run.given["frames_wide"])
    assert close(run.got["encoded_wide"], wanted)
    assert close(run.got["encoded_tiled_4096"], wanted)
    tiled = run.got["encoded_tiled_64"]
    assert tiled.shape == wanted.shape
    assert torch.corrcoef(torch.stack([tiled.flatten(), wanted.flatten()]))[0, 1] > 0.9


def test_weights_are_told_as_they_are(run, reference):
    assert run.report["dtype"] == "torch.float32"
    assert run.report["keys"] == sorted(reference.state_dict())[:2]
    if run.report["bytes"]:
        assert run.report["bytes"][0] == run.report["bytes"][1]


def test_progress_is_shown_by_batch(run):
    # The newer host leaves out what follows too soon.
    seen = run.report["progress"]
    assert len(seen) > 1 and seen == sorted(seen) and seen[-1] == [3, 3]
    assert all(step in ([1, 3], [2, 3], [3, 3]) for step in seen)


def test_the_user_can_stop_between_batches(run):
    assert run.report["stopped_after"] == 1


def test_tiles_take_over_when_memory_runs_out(run):
    assert run.report["tiles_when_full"] == [[32, 16], [1, 8, 64, 256, 3]]


def test_a_picture_too_large_for_the_memory_is_tiled_from_the_start(run):
    assert run.report["tiles_when_small"] == [16]


def test_wrong_latents_are_refused_in_a_sentence(run):
    errors = run.report["errors"]
    assert all(message.startswith("LuminaError: ") for message in errors.values()), errors
    assert "expected (batch, 16, frames, height, width)" in errors["channels"]
    assert "expected (batch, 16, frames, height, width)" in errors["picture"]
    assert "NaN or infinite values" in errors["nan"]
    assert "5 frames" in errors["length"]
