"""A node that measures the motion score of a clip."""

from __future__ import annotations

import math

from comfy_api.latest import InputImpl, io

from ..lumina_core.media.motion_score import file_motion_score, motion_score
from ..lumina_core.sampling.presets import DEFAULT_PRESET, preset_clip
from ..lumina_core.shapes.frame_rate import check_fps
from .host.node_ui import show
from .inputs import ABSENT, check_one, first_fault
from .names import schema


def video_score(video) -> float:
    """The motion score of a VIDEO. A file on disk is decoded in parts."""
    source = video.get_stream_source() if isinstance(video, InputImpl.VideoFromFile) else None
    if not isinstance(source, str):
        parts = video.get_components()
        return motion_score(parts.images[..., :3], float(parts.frame_rate))
    # The older host cannot trim a video.
    start, seconds = video.get_active_trim_window() if hasattr(video, "get_active_trim_window") else (0.0, 0.0)
    return file_motion_score(source, start=start, seconds=seconds or math.inf)


class MeasureMotion(io.ComfyNode):
    """The motion score of IMAGE or VIDEO."""

    TITLE = "Measure Motion"

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "MeasureMotion",
            title=f"Lumina-Video {cls.TITLE}",
            description="Measures the motion score of a clip: the mean optical flow in pixels per half "
            "second, at 320x576. Use it to match the motion of a reference clip, or to check a result.",
            aliases=("optical flow", "motion score", "dynamics", "measure"),
            inputs=[
                io.Image.Input(
                    "images", optional=True, tooltip="Frames of one clip, in order. Connect either images or video."
                ),
                io.Video.Input(
                    "video", optional=True, tooltip="A video with any frame rate. Connect either video or images."
                ),
                io.Float.Input(
                    "fps",
                    default=float(preset_clip(DEFAULT_PRESET).fps),
                    min=0.1,
                    max=1000.0,
                    step=0.01,
                    tooltip="Frame rate of images; a video provides its own.",
                ),
            ],
            outputs=[io.Float.Output("motion", tooltip="Motion score, measured with OpenCV's DIS optical flow.")],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, fps=None, images=ABSENT, video=ABSENT):
        # The host calls this only if an argument names an input that is present, so it also takes fps. A linked fps
        # is None.
        return first_fault(lambda: check_one(cls.TITLE, images, video), lambda: fps is None or check_fps(fps))

    @classmethod
    def execute(cls, fps, images=ABSENT, video=ABSENT) -> io.NodeOutput:
        check_one(cls.TITLE, images, video)
        score = motion_score(images[..., :3], fps) if video is ABSENT else video_score(video)
        return io.NodeOutput(score, ui={**show(cls, f"motion {score:.3f}").as_dict(), "lumina_motion": [score]})
