"""The sections of the performance document. What was not measured says so, whatever is missing."""

from __future__ import annotations

from performance import section
from tables.sections import prose, table

from . import figures

NOT_YET = "not yet measured"
COMMAND = "python benchmarks/gpu.py"
PATCHES = ("2x4", "2x2", "1x2")
SIZES = {"f16F64R512": "672x384, 64 frames", "f24F96R960": "1248x704, 96 frames"}


def gpu_section(result: dict, device: str) -> str:
    """``result`` is what gpu.py measured; {} gives the tables with nothing in them."""
    parts = [_targets(result), "### One network call", _calls(result, "eager"), _attention(result)]
    if result.get("skipped"):
        parts.append(prose("Left out for lack of time: " + "; ".join(result["skipped"]) + "."))
    return section("gpu", prose(_introduction(result)), *parts, command=COMMAND, device=device)


def compile_section(result: dict, device: str) -> str:
    """The same calls with compiled blocks."""
    note = result.get("compile_note") if result else None
    text = (
        "The blocks of the network compiled by torch.compile, one graph for a single item and one for more "
        "(`tests/core/test_compiling.py` counts them); values differ from eager by rounding."
    )
    parts = [prose(text), _calls(result, "compiled"), *([prose(f"Nothing is compiled: {note}")] if note else [])]
    return section("compile", *parts, command=COMMAND, device=device)


def _introduction(result: dict) -> str:
    peak = f"{result['matmul']['flops'] / 1e12:.0f} TFLOP/s" if result else NOT_YET
    weights = f"{result['figures']['weight_bytes'] / 1e9:.1f} GB" if result else NOT_YET
    return (
        "The released size with random weights in bf16. Measured in one call: the peak of bf16 matrix products "
        f"({peak}), and every figure below; weights: {weights}. Seconds of presets are those of one network call times "
        "the preset's counts, without text encoder and VAE. FLOPs are computed."
    )


def _targets(result: dict) -> str:
    rows = []
    for preset, size in SIZES.items():
        for kind in ("eager", "compiled"):
            row = _preset_row(result, preset, kind)
            ratio = figures.RATIO_TARGETS[preset]
            rows += [
                [f"multi-scale over single-scale, {size}, {kind}", f"at most {ratio}", _number(row, "ratio", 1, 3)],
                [f"seconds multi-scale, single-scale, {size}, {kind}", "",
                 f"{_number(row, 'multi_seconds', 1, 1)}, {_number(row, 'single_seconds', 1, 1)}"],
                [f"share of the matmul peak at 1x2, {size}, {kind}", f"at least {figures.SHARE_TARGET}",
                 _number(row, "share", 1, 2)],
            ]  # fmt: skip
        row = _preset_row(result, preset, "eager")
        for text, bound, name in (
            ("GB at the peak of the preset", figures.CARD, "peak_bytes"),
            ("GB, blocks from RAM", figures.SMALL_CARD, "streamed_bytes"),
        ):
            rows.append([f"{text}, {size}", f"at most {bound / 1e9:g}", _number(row, name, 1e9)])
    for kind in ("eager", "compiled"):
        seconds = result["figures"]["draft_seconds"] if result else {}
        rows.append([f"seconds of a draft (2x4 throughout, {SIZES[figures.DRAFT_PRESET]}), {kind}",
                     f"below {figures.DRAFT_TARGET:g}", _number(seconds, kind, 1, 2)])  # fmt: skip
    return table(["figure", "wanted", "found"], rows)


def _preset_row(result: dict, preset: str, kind: str) -> dict:
    presets = result["figures"]["presets"] if result else []
    return next((r for r in presets if (r["preset"], r["kind"]) == (preset, kind)), {})


def _calls(result: dict, kind: str) -> str:
    found = {(r["preset"], r["patch"], r["batch"]): r for r in result.get(kind, [])}
    peak = result["matmul"]["flops"] if result else None
    rows = []
    for preset, size in SIZES.items():
        for patch in PATCHES:
            for batch in (1, 2):
                row = found.get((preset, patch, batch), {})
                rate = row["flops"] / row["seconds"] if row else None
                rows.append([
                    size, patch, str(batch), _number(row, "seconds", 1, 3),
                    f"{rate / 1e12:.0f}" if rate else NOT_YET, f"{100 * rate / peak:.0f} %" if rate else NOT_YET,
                    _number(row, "peak_bytes", 1e9),
                ])  # fmt: skip
    return table(["clip", "patch size", "items", "seconds", "TFLOP/s", "of the peak", "GB at the peak"], rows)


def _attention(result: dict) -> str:
    if not result:
        return prose(f"Attention kernels at 1x2, {SIZES['f16F64R512']}: {NOT_YET}.")
    found = result["attention"]
    rates = ", ".join(f"{name} {rate / 1e12:.0f} TFLOP/s" for name, rate in found["flops"].items())
    faults = "".join(f"; {name}: {fault}" for name, fault in found["faults"].items())
    return prose(f"Attention over {found['tokens']} tokens: {rates}{faults}. The network uses {found['chosen']}; the "
                 f"fastest here is {found['best']}.")  # fmt: skip


def _number(row: dict, name: str, unit: float, digits: int = 1) -> str:
    value = row.get(name)
    return NOT_YET if value is None else f"{value / unit:.{digits}f}"
