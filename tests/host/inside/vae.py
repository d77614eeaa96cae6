"""Inside the host: the VAE through the host's own nodes. Pictures and latents go through .safetensors files."""

import comfy.model_management
import comfy.utils
import torch
from lumina_video_under_test.nodes.host import vae as vae_support
from safetensors.torch import load_file, save_file

import nodes

COUNTS = (1, 2, 3, 4, 6)


def main(weights: str, inputs: str, outputs: str) -> dict:
    given = load_file(inputs)
    vae = vae_support.load_vae(weights)
    results = decode(vae, given) | encode(vae, given)
    save_file({name: value.contiguous().clone() for name, value in results.items()}, outputs)
    return {
        "dtype": str(vae.vae_dtype),
        "frames": [vae.upscale_ratio[0](count) for count in COUNTS],
        "latents": [vae.downscale_ratio[0](frames) for frames in (1, 4, 8, 9, 16, 17)],
        "compression": [vae.temporal_compression_decode(), vae.spacial_compression_decode()],
        "keys": sorted(vae.get_sd())[:2],
        "bytes": [vae.model_size(), sum(p.nbytes for p in vae.first_stage_model.parameters())]
        if hasattr(vae, "model_size")
        else [],
        "progress": progress(vae, given["latents_6"]),
        "errors": errors(vae),
        "stopped_after": stopped_after(vae, given["latents_6"]),
        "tiles_when_full": tiles_when_full(vae, given["latents_wide"]),
        "tiles_when_small": tiles_when_small(vae, given["latents_wide"]),
    }


def decode(vae, given: dict) -> dict:
    results = {}
    for count in COUNTS:
        (results[f"decoded_{count}"],) = nodes.VAEDecode().decode(vae, {"samples": given[f"latents_{count}"]})
    # The host takes the weights away between prompts.
    comfy.model_management.unload_all_models()
    results["batch"] = vae.decode(given["batch"])
    wide = {"samples": given["latents_wide"]}
    (results["whole"],) = nodes.VAEDecode().decode(vae, wide)
    for size, overlap in ((128, 64), (64, 0), (4096, 64)):
        (results[f"tiled_{size}"],) = nodes.VAEDecodeTiled().decode(vae, wide, size, overlap, 8, 4)
    return results


def encode(vae, given: dict) -> dict:
    results = {}
    for count in (1, 8, 17):
        (latent,) = nodes.VAEEncode().encode(vae, given[f"frames_{count}"])
        results[f"encoded_{count}"] = latent["samples"]
    results["encoded_odd_size"] = vae.encode(given["frames_odd_size"])
    results["encoded_batch"] = vae.encode(torch.stack([given["frames_8"], given["frames_8"].flip(0)]))
    for size in (64, 4096):
        (latent,) = nodes.VAEEncodeTiled().encode(vae, given["frames_wide"], size, 16, 8, 4)
        results[f"encoded_tiled_{size}"] = latent["samples"]
    (latent,) = nodes.VAEEncode().encode(vae, given["frames_wide"])
    results["encoded_wide"] = latent["samples"]
    return results


def progress(vae, latents: torch.Tensor) -> list:
    seen = []
    comfy.utils.set_progress_bar_global_hook(lambda value, total, *_, **__: seen.append([value, total]))
    vae.decode(latents)
    comfy.utils.set_progress_bar_global_hook(None)
    return seen


def errors(vae) -> dict[str, str]:
    calls = {
        "channels": lambda: vae.decode(torch.zeros(1, 4, 2, 4, 4)),
        "picture": lambda: vae.decode_tiled(torch.zeros(1, 16, 4, 4)),
        "nan": lambda: vae.decode(torch.full((1, 16, 2, 4, 4), float("nan"))),
        "length": lambda: vae.encode(torch.zeros(5, 16, 16, 3)),
    }
    return {name: _message(call) for name, call in calls.items()}


def _message(call) -> str:
    try:
        call()
    except ValueError as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def stopped_after(vae, latents: torch.Tensor) -> int:
    """Batches decoded when the user stops during the first one."""
    batches = []

    def stop(*_, **__):
        batches.append(1)
        comfy.model_management.interrupt_current_processing(True)

    handle = vae.codec.module.decoder.register_forward_hook(stop)
    try:
        vae.decode(latents)
    except comfy.model_management.InterruptProcessingException:
        return len(batches)
    finally:
        handle.remove()
        comfy.model_management.interrupt_current_processing(False)
    return -1


def tiles_when_full(vae, latents: torch.Tensor) -> list:
    """Widths that the decoder was asked for on a device with room for 16 latent pixels a side; frames of the result."""
    widths = []

    def fail(module, args):
        widths.append(args[0].shape[-1])
        if widths[-1] > 16:
            raise torch.cuda.OutOfMemoryError("full")

    handle = vae.codec.module.decoder.register_forward_pre_hook(fail)
    frames = vae.decode(latents)
    handle.remove()
    return [sorted(set(widths), reverse=True), list(frames.shape)]


def tiles_when_small(vae, latents: torch.Tensor) -> list:
    """Widths that the decoder is asked for where the whole picture needs twice the free memory."""
    widths = []
    handle = vae.codec.module.decoder.register_forward_pre_hook(lambda _, args: widths.append(args[0].shape[-1]))
    ask = comfy.model_management.get_free_memory
    comfy.model_management.get_free_memory = lambda *_, **__: vae.memory_used_decode(latents.shape, vae.vae_dtype) // 2
    vae.decode(latents)
    comfy.model_management.get_free_memory = ask
    handle.remove()
    return sorted(set(widths))
