"""Configuration of Lumina-V2A: its sizes, and every choice that the paper leaves open.

The paper (appendix D, figure 8) gives the data flow and the frozen encoders, and no number except the 8 s of its clips.
A checkpoint's header stores every field.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ..errors import LuminaError
from ..shapes.audio_rates import CLIP_FPS, SYNC_FPS, latent_frames
from .config import BlockConfig
from .sync_align import ALIGN_SLOTS, ALIGNMENTS


@dataclass(frozen=True, kw_only=True)
class AudioConfig:
    """Sizes and options of Lumina-V2A.

    Args:
        channels: of the latents; 8 for AudioLDM's autoencoder.
        bins: mel bins of the latents; 16 for AudioLDM's autoencoder.
        patch: latent frames and mel bins of a token. 2 x 2 as in Lumina-Next; a token then lasts 80 ms, the step of a
            Synchformer feature.
        dim: token width.
        layers: number of blocks.
        heads: query heads.
        kv_heads: key and value heads.
        visual_dim: width of the visual features; 1024 for the CLIP of DFN5B.
        text_dim: width of the text features; 1024 for the CLIP of DFN5B.
        sync_dim: width of the sync features; 768 for Synchformer.
        text_tokens: tokens of a text feature, CLIP's context length.
        cond_dim: width of the conditioning vector, at most 1024 as in Lumina-Next.
        rope_theta: base of the rotary frequencies. 10000 as in Lumina-Next; the 256 of the released video model is for
            its three short axes.
        t_scale: factor on t before its sinusoids. 1000 as in the released video model, since with 1 most frequencies
            hardly change between 0 and 1.
        norm_eps: epsilon of the RMSNorms.
        sync_align: how Synchformer features are aligned with latent frames. ``slots`` places each feature at its time
            and averages where segments overlap. ``mmaudio`` treats the features as one evenly spaced sequence, with a
            learned embedding of the position in the segment, as MMAudio does.
        visual_times: add an embedding of the frame's time to the visual tokens, times a learned scalar that starts at
            0. Without it, as in the paper's figure, the order of the frames reaches the network through Synchformer
            alone.
        clip_fps: frames per second for CLIP, as in MMAudio.
        sync_fps: frames per second for Synchformer.
        train_rows: latent frames of the longest clips that the weights were trained on; None if not known. Positions of
            longer clips are scaled.

    Raises:
        LuminaError: sizes that do not divide each other, or a field out of range.
    """

    channels: int = 8
    bins: int = 16
    patch: tuple[int, int] = (2, 2)
    dim: int = 1024
    layers: int = 20
    heads: int = 16
    kv_heads: int = 16
    visual_dim: int = 1024
    text_dim: int = 1024
    sync_dim: int = 768
    text_tokens: int = 77
    cond_dim: int = 1024
    rope_theta: float = 10000.0
    t_scale: float = 1000.0
    norm_eps: float = 1e-5
    sync_align: str = ALIGN_SLOTS
    visual_times: bool = True
    clip_fps: float = CLIP_FPS
    sync_fps: float = SYNC_FPS
    train_rows: int | None = None

    def __post_init__(self) -> None:
        if self.block.head_dim % 4:
            raise LuminaError(
                f"Heads are {self.block.head_dim} wide; 2-axis RoPE needs dim / heads to be a multiple of 4.",
                field="heads",
                kind="value",
            )
        if self.bins % self.patch[1]:
            raise LuminaError(
                f"Tokens of {self.patch[1]} mel bins do not divide {self.bins} mel bins; change patch or bins.",
                field="patch",
                kind="value",
            )
        if self.sync_align not in ALIGNMENTS:
            raise LuminaError(
                f"sync_align is '{self.sync_align}'; write {' or '.join(ALIGNMENTS)}.", field="sync_align", kind="value"
            )
        if self.train_rows is not None and self.train_rows < 1:
            raise LuminaError(
                f"train_rows is {self.train_rows}; write the latent frames of the longest training clips, 1 or more.",
                field="train_rows",
                kind="value",
            )

    @property
    def block(self) -> BlockConfig:
        """Sizes of a block."""
        return BlockConfig(
            dim=self.dim,
            heads=self.heads,
            kv_heads=self.kv_heads,
            ffn_hidden=self.ffn_hidden,
            context_dim=self.dim,
            cond_dim=self.cond_dim,
            norm_eps=self.norm_eps,
        )

    @property
    def ffn_hidden(self) -> int:
        """Hidden width of the feed-forward layer: 8 / 3 of ``dim``, up to a multiple of 256 (64 if ``dim`` < 512)."""
        step = 256 if self.dim >= 512 else 64
        return step * math.ceil(int(8 * self.dim / 3) / step)

    @property
    def patch_elements(self) -> int:
        """Latent elements of one token."""
        return self.channels * self.patch[0] * self.patch[1]

    def latent_frames(self, seconds: float) -> int:
        """Latent frames of a clip of ``seconds`` seconds, rounded up to whole tokens."""
        return latent_frames(seconds, self.patch[0])

    def check_latents(self, shape: tuple[int, ...]) -> None:
        """Raise LuminaError unless latents (B, C, T, F) fit."""
        if tuple(shape[1:2]) + tuple(shape[3:]) != (self.channels, self.bins):
            raise LuminaError(
                f"The audio latents have {shape[1]} channels and {shape[-1]} mel bins, and this checkpoint expects "
                f"{self.channels} and {self.bins}; use the codec that it was trained with.",
                field="latents",
                kind="mismatch",
            )
        if shape[2] < 1 or shape[2] % self.patch[0]:
            raise LuminaError(
                f"The audio latents have {shape[2]} frames; this checkpoint needs a multiple of {self.patch[0]}.",
                field="latents",
                kind="value",
            )

    def check_features(self, visual: int, sync: int, text: int) -> None:
        """Raise LuminaError unless features of these widths fit."""
        found, wanted = (visual, sync, text), (self.visual_dim, self.sync_dim, self.text_dim)
        if found != wanted:
            raise LuminaError(
                f"The features are {found[0]} (visual), {found[1]} (sync) and {found[2]} (text) wide, and this "
                f"checkpoint expects {wanted[0]}, {wanted[1]} and {wanted[2]}; use the encoders of its training.",
                field="condition",
                kind="mismatch",
            )


_M = AudioConfig()
# S, M and L are our choice, as the paper gives no sizes; tiny is the bundled model's.
AUDIO_PRESETS = {
    "S": replace(_M, dim=768, layers=16, heads=12, kv_heads=12, cond_dim=768),
    "M": _M,
    "L": replace(_M, dim=1152, layers=24, heads=16, kv_heads=8),
    "tiny": replace(
        _M,
        channels=4,
        patch=(2, 8),
        dim=192,
        layers=6,
        heads=6,
        kv_heads=3,
        visual_dim=64,
        text_dim=64,
        sync_dim=96,
        cond_dim=192,
    ),
}
