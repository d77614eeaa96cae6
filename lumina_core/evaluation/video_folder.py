"""Metrics for a folder of videos with audio, alone or compared with references of the same names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from ..audio.files import has_audio, read_audio
from ..errors import LuminaError
from ..media.reader import probe
from ..shapes.audio_rates import SAMPLE_RATE
from .av_align import av_align_file
from .onsets import TOLERANCE, Agreement, accuracy_and_precision, find_onsets, match, pooled
from .pretrained import embedding_frechet, kl_divergence
from .spectral import (
    envelope_lag,
    log_spectral_distance,
    mel_distance,
    mel_frechet,
    silence_share,
)

VIDEOS = (".mp4", ".mkv", ".mov", ".webm", ".avi")
AUDIO = (*VIDEOS, ".wav", ".flac", ".mp3", ".m4a", ".ogg")
# Metrics of a video, of which the mean row has the means.
COLUMNS = ("av_align", "onsets", "silence", "f1", "accuracy", "ap", "lag_ms", "envelope_lag_ms", "mel", "lsd")
MEAN = "mean"


def pairs(results: Path, references: Path | None) -> list[tuple[Path, Path | None]]:
    """The videos of a folder, each with the reference of the same name, or None without a folder of references.

    Raises LuminaError if a folder is empty, a video has no audio or a reference is missing.
    """
    videos = _files(results, VIDEOS)
    silent = next((file for file in videos if not has_audio(file)), None)
    if silent is not None:
        raise LuminaError(f"{silent} has no audio; give a folder of videos with audio.", field="results", kind="value")
    if references is None:
        return [(file, None) for file in videos]
    known = {file.stem: file for file in _files(references, AUDIO)}
    missing = next((file for file in videos if file.stem not in known), None)
    if missing is not None:
        raise LuminaError(
            f"{references} has no file named {missing.stem}; give each reference the name of its video.",
            field="references",
            kind="missing",
        )
    return [(file, known[file.stem]) for file in videos]


def measure(
    videos: list[tuple[Path, Path | None]],
    tolerance: float = TOLERANCE,
    kl_weights: Path | None = None,
    fad_weights: Path | None = None,
    report: Callable[[str], None] = lambda name: None,
) -> dict[str, list[dict]]:
    """Metrics of every video and their means, and with references those of the whole set.

    Args:
        videos: from ``pairs``.
        tolerance: seconds between onsets that match.
        kl_weights: folder of a transformers ``ASTForAudioClassification``; adds the KL divergence.
        fad_weights: folder of any transformers audio model; adds the Frechet distance of its embeddings.
        report: called with the name of each finished video.

    Returns:
        ``videos``: one row per video with the fields ``COLUMNS``, then the means.
        ``set``: rows of ``figure`` and ``value``.

    Raises:
        LuminaError: a file has no audio, or a folder is not a model.
    """
    rows, found, true = [], [], []
    agreements = []
    for video, reference in videos:
        # The last audio packet may extend beyond the video, so the audio is cut to the video's length.
        length = round(probe(video).seconds * SAMPLE_RATE)
        wave = read_audio(video)[:, :length]
        row = {
            "video": video.name,
            "av_align": av_align_file(video, wave),
            "onsets": len(find_onsets(wave)),
            "silence": silence_share(wave),
        }
        found.append(wave)
        if reference is not None:
            true.append(read_audio(reference)[:, :length])
            compared, agreement = _compared(wave, true[-1], tolerance)
            row |= compared
            agreements.append(agreement)
        rows.append(row)
        report(video.name)
    results: dict = {"videos": [*rows, {"video": MEAN, **_means(rows)}]}
    if true:
        figures = {"onset F1": pooled(agreements).f1, **_of_set(found, true, kl_weights, fad_weights)}
        results["set"] = [{"figure": name, "value": value} for name, value in figures.items()]
    return results


def _compared(wave: torch.Tensor, true: torch.Tensor, tolerance: float) -> tuple[dict[str, float | None], Agreement]:
    onsets, wanted = find_onsets(wave), find_onsets(true)
    agreement = match(onsets.times, wanted.times, tolerance)
    accuracy, precision = accuracy_and_precision(onsets, wanted.times, tolerance)
    shift = envelope_lag(wave, true)
    lag = agreement.mean_absolute_lag
    return {
        "f1": agreement.f1,
        "accuracy": accuracy,
        "ap": precision,
        "lag_ms": None if lag is None else 1000 * lag,
        "envelope_lag_ms": None if shift is None else 1000 * shift,
        "mel": mel_distance(wave, true),
        "lsd": log_spectral_distance(wave, true),
    }, agreement


def _of_set(
    found: list[torch.Tensor], true: list[torch.Tensor], kl_weights: Path | None, fad_weights: Path | None
) -> dict[str, float | None]:
    several = len(found) > 1
    figures: dict[str, float | None] = {"mel Frechet distance": mel_frechet(found, true) if several else None}
    if kl_weights is not None:
        figures["KL"] = kl_divergence(kl_weights, found, true)
    if fad_weights is not None:
        figures["embedding Frechet distance"] = embedding_frechet(fad_weights, found, true)
    return figures


def _means(rows: list[dict]) -> dict[str, float | None]:
    """Means over the videos that have the metric, of absolute values because lags have a sign."""
    means: dict[str, float | None] = {}
    for column in COLUMNS:
        values = [abs(row[column]) for row in rows if row.get(column) is not None]
        if any(column in row for row in rows):
            means[column] = sum(values) / len(values) if values else None
    return means


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    found = sorted(file for file in folder.glob("*") if file.suffix.lower() in suffixes) if folder.is_dir() else []
    if not found:
        raise LuminaError(
            f"{folder} has no file of type {', '.join(suffixes)}; give a folder of videos with audio.",
            field="results",
            kind="missing",
        )
    return found
