"""How the figures of each benchmark become tables: the only place that lays them out, for scripts and documents alike.

A table is a list of rows among the figures and a format for each column. Needs no torch.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass, field


class _Cells(string.Formatter):
    """Formats a cell from the fields of a row; a field that is missing or None raises LookupError."""

    def get_value(self, key, args, kwargs):
        value = kwargs[key]
        if value is None:
            raise LookupError(key)
        return ("yes" if value else "**no**") if isinstance(value, bool) else value


@dataclass(frozen=True)
class Table:
    """A table of figures.

    Args:
        name: what a document's marker names.
        benchmark: whose figures it shows.
        rows: path of the list of rows among the figures, its parts separated by `/`.
        columns: heading to a format string over the fields of a row; a cell without its figure stays empty.
        where: fields that a row must have to be shown.
    """

    name: str
    benchmark: str
    rows: str
    columns: Mapping[str, str]
    where: Mapping[str, object] = field(default_factory=dict)

    def render(self, figures: dict) -> str | None:
        """The Markdown table, its columns aligned; None where the figures have no such rows."""
        rows: object = figures
        for part in self.rows.split("/"):
            rows = rows.get(part) if isinstance(rows, dict) else None
        rows = [row for row in rows if self.where.items() <= row.items()] if isinstance(rows, list) else []
        if not rows:
            return None
        lines = [list(self.columns), *([_cell(form, row) for form in self.columns.values()] for row in rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        lines.insert(1, ["-" * width for width in widths])
        padded = ([cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines)
        return "\n".join("| " + " | ".join(line) + " |" for line in padded)


def _cell(form: str, row: dict) -> str:
    try:
        return _Cells().vformat(form, (), row)
    except LookupError:
        return ""


def tables_of(benchmark: str) -> list[Table]:
    """The tables of one benchmark, in order."""
    return [table for table in TABLES.values() if table.benchmark == benchmark]


ROUNDS = {"rounds": "{rounds_used}", "noisy rounds": "{rounds_noisy}"}
TARGETS = {"figure": "{figure}", "target": "{target}", "measured": "{measured:.3f}", "met": "{met}"}
ASKED = {"color": "{color:.1%}", "shape": "{shape:.1%}", "direction": "{direction:.1%}"}
QUALITY = {**ASKED, "accuracy": "{accuracy:.1%}", "sharpness": "{sharpness:.3f}", "distance": "{distance:.3f}"}
CHANGES = {
    "evaluations": "{computed:.1f} of {of}", "FLOPs": "{flops:.2f}", "time": "{time:.2f}",
}  # fmt: skip
EFFECTS = {
    "PSNR, dB": "{psnr:.1f}", "accuracy": "{accuracy:.1%}",
    "change, points": "{accuracy_change:+.1f} ± {accuracy_error:.1f}",
    "motion": "{motion:.2f}", "change, %": "{motion_change:+.1f} ± {motion_error:.1f}",
}  # fmt: skip
HOST = {
    "ComfyUI": "{host}", "run": "{run}", "steps": "{steps}", "sampler": "{kind}", "over the core loop": "{ratio:.3f}",
    "more per step, ms": "{extra_ms:.1f}", "difference": "{error:.0e}", **ROUNDS,
}  # fmt: skip
SOLVER_CASES = {
    "mini": "mini bundle, `1x2` throughout",
    "mini-MultiScale": "mini bundle, three patch sizes",
    "tiny": "random weights, `1x2` throughout",
    "tiny-MultiScale": "random weights, three patch sizes",
    "slow": "random weights, slow in t, `1x2` throughout",
    "slow-MultiScale": "random weights, slow in t, three patch sizes",
}
SOLVERS = {
    "solver": "{solver}", "time grid": "{times}", "error at 10 NFE": "{error_10:.4f}", "at 20": "{error_20:.4f}",
    "at 40": "{error_40:.4f}", "at 69": "{error_69:.4f}", "NFE for the error of 70-point Euler": "{equal_nfe}",
}  # fmt: skip


def _shares(*names: str) -> dict[str, str]:
    """Columns of a mean share and its standard error."""
    return {name: f"{{{name}:.0%}} ± {{{name}_error:.0%}}" for name in names}


_ALL = (
    Table("forward pass", "forward", "rows", {
        "patch size": "{patch}", "batch size": "{batch}", "tokens": "{tokens}", "ours / official": "{ratio:.3f}",
        "target": "{target:.2f}", "text K/V recomputed": "{ratio_recomputed:.3f}", "difference": "{error:.1e}",
        **ROUNDS,
    }),
    Table("approximate options", "options", "rows", {
        "option": "{option}", **CHANGES, "FLOPs at 1248x704x96": "{real_pflop:.1f} PFLOP ({real_flops:.2f})", **EFFECTS,
    }),
    Table("motion accuracy", "motion_accuracy", "rows", {
        "DIS preset": "{preset}", "slope": "{slope:.2f}", "intercept": "{intercept:.2f}", "Spearman": "{spearman:.2f}",
        "after H.264 / before": "{h264:.2f}", **{f"pan {p}": f"{{pan_{p}:.2f}}" for p in (2, 8, 16, 32, 64)},
    }),
    Table("context drop, one forward pass", "context_drop", "passes", {"size": "{size}", "FLOPs": "{flops:.2f}"}),
    Table("context drop, whole schedules", "context_drop", "schedules", {
        "schedule": "`{schedule}`", "T = 0.1": "{t01:.2f}", "T = 0.2": "{t02:.2f}", "T = 0.3": "{t03:.2f}",
        "T = 1": "{t1:.2f}",
    }),
    Table("context drop, clips", "context_drop", "rows", {"setting": "{option}", **CHANGES, **EFFECTS}),
    Table("comfyui overhead", "host_overhead", "rows", HOST, {"attention": "pytorch"}),
    Table("comfyui overhead with its own attention", "host_overhead", "rows", HOST, {"attention": "sub_quad"}),
    Table("memory of a forward pass", "forward", "memory", {
        "latents": "{latent}", "batch size": "{batch}", "patch": "{patch}", "tokens": "{tokens}",
        "ours, MiB": "{ours_mib:.1f}", "official, MiB": "{official_mib:.1f}",
        "ratio": "{ratio:.3f}",
    }),
    Table("predicted memory", "activations", "rows", {
        "clip": "{size}", "patch": "{patch}", "batch size": "{batch}", "tokens": "{tokens}",
        "counted, GiB": "{counted_gib:.3f}", "formula, GiB": "{formula_gib:.3f}", "formula / counted": "{ratio:.4f}",
    }),
    Table("memory of decoding", "decode", "memory", {
        "": "{what}", "16 frames, GiB": "{short_gib:.2f}", "96 frames, GiB": "{long_gib:.2f}",
        "elements per pixel": "{per_pixel:.0f}",
    }),
    Table("time of decoding", "decode", "seconds", {"": "{what}", "ratio": "{ratio:.2f}", **ROUNDS}),
    Table("decoding in tiles", "decode", "tiles", {
        "VAE": "{vae}", "tile": "{tile}", "overlap 0": "{o0:.1f}", "overlap 0.125": "{o125:.1f}",
        "overlap 0.25": "{o250:.1f}", "overlap 0.5": "{o500:.1f}",
    }),
    Table("gpu targets", "gpu", "targets", TARGETS),
    Table("gpu forward passes", "gpu", "calls", {
        "clip": "{clip}", "blocks": "{kind}", "patch size": "{patch}", "batch size": "{batch}",
        "seconds": "{seconds:.3f}", "TFLOP/s": "{tflops:.0f}", "of the matmul peak": "{share:.0%}",
        "peak memory, GB": "{peak_gb:.1f}",
    }),
    Table("gpu attention", "gpu", "attention", {"kernel": "{kernel}", "TFLOP/s": "{tflops:.0f}", "used": "{used}"}),
    Table("training throughput", "train_throughput", "rows", {
        "patch": "{patch}", "tokens": "{tokens}", "s/step": "{seconds:.4f}", "tokens/s": "{tokens_per_second:.0f}",
        "TFLOP/s": "{tflops:.3f}", "of the peak": "{share_of_peak:.1%}",
    }),
    Table("parity", "parity", "rows", {"what": "{what}", "largest difference": "{error:.1e}"}),
    Table("preview colors", "fit_preview", "r2", {"table": "{table}", "R²": "{r2:.4f}"}),
    Table("mini targets", "paper_tables", "targets", TARGETS),
    Table("prompt following", "paper_tables", "following", {
        "prompts": "{language}", "count": "{prompts}", **ASKED, "background": "{background:.1%}",
    }),
    Table("patch sizes", "paper_tables", "table_2", {
        "patch size": "{patch}", "time": "{time:.2f}", "FLOPs": "{flops:.2f}", **QUALITY,
        "paper: time": "{paper_time:.2f}", "paper: total score": "{paper_total:.2f}",
    }),
    Table("motion scores", "paper_tables", "table_3", {
        "positive / negative": "{scores}", "on this scale": "{positive:.2f} / {negative:.2f}",
        "measured motion": "{motion:.2f}", **QUALITY, "paper: dynamic degree": "{paper_dynamic:.2f}",
        "paper: quality": "{paper_quality:.2f}",
    }),
    Table("effects of motion scores", "paper_tables", "differences", {
        "comparison": "{comparison}", "motion": "{motion:+.2g} ± {motion_error:.1g}",
        "accuracy": "{accuracy:+.2g} ± {accuracy_error:.1g}", "sharpness": "{sharpness:+.2g} ± {sharpness_error:.1g}",
        "distance": "{distance:+.2g} ± {distance_error:.1g}",
    }),
    Table("motion by score", "paper_tables", "ranked", {
        "motion score": "{score:.2f}", "measured motion": "{motion:.2f}", "accuracy": "{accuracy:.1%}",
    }),
    Table("loss by flow time", "paper_tables", "loss", {
        "t": "{start:.2f} to {end:.2f}", "1x2": "{1x2:.3f}", "2x2": "{2x2:.3f}", "2x4": "{2x4:.3f}",
    }),
    Table("audio targets", "audio", "targets", TARGETS),
    Table("audio timing", "audio", "timing", {
        "audio": "{audio}", "clips": "{clips}", "frame rate": "{rate}", "events": "{events}", "onsets": "{onsets}",
        "F1": "{f1:.3f}", "precision": "{precision:.3f}", "recall": "{recall:.3f}", "lag, ms": "{lag_ms:.1f}",
        "offset, ms": "{offset_ms:.1f}", "control F1": "{control_f1:.3f}",
    }),
    Table("audio materials", "audio", "materials", {
        "prompt": "{asked}", **{f"read as {name}": f"{{{name}:.1%}}" for name in ("bell", "wood", "drum", "unclear")},
    }),
    Table("audio of videos", "audio", "videos", {
        "video": "{video}", "AV-Align": "{av_align:.4g}", "onsets": "{onsets:.4g}", "silence": "{silence:.4g}",
        "onset F1": "{f1:.4g}", "accuracy": "{accuracy:.4g}", "AP": "{ap:.4g}", "lag, ms": "{lag_ms:.4g}",
        "envelope lag, ms": "{envelope_lag_ms:.4g}", "mel distance": "{mel:.4g}",
        "log-spectral distance, dB": "{lsd:.4g}",
    }),
    Table("audio of a set", "audio", "set", {"figure": "{figure}", "value": "{value:.4g}"}),
    Table("long audio", "audio_length", "rows", {
        "RoPE scaling": "{rope}", "onsets": "{onsets}", "F1": "{f1:.3f}", "precision": "{precision:.3f}",
        "recall": "{recall:.3f}", "lag, ms": "{lag_ms:.0f}",
    }),
    Table("image to video", "edit", "image_to_video", {
        "clip begins with": "{begins}", "first frame, dB": "{first:.1f}",
        "jump, pixels": "{jump:.1f} ± {jump_error:.1f}",
        **_shares("near", "accuracy", "direction"), "speed": "{speed:.2f}",
        "size change": "{size:.0%} ± {size_error:.0%}",
    }),
    Table("video to video", "edit", "video_to_video", {
        "strength": "{strength:g}", "starts at t": "{t:.3f}", **_shares("new", "kept", "direction"),
        "distance, pixels": "{distance:.1f} ± {distance_error:.1f}", "PSNR to source, dB": "{psnr:.1f}",
    }),
    Table("rope scaling", "extrapolation", "rows", {
        "RoPE scaling": "{rope}",
        "96x96": "{accuracy_96x96:.0%} ± {error_96x96:.0%}", "one object": "{one_96x96:.0%}",
        "128x128": "{accuracy_128x128:.0%} ± {error_128x128:.0%}", "one object ": "{one_128x128:.0%}",
        "64 frames": "{accuracy_64f:.0%} ± {error_64f:.0%}", "one object  ": "{one_64f:.0%}",
    }),
    Table("solver targets", "solvers", "targets", {
        "network and plan": "{case}", "target": "at most 0.5", "measured": "{share:.2f}", "met": "{met}",
    }),
    *(
        Table(f"solvers through switches, {case}", "solvers", f"cases/{case}", SOLVERS,
              {"times": "rational through switches"})
        for case in ("mini", "mini-MultiScale")
    ),
    *(Table(f"solvers, {case}", "solvers", f"cases/{case}", SOLVERS) for case in SOLVER_CASES),
)  # fmt: skip
TABLES = {table.name: table for table in _ALL}
