"""Figures of a folder of videos with sound, alone or beside references of the same names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from tables.sections import table

from lumina_core.audio.files import has_audio, read_audio
from lumina_core.audio.mel import SAMPLE_RATE
from lumina_core.errors import LuminaError
from lumina_core.evaluation.av_align import av_align_file
from lumina_core.evaluation.onsets import TOLERANCE, Agreement, accuracy_and_precision, find_onsets, match, pooled
from lumina_core.evaluation.spectral import (
    envelope_lag,
    log_spectral_distance,
    mel_distance,
    mel_frechet,
    silence_share,
)
from lumina_core.media.reader import probe

from .networks import embedding_frechet, kl_divergence

VIDEOS = (".mp4", ".mkv", ".mov", ".webm", ".avi")
SOUNDS = (*VIDEOS, ".wav", ".flac", ".mp3", ".m4a", ".ogg")
COLUMNS = {
    "av_align": "AV-Align",
    "onsets": "onsets",
    "silence": "silence",
    "f1": "onset F1",
    "accuracy": "accuracy",
    "ap": "AP",
    "lag_ms": "lag, ms",
    "envelope_lag_ms": "envelope lag, ms",
    "mel": "mel distance",
    "lsd": "log-spectral distance, dB",
}
MEAN = "mean"


def pairs(results: Path, references: Path | None) -> list[tuple[Path, Path | None]]:
    """Videos with sound, each with the reference of its name. Raises LuminaError where one is missing."""
    videos = _files(results, VIDEOS)
    silent = next((file for file in videos if not has_audio(file)), None)
    if silent is not None:
        raise LuminaError(f"{silent} has no sound; the results are videos with sound.")
    if references is None:
        return [(file, None) for file in videos]
    known = {file.stem: file for file in _files(references, SOUNDS)}
    missing = next((file for file in videos if file.stem not in known), None)
    if missing is not None:
        raise LuminaError(f"{references} has no reference named {missing.stem}; references have their result's name.")
    return [(file, known[file.stem]) for file in videos]


def measure(
    videos: list[tuple[Path, Path | None]],
    tolerance: float = TOLERANCE,
    kl_weights: Path | None = None,
    fad_weights: Path | None = None,
    report: Callable[[str], None] = lambda text: None,
) -> dict:
    """Figures of every video, their means, and those of the whole set."""
    rows, found, true = {}, [], []
    agreements = []
    for video, reference in videos:
        # A coder's last frame reaches beyond the pictures, where the sound breaks off.
        length = round(probe(video).seconds * SAMPLE_RATE)
        sound = read_audio(video)[:, :length]
        row = {
            "av_align": av_align_file(video, sound),
            "onsets": len(find_onsets(sound)),
            "silence": silence_share(sound),
        }
        found.append(sound)
        if reference is not None:
            true.append(read_audio(reference)[:, :length])
            beside, agreement = _beside(sound, true[-1], tolerance)
            row |= beside
            agreements.append(agreement)
        rows[video.name] = row
        report(video.name)
    results = {"videos": rows, MEAN: _means(list(rows.values()))}
    if true:
        results["set"] = _of_set(found, true, kl_weights, fad_weights)
        results["set"] |= {"onset_f1": pooled(agreements).f1}
    return results


def _beside(sound: torch.Tensor, true: torch.Tensor, tolerance: float) -> tuple[dict[str, float | None], Agreement]:
    onsets, wanted = find_onsets(sound), find_onsets(true)
    agreement = match(onsets.times, wanted.times, tolerance)
    accuracy, precision = accuracy_and_precision(onsets, wanted.times, tolerance)
    shift = envelope_lag(sound, true)
    lag = agreement.mean_absolute_lag
    return {
        "f1": agreement.f1,
        "accuracy": accuracy,
        "ap": precision,
        "lag_ms": None if lag is None else 1000 * lag,
        "envelope_lag_ms": None if shift is None else 1000 * shift,
        "mel": mel_distance(sound, true),
        "lsd": log_spectral_distance(sound, true),
    }, agreement


def _of_set(
    found: list[torch.Tensor], true: list[torch.Tensor], kl_weights: Path | None, fad_weights: Path | None
) -> dict[str, float | None]:
    several = len(found) > 1
    figures: dict[str, float | None] = {"mel_frechet": mel_frechet(found, true) if several else None}
    if kl_weights is not None:
        figures["kl"] = kl_divergence(kl_weights, found, true)
    if fad_weights is not None:
        figures["embedding_frechet"] = embedding_frechet(fad_weights, found, true)
    return figures


def show(results: dict) -> str:
    """The figures as a table, the means last."""
    rows = results["videos"] | {MEAN: results[MEAN]}
    columns = [name for name in COLUMNS if name in results[MEAN]]
    head = ["video", *(COLUMNS[name] for name in columns)]
    return table(head, [[name, *(_cell(row.get(column)) for column in columns)] for name, row in rows.items()])


def _means(rows: list[dict]) -> dict[str, float | None]:
    """Over the videos that have the figure; of lags, early or late, the size counts."""
    means: dict[str, float | None] = {}
    for column in COLUMNS:
        values = [abs(row[column]) for row in rows if row.get(column) is not None]
        if any(column in row for row in rows):
            means[column] = sum(values) / len(values) if values else None
    return means


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    found = sorted(file for file in folder.glob("*") if file.suffix.lower() in suffixes) if folder.is_dir() else []
    if not found:
        raise LuminaError(f"{folder} holds no file of {', '.join(suffixes)}; give a folder of videos with sound.")
    return found


def _cell(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
