"""Sizes of Lumina-V2A and every choice that the paper leaves open, each one field that the checkpoint's header keeps.

The paper (appendix D, figure 8) gives the data flow and the frozen parts, and no number but the 8 s of its clips.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ..audio.sync_align import ALIGN_SLOTS, ALIGNMENTS
from ..errors import LuminaError
from .config import BlockConfig

ROWS_PER_SECOND = 25
"""Latent rows: 16 kHz, a mel frame each 160 samples, a row each 4 frames."""


@dataclass(frozen=True, kw_only=True)
class AudioConfig:
    """Lumina-V2A.

    Args:
        channels, bins: of the latents; AudioLDM's autoencoder has 8 and 16.
        patch: rows and bins of a token. 2 x 2 as in Lumina-Next; one token then lasts 80 ms, the step of a Synchformer
            feature.
        dim, layers, heads, kv_heads: of the blocks; see ``AUDIO_PRESETS``.
        visual_dim, text_dim, sync_dim: widths of the features; DFN5B's CLIP and Synchformer have 1024, 1024 and 768.
        text_tokens: of a text feature; CLIP's length.
        cond_dim: width behind scale and gate, at most 1024 as in Lumina-Next.
        rope_theta: 10000 as in Lumina-Next; the released video model's 256 is for its three short axes.
        t_scale: factor on t before its sinusoids. 1000 as in the released video model, since with 1 most frequencies
            hardly move between 0 and 1.
        sync_align: ``slots`` puts each Synchformer feature where it was seen, averaging where segments overlap;
            ``mmaudio`` takes the features as if they were one even row, with a learned position in the segment, as
            MMAudio does.
        visual_times: the visual tokens also carry when they were seen, times a scalar that starts at 0; without it the
            order of the frames reaches the network through Synchformer alone, as the figure is drawn.
        clip_fps, sync_fps: frames a second that the features are made of, as in MMAudio and Synchformer.
        train_rows: latent rows of the longest sounds that the weights were trained on; None where it is not known. The
            positions of longer ones are scaled.
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
    clip_fps: float = 8.0
    sync_fps: float = 25.0
    train_rows: int | None = None

    def __post_init__(self) -> None:
        if self.block.head_dim % 4:
            raise LuminaError(
                f"Heads are {self.block.head_dim} wide; 2-axis rotary positions need a multiple of 4 (width / heads)."
            )
        if self.bins % self.patch[1]:
            raise LuminaError(f"Tokens of {self.patch[1]} bins do not divide {self.bins}; change patch or bins.")
        if self.sync_align not in ALIGNMENTS:
            raise LuminaError(
                f"sync_align is '{self.sync_align}'; write {' or '.join(ALIGNMENTS)}.", field="sync_align"
            )

        if self.train_rows is not None and self.train_rows < 1:
            raise LuminaError(f"train_rows is {self.train_rows}; write the rows of the sounds that it was trained on.")

    @property
    def block(self) -> BlockConfig:
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
        """Two thirds of four times the width, rounded up to a multiple of 256 (or of 64 for small networks)."""
        step = 256 if self.dim >= 512 else 64
        return step * math.ceil(int(8 * self.dim / 3) / step)

    @property
    def patch_numbers(self) -> int:
        """Numbers in one token's patch."""
        return self.channels * self.patch[0] * self.patch[1]

    def rows(self, seconds: float) -> int:
        """Latent rows of a sound of so many seconds, up to whole tokens."""
        step = self.patch[0]
        return step * math.ceil(round(seconds * ROWS_PER_SECOND, 6) / step)

    def check_latents(self, shape: tuple[int, ...]) -> None:
        """Raise LuminaError unless latents (B, C, T, F) fit."""
        if tuple(shape[1:2]) + tuple(shape[3:]) != (self.channels, self.bins):
            raise LuminaError(
                f"The sound latents have {shape[1]} channels and {shape[-1]} bins, and this checkpoint expects "
                f"{self.channels} and {self.bins}; use the codec that it was trained with."
            )
        if shape[2] < 1 or shape[2] % self.patch[0]:
            raise LuminaError(
                f"The sound latents have {shape[2]} rows; this checkpoint needs a multiple of {self.patch[0]}."
            )

    def check_features(self, visual: int, sync: int, text: int) -> None:
        """Raise LuminaError unless features of these widths fit."""
        found, wanted = (visual, sync, text), (self.visual_dim, self.sync_dim, self.text_dim)
        if found != wanted:
            raise LuminaError(
                f"The features are {found[0]} (visual), {found[1]} (sync) and {found[2]} (text) wide, and this "
                f"checkpoint reads {wanted[0]}, {wanted[1]} and {wanted[2]}; use the encoders that it was trained with."
            )


_M = AudioConfig()
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
"""S, M and L are ours; tiny is the mini bundle's."""
