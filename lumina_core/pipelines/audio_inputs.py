"""What the audio pipeline is given: its files, the clip that audio is made for, and an encoded prompt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ..audio.features import FeatureEncoder, VideoFeatures, check_seconds
from ..audio.frame_times import check_frames
from ..checkpoints.audio import CHECKPOINT_NAME, CODEC_FOLDER, FEATURES_FOLDER
from ..errors import LuminaError
from ..media.reader import probe
from ..network.audio_conditioning import AudioCondition
from ..sampling.text import MaskedText
from ..shapes.frame_rate import check_fps

# Seconds by which features may be shorter or longer than the clip that they are used for.
_LENGTH_TOLERANCE = 0.05


@dataclass(frozen=True)
class AudioFiles:
    """The files of an audio model, which must fit together.

    Args:
        model: the network: a .safetensors file, or a folder with model.safetensors.
        features: folder with clip/ (a CLIP) and sync/ (a Synchformer).
        codec: folder with vae/ and vocoder/, or AudioLDM's single file.
    """

    model: Path
    features: Path
    codec: Path

    @classmethod
    def of(cls, folder: Path) -> AudioFiles:
        """The files of an audio folder: model.safetensors, features/ and codec/."""
        return cls(folder / CHECKPOINT_NAME, folder / FEATURES_FOLDER, folder / CODEC_FOLDER)


@dataclass(frozen=True)
class AudioPrompt:
    """An encoded prompt and negative prompt.

    Args:
        text: CLIP features (1, L, D) and bool mask (1, L) of the prompt.
        negative: the same of the negative prompt; None if it is empty.
        empty: whether the prompt is empty; the network then uses its learned embedding of no text.
        cut: how many tokens of the prompt and of the negative prompt were truncated.
    """

    text: MaskedText
    negative: MaskedText | None
    empty: bool
    cut: tuple[int, int] = (0, 0)

    def condition(self, features: VideoFeatures) -> AudioCondition:
        """The condition of the network for a clip with these features and this prompt."""
        text, mask = self.text
        visual, sync = features.visual.to(text.device), features.sync.to(text.device)
        found = AudioCondition.of(visual, sync, text, mask)
        return found.without_text() if self.empty else found


@dataclass(frozen=True)
class AudioClip:
    """The clip that audio is made for: a file, frames in memory, or features of an earlier call.

    Args:
        video: a file.
        frames: (F, H, W, 3), float in 0..1, with ``fps``.
        fps: frames per second of ``frames``.
        features: of the clip, which is then not encoded.
    """

    video: str | Path | None
    frames: torch.Tensor | None
    fps: float | None
    features: VideoFeatures | None = None

    def seconds(self) -> float:
        """Length in seconds, after all checks that need no decoding.

        Raises:
            LuminaError: the clip is given twice or not at all, or is too short or too long for audio.
        """
        if (self.video is not None) + (self.frames is not None) != 1 and (self.features is None or self.video):
            raise LuminaError(
                "The clip is given twice or not at all; give one of video, frames with fps, or features.",
                field="video",
                kind="value",
            )
        seconds = self._measured()
        if self.features is None:
            return seconds
        if abs(self.features.seconds - seconds) > _LENGTH_TOLERANCE:
            raise LuminaError(
                f"The features are of a clip of {self.features.seconds:g} s, and this clip has {seconds:g} s; use the "
                "features of this video.",
                field="features",
                kind="mismatch",
            )
        return seconds

    def encode(self, encoder: FeatureEncoder) -> VideoFeatures:
        """The features of the clip, encoded unless they are given. Raises LuminaError."""
        if self.features is not None:
            return self.features
        if self.frames is not None:
            return encoder.frames(self.frames, check_fps(self.fps))
        return encoder.file(self.video or "")

    def _measured(self) -> float:
        """Length in seconds of the file, the frames or the features."""
        if self.video is not None:
            found = probe(self.video)
            if found.seconds * found.fps < 1.5:
                raise LuminaError(
                    f"{self.video} has 1 frame, and audio needs motion; give a video of 2 or more.",
                    field="video",
                    kind="value",
                )
            return check_seconds(found.seconds)
        if self.frames is not None:
            fps = check_fps(self.fps)
            check_frames(self.frames)
            return check_seconds(len(self.frames) / fps)
        return check_seconds(self.features.seconds if self.features else 0)


def cut_tokens(encoder: FeatureEncoder, text: str) -> int:
    """How many tokens of a text the text encoder truncates."""
    return max(0, len(encoder.clip.tokenizer(text)["input_ids"]) - encoder.clip.text_tokens)
