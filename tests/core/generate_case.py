"""A short plan and the request of a small video, for tests of the pipeline."""

from lumina_core import SamplingPlan, VideoSize
from lumina_core.pipelines.video import GenerateRequest

PLAN = SamplingPlan(
    patch="2x4 | 0.3: 2x2 | 0.6: 1x2", guidance="4 | 0.5: 0", motion=6, negative_motion=2, renorm=2, points=6
)


def small_request(tiny_set, out, **changes) -> GenerateRequest:
    given = {
        "checkpoint": tiny_set.model,
        "text_encoder": tiny_set.text,
        "vae": tiny_set.vae,
        "out": out,
        "prompt": "a cat on the sea",
        "size": VideoSize(64, 32, 16),
        "fps": 24,
        "plan": PLAN,
        "device": "cpu",
    }
    return GenerateRequest(**{**given, **changes})
