"""Nodes for text and motion scores as native CONDITIONING."""

from __future__ import annotations

from dataclasses import dataclass

from comfy_api.latest import io

from ..lumina_core.sampling.plan import number_schedule
from ..lumina_core.text.gemma import MAX_TOKENS, SYSTEM_PROMPT, beginning
from .host.conditioning import set_motion
from .host.node_ui import note, with_schedules
from .host.plain_text import check_texts, plain_text, plain_tokens, unlearned_text
from .inputs import DEFAULT_PLAN, first_fault, motion_input, plan_fault
from .names import schema
from .plan_inputs import PlanNode


@dataclass(frozen=True)
class Cut:
    """The part of a prompt beyond the limit: number of tokens, and their text."""

    tokens: int
    text: str


def encode_text(clip, text: str, system_prompt: str = SYSTEM_PROMPT) -> tuple[list, Cut | None]:
    """Conditioning of one prompt, and the part that was cut off at ``MAX_TOKENS``, if any.

    The text has no weighting syntax: the models were trained on plain sentences. A text encoder may replace the default
    system prompt by its own; that of Lumina-Next's images is empty.

    Args:
        clip: a CLIP with a Gemma text encoder.
        text: the prompt.
        system_prompt: placed before it.
    """
    if system_prompt == SYSTEM_PROMPT:
        system_prompt = getattr(clip.tokenizer, "system_prompt", SYSTEM_PROMPT)
    rows = {
        name: [token for batch in batches for token in batch]
        for name, batches in plain_tokens(clip, system_prompt + text).items()
    }
    over = [token for token, *_ in max(rows.values(), key=len)[MAX_TOKENS:]]
    tokens = {name: [row[:MAX_TOKENS]] for name, row in rows.items()}
    return clip.encode_from_tokens_scheduled(tokens), Cut(len(over), plain_text(clip, over)) if over else None


def cut_message(cut: Cut, name: str = "prompt") -> str:
    """The warning for a prompt beyond the limit."""
    return (
        f"The {name} is {cut.tokens} tokens too long: only the first {MAX_TOKENS} (including the system prompt) are "
        f"used, and this is cut off: '{beginning(cut.text)}'."
    )


class TextEncode(io.ComfyNode):
    """A prompt as CONDITIONING."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "TextEncode",
            title="Lumina-Video Text Encode",
            description="Encodes a prompt the way Lumina-Video was trained: with the system prompt, up to 256 "
            "tokens, no weighting syntax. Use it for the negative prompt too, which may be empty.",
            aliases=("prompt", "clip text encode", "positive", "negative", "system prompt"),
            inputs=[
                io.Clip.Input(
                    "clip",
                    tooltip="Gemma-2-2B, from Load CLIP with type lumina2 or from Load Lumina-Video Text Encoder "
                    "(folder). Lumina-Next images need the original Gemma-2B, from the latter.",
                ),
                io.String.Input(
                    "text",
                    multiline=True,
                    dynamic_prompts=True,
                    tooltip="The prompt, in plain sentences; about 220 tokens fit after the system prompt.",
                ),
                io.String.Input(
                    "system_prompt",
                    default=SYSTEM_PROMPT,
                    multiline=True,
                    optional=True,
                    tooltip="Text placed before the prompt. The default is the released one, with its trailing "
                    "space. Lumina-Next images use none: with the original Gemma-2B the default is left out.",
                ),
            ],
            outputs=[io.Conditioning.Output(tooltip="Positive or negative conditioning.")],
        )

    @classmethod
    def validate_inputs(cls, text=None, system_prompt=None):
        return first_fault(lambda: check_texts(text=text, system_prompt=system_prompt))

    @classmethod
    def execute(cls, clip, text, system_prompt=SYSTEM_PROMPT) -> io.NodeOutput:
        conditioning, cut = encode_text(clip, text, system_prompt)
        texts = [*([cut_message(cut)] if cut else []), *unlearned_text(clip, text)]
        return io.NodeOutput(conditioning, ui=note("Lumina-Video Text Encode", texts))


class MotionScore(PlanNode):
    """Motion score schedules for the positive and the negative conditioning."""

    plan_inputs = ("motion", "negative_motion")

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "MotionScore",
            title="Lumina-Video Motion Score",
            description="Sets the amount of motion: a motion score schedule for the positive and for the "
            "negative conditioning. A larger gap between them gives more motion.",
            aliases=("dynamics", "optical flow", "motion", "speed"),
            inputs=[
                io.Conditioning.Input("positive", tooltip="From Lumina-Video Text Encode."),
                io.Conditioning.Input("negative", tooltip="From Lumina-Video Text Encode."),
                motion_input("motion", str(DEFAULT_PLAN.motion), "positive"),
                motion_input("negative_motion", str(DEFAULT_PLAN.negative_motion), "negative"),
            ],
            outputs=[
                io.Conditioning.Output(
                    "positive_out", display_name="positive", tooltip="The conditioning with its motion score."
                ),
                io.Conditioning.Output(
                    "negative_out", display_name="negative", tooltip="The conditioning with its motion score."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, motion=None, negative_motion=None):
        return plan_fault(motion=motion, negative_motion=negative_motion)

    @classmethod
    def execute(cls, positive, negative, motion, negative_motion) -> io.NodeOutput:
        both = set_motion(positive, motion), set_motion(negative, negative_motion, "negative_motion")
        schedules = {"motion": motion, "negative_motion": negative_motion}
        return io.NodeOutput(*both, ui=with_schedules(**{n: str(number_schedule(n, v)) for n, v in schedules.items()}))
