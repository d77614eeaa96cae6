"""Figures that need a trained audio classifier or encoder, from the user's own transformers folders."""

from __future__ import annotations

from pathlib import Path

import torch

from ..audio.mel import SAMPLE_RATE
from ..errors import LuminaError
from .spectral import frechet


@torch.no_grad()
def kl_divergence(folder: Path, found: list[torch.Tensor], true: list[torch.Tensor]) -> float:
    """Mean KL(true || made) over pairs, of the softmax of an ``ASTForAudioClassification``. Raises LuminaError."""
    from transformers import ASTForAudioClassification

    extract, model = _load(folder, ASTForAudioClassification)
    total = 0.0
    for made, wanted in zip(found, true, strict=True):
        logs, wanted_logs = (
            model(**extract(_array(wave), sampling_rate=SAMPLE_RATE, return_tensors="pt")).logits.log_softmax(dim=-1)
            for wave in (made, wanted)
        )
        total += float((wanted_logs.exp() * (wanted_logs - logs)).sum())
    return total / len(found)


@torch.no_grad()
def embedding_frechet(folder: Path, found: list[torch.Tensor], true: list[torch.Tensor]) -> float:
    """Frechet distance of the mean hidden states of two sets of audio, in any transformers audio model.

    FAD in the strict sense takes VGGish; a figure of another model compares with that model's only. Raises LuminaError.
    """
    from transformers import AutoModel

    extract, model = _load(folder, AutoModel)
    vectors = [
        torch.cat(
            [
                model(**extract(_array(wave), sampling_rate=SAMPLE_RATE, return_tensors="pt")).last_hidden_state.mean(1)
                for wave in waves
            ]
        )
        for waves in (found, true)
    ]
    return frechet(*vectors)


def _load(folder: Path, kind) -> tuple:
    from transformers import AutoFeatureExtractor

    for name in ("config.json", "preprocessor_config.json"):
        if not (folder / name).is_file():
            raise LuminaError(
                f"{folder} holds no {name}; give the folder of a transformers audio model.",
                field="weights",
                kind="missing",
            )
    try:
        extract = AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)
        model, report = kind.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    except (OSError, ValueError) as error:
        raise LuminaError(
            f"The audio model in {folder} cannot be loaded ({error}); fetch it again.", field="weights", kind="file"
        ) from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])[0]
        raise LuminaError(
            f"The weights in {folder} lack {missing}, so they are no {kind.__name__}; give others.",
            field="weights",
            kind="file",
        )
    return extract, model.eval().float()


def _array(wave: torch.Tensor):
    return wave[0].float().numpy()
