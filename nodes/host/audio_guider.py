"""A guider of the host for audio, with one guidance scale for the video and one for the text."""

from __future__ import annotations

import comfy.samplers

from ...lumina_core.sampling.audio import AudioPlan
from ...lumina_core.sampling.guidance import Guider
from .audio_model import NO_TEXT, NO_VIDEO
from .conditioning import set_values

_PASSES = ("positive", "no_video", "no_text")


class TwoScaleGuider(comfy.samplers.CFGGuider):
    """positive + gv (positive - without video) + gt (positive - negative text); a pass whose scale is 0 is skipped.

    Args:
        model: a MODEL from `load_audio`.
        positive, negative: native conditioning; only the text of ``negative`` is used.
        plan: gives the scales gv and gt.
    """

    def __init__(self, model, positive: list, negative: list, plan: AudioPlan) -> None:
        super().__init__(model)
        # Without any text this pass would equal the positive one.
        no_texts = all(entry[1].get(NO_TEXT) for entry in [*positive, *negative])
        self.scales = (plan.video_guidance, 0.0 if no_texts else plan.text_guidance)
        without_video = set_values(positive, {NO_VIDEO: True})
        other_text = set_values(negative, {NO_VIDEO: False})
        self.inner_set_conds(dict(zip(_PASSES, (positive, without_video, other_text), strict=True)))

    def predict_noise(self, x, timestep, model_options=None, seed=None):
        """The guided denoised sample, (B, C, latent frames, mel bins); called by the host for every evaluation."""
        conds = [self.conds["positive"]]
        conds += [self.conds[name] if scale else None for name, scale in zip(_PASSES[1:], self.scales, strict=True)]
        positive, *others = comfy.samplers.calc_cond_batch(self.inner_model, conds, x, timestep, model_options or {})
        # A denoised sample is x plus a multiple of the velocity, the same one in every pass, so guiding the denoised
        # samples guides the velocity.
        used = [(scale, other) for scale, other in zip(self.scales, others, strict=True) if scale]
        return Guider(tuple(scale for scale, _ in used))(positive, *(other for _, other in used))
