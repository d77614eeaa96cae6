"""Rates and lengths of Lumina-V2A: waveform, mel frames, audio latents, and the features of a video.

All follow from AudioLDM's codec (16 kHz, one mel frame per 160 samples, one latent frame per 4 mel frames) and from the
encoders of MMAudio (CLIP at 8 fps, Synchformer at 25 fps).
"""

from __future__ import annotations

import math

# Samples of the waveform per second.
SAMPLE_RATE = 16000
# Samples per mel frame (10 ms), and mel bins.
MEL_HOP, MEL_BINS = 160, 64
# Mel frames per latent frame, and mel bins per latent mel bin.
LATENT_REDUCTION = 4
# Samples per latent frame, latent frames per second, and seconds of a latent frame.
LATENT_HOP = LATENT_REDUCTION * MEL_HOP
LATENT_RATE = SAMPLE_RATE // LATENT_HOP
LATENT_SECONDS = LATENT_HOP / SAMPLE_RATE
# Video frames per second that each encoder takes.
CLIP_FPS, SYNC_FPS = 8.0, 25.0
# Synchformer: frames of a segment, frames from the start of one segment to the next, and frames per feature.
SEGMENT, STRIDE, TUBE = 16, 8, 2
# Features of a segment. Each covers a slot of time; segments start every SLOT_STRIDE slots.
SLOTS = SEGMENT // TUBE
SLOT_STRIDE = STRIDE // TUBE
SLOT_SECONDS = TUBE / SYNC_FPS
LATENT_FRAMES_PER_SLOT = round(SLOT_SECONDS * LATENT_RATE)


def latent_frames(seconds: float, multiple: int = 2) -> int:
    """Latent frames of a duration, rounded up to a multiple, which is the latent frames that a token covers."""
    return multiple * math.ceil(round(seconds * LATENT_RATE, 6) / multiple)
