"""Metrics that need a pretrained audio classifier or encoder, loaded from a local transformers folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..errors import LuminaError
from ..shapes.audio_rates import SAMPLE_RATE
from .spectral import frechet


@torch.no_grad()
def kl_divergence(folder: Path, found: list[torch.Tensor], true: list[torch.Tensor]) -> float:
    """Mean KL(true || found) of the class probabilities of an ``ASTForAudioClassification``, over pairs.

    Args:
        folder: the classifier in the transformers layout.
        found: generated waveforms, each (1, N) at 16 kHz.
        true: their references, in the same order.

    Raises:
        LuminaError: the folder is not such a classifier.
    """
    from transformers import ASTForAudioClassification

    extract, model = _load(folder, ASTForAudioClassification)
    total = 0.0
    for generated, reference in zip(found, true, strict=True):
        log_probs, true_log_probs = (
            model(**extract(_array(wave), sampling_rate=SAMPLE_RATE, return_tensors="pt")).logits.log_softmax(dim=-1)
            for wave in (generated, reference)
        )
        total += float((true_log_probs.exp() * (true_log_probs - log_probs)).sum())
    return total / len(found)


@torch.no_grad()
def embedding_frechet(folder: Path, found: list[torch.Tensor], true: list[torch.Tensor]) -> float:
    """Fréchet distance between two sets of waveforms, on the mean hidden states of a transformers audio model.

    FAD in the strict sense uses VGGish; values of another model compare only with values of that model.

    Args:
        folder: any audio model in the transformers layout.
        found, true: waveforms, each (1, N) at 16 kHz, at least 2 in each set.

    Raises:
        LuminaError: the folder is not an audio model, or a set is too small.
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


def _load(folder: Path, kind: Any) -> tuple[Any, Any]:
    """Feature extractor and model, an instance of the transformers class ``kind``."""
    from transformers import AutoFeatureExtractor

    for name in ("config.json", "preprocessor_config.json"):
        if not (folder / name).is_file():
            raise LuminaError(
                f"{folder} has no {name}; give the folder of a transformers audio model.",
                field="weights",
                kind="missing",
            )
    try:
        extract = AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)
        model, report = kind.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    except (OSError, ValueError) as error:
        raise LuminaError(
            f"The audio model in {folder} cannot be loaded ({error}); download it again.", field="weights", kind="file"
        ) from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])[0]
        raise LuminaError(
            f"The weights in {folder} lack {missing}, so they are not a {kind.__name__}; give a folder of one.",
            field="weights",
            kind="file",
        )
    return extract, model.eval().float()


def _array(wave: torch.Tensor) -> Any:
    return wave[0].float().numpy()
