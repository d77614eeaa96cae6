"""The command line as a user meets it: help, tables, a file, and errors of one line."""

import json
import re
import runpy
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch

from lumina_core import PRESETS, LuminaError
from lumina_core.cli import COMMANDS, build_parser, main
from lumina_core.cli.progress import Progress
from lumina_core.cost.flops import plan_cost
from lumina_core.cost.summary import cost_outline
from lumina_core.media.writer import read_metadata
from lumina_core.network.config import VideoConfig
from lumina_core.runtime.oom import OUT_OF_MEMORY, OutOfMemory
from lumina_core.sampling.presets import preset_clip
from lumina_core.version import __version__, read_version

ROOT = Path(__file__).parents[2]


@pytest.fixture
def flags(tiny_set, tmp_path):
    """Flags of a quick run of `generate`; more flags go behind them."""
    models = ["--checkpoint", tiny_set.model, "--text-encoder", tiny_set.text, "--vae", tiny_set.vae]
    clip = ["--width", "64", "--height", "32", "--frames", "8", "--device", "cpu", "--points", "4", "--time-shift", "1"]
    (tmp_path / "out").mkdir()
    out = ["--out", tmp_path / "out" / "clip.mp4"]
    return [str(part) for part in ["generate", *models, "--prompt", "a cat", *clip, *out]]


def last_line(text):
    return text.splitlines()[-1]


def test_generate_writes_a_clip_and_says_so_on_the_last_line(flags, tmp_path, capsys):
    assert main(flags) == 0
    out, err = capsys.readouterr()
    file = tmp_path / "out" / "clip.mp4"
    about, path = out.splitlines()
    assert re.fullmatch(r"64x32, 8 frames at 24 fps, seed 0, \d+\.\d s, NFE 3 \(4 network passes\)", about)
    assert path == str(file) and file.is_file() and list(file.parent.iterdir()) == [file]
    for words in ("encoding the prompts", "step 3 of 3, not guided", "100%"):
        assert words in err


def test_single_flags_change_the_preset(flags, capsys):
    changes = {
        "patch": "2x2 | 0.5: 1x2",
        "guidance": "3 | 0.7: 0",
        "motion": "none",
        "negative_motion": "-1 | 0.5: 2",
        "renorm": "1.5",
        "time_shift": "2",
        "points": "5",
        "solver": "midpoint",
    }
    extra = [part for name, text in changes.items() for part in (f"--{name.replace('_', '-')}", text)]
    assert main([*flags, *extra, "--fps", "12.5", "--seed", "9", "--preset", "f16F64R512"]) == 0
    line, path = capsys.readouterr().out.splitlines()
    told = json.loads(read_metadata(path)["lumina_video"])
    plan = PRESETS["f16F64R512"].replace(**{**changes, "renorm": 1.5, "time_shift": 2.0, "points": 5})
    assert told["plan"] == plan.as_dict()
    assert (told["seed"], told["fps"]) == (9, 12.5)
    assert "8 frames at 12.5 fps" in line and "NFE 8" in line


def test_a_trained_size_makes_positions_scale(flags, capsys):
    given = ["--rope", "time", "--proportional", "--train-size", "32x32x8", "--points", "3"]
    assert main([*flags, *given]) == 0
    told = json.loads(read_metadata(last_line(capsys.readouterr().out))["lumina_video"])
    assert (told["plan"]["rope"], told["plan"]["proportional"], told["train_size"]) == ("time", True, [32, 32, 8])


def test_a_budget_chooses_the_schedule(flags, capsys):
    assert main([*flags, "--budget", "0.7", "--points", "9"]) == 0
    told = json.loads(read_metadata(last_line(capsys.readouterr().out))["lumina_video"])
    assert told["plan"]["patch"].startswith("2x4 | ") and told["plan"]["patch"].endswith(": 1x2")


def test_size_and_rate_default_to_the_presets():
    parser = build_parser()
    from lumina_core.cli.options import size_from

    for name in PRESETS:
        arguments = parser.parse_args(["plan", "--preset", name])
        assert size_from(arguments) == preset_clip(name).size
    assert size_from(parser.parse_args(["plan", "--frames", "1"])).frames == 1


def test_an_image_goes_to_a_png(flags, tmp_path, capsys):
    target = tmp_path / "out" / "picture.png"
    assert main([*flags, "--frames", "1", "--patch", "1x2", "--out", str(target)]) == 0
    about, path = capsys.readouterr().out.splitlines()
    assert about.startswith("64x32, image, ") and path == str(target)


def test_a_long_prompt_is_cut_and_said_so(flags, capsys):
    assert main([*flags, "--prompt", "cat " * 10_000]) == 0
    assert re.search(r"^note: The prompt is too long: its last \d+ tokens were cut;", capsys.readouterr().err, re.M)


def test_an_empty_prompt_is_fine(flags, capsys):
    assert main([*flags, "--prompt", ""]) == 0
    assert "note:" not in capsys.readouterr().err


BAD_FLAGS = [
    (["--patch", "2x4 | 0.3 2x2"], ["patch schedule", "Segment 2", "t: value"]),
    (["--patch", "2x4 | 0.3: 2x2 | 0.2: 1x2"], ["patch schedule", "Segment 3", "rising order"]),
    (["--guidance", "9 | 1.5: 0"], ["guidance schedule", "1.5", "between 0"]),
    (["--motion", "fast"], ["motion schedule", "'fast'", "number"]),
    (["--patch", "8x8"], ["8x8", "1x2, 2x2, 2x4"]),
    (["--width", "56"], ["width is 56", "multiple of 32"]),
    (["--width", "72", "--patch", "1x2"], ["width is 72", "multiple of 16"]),
    (["--height", "48"], ["height is 48", "multiple of 32"]),
    (["--frames", "12"], ["frames is 12", "multiple of 8"]),
    (["--frames", "0"], ["frames is 0", "1 for an image"]),
    (["--frames", "9999992"], ["9999992 frames", "4194304"]),
    (["--width", "many"], ["--width", "'many'", "whole number"]),
    (["--rope", "yarn"], ["rope is 'yarn'", "interpolate, ntk, frequency, time, time-step"]),
    (["--rope", "time"], ["does not say what size it was trained on"]),
    (["--train-size", "64x32"], ["--train-size", "'64x32'", "1248x704x96"]),
    (["--renorm", "x"], ["--renorm", "'x'", "number"]),
    (["--points", "1"], ["points is 1", "at least 2"]),
    (["--time-shift", "-3"], ["time_shift is -3", "above 0"]),
    (["--solver", "heun"], ["solver is 'heun'", "heun2"]),
    (["--solver", "adams3", "--points", "3"], ["solver is 'adams3' and points is 3", "at least 4 points"]),
    (["--times", "0, 0.5, 0.4, 1"], ["times lists 0.4 after 0.5", "rising order"]),
    (["--times", "cosine"], ["times is 'cosine'", "rational, linear, sigmoid"]),
    (["--preset", "f24"], ["preset is 'f24'", "f24F96R960-MultiScale"]),
    (["--budget", "3"], ["budget is 3"]),
    (["--budget", "0.0001"], ["budget is 0.0001", "at least"]),
    (["--budget", "0.5", "--patch", "1x2"], ["--budget", "--patch", "only one"]),
    (["--checkpoint", "absent"], ["--checkpoint 'absent' does not exist"]),
    (["--text-encoder", "absent"], ["--text-encoder 'absent' does not exist"]),
    (["--vae", "absent"], ["--vae 'absent' does not exist"]),
    (["--out", "absent/clip.mp4"], ["folder absent", "does not exist"]),
    (["--out", "clip.gif"], ["clip.gif", ".mp4"]),
    (["--device", "tpu"], ["device is 'tpu'"]),
    (["--dtype", "int8"], ["dtype is 'int8'"]),
    (["--seed", "-4"], ["seed is -4"]),
    (["--fps", "0"], ["fps is 0"]),
    (["--vae-tile", "2"], ["tile is 2"]),
    (["--promptes", "x"], ["Unrecognized arguments: --promptes x", "--help"]),
]


@pytest.mark.parametrize(("extra", "words"), BAD_FLAGS, ids=lambda value: " ".join(value))
def test_bad_flags_end_in_one_line(flags, tmp_path, capsys, monkeypatch, extra, words):
    monkeypatch.chdir(tmp_path)
    assert main([*flags, *extra]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ") and err.count("\n") == 1, err
    for word in words:
        assert word in err, err
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("missing", ["--checkpoint", "--text-encoder", "--vae", "--prompt"])
def test_required_flags_are_named(flags, capsys, missing):
    at = flags.index(missing)
    assert main(flags[:at] + flags[at + 2 :]) == 2
    assert f"required: {missing}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt, OSError(28, "No space left on device"), LuminaError("It failed.")]
)
def test_a_run_that_breaks_off_leaves_nothing(flags, tmp_path, capsys, monkeypatch, error):
    def breaking(*_):
        raise error

    monkeypatch.setattr(Progress, "step", breaking)
    status = main(flags)
    err = last_line(capsys.readouterr().err)
    expected = {KeyboardInterrupt: (130, "Interrupted; nothing was written.")}.get(error)
    if expected is None:
        expected = (2, "error: It failed.") if isinstance(error, LuminaError) else (1, f"error: {error}")
    assert (status, err) == expected
    assert list((tmp_path / "out").iterdir()) == []


def test_plan_prints_what_the_preset_costs(capsys):
    assert main(["plan"]) == 0
    out = capsys.readouterr().out
    rows = [line.split("  ") for line in out.splitlines() if " %" in line]
    assert len(rows) == 4
    assert re.search(r"2x4\s+0\.0000 - 0\.0311\s+1 - 30 \(30\)\s+10296\s+yes\s+60\s+5\.0 %", out)
    assert "total 0.282 of a constant 1x2, 63.2 PFLOP, NFE 69 (129 network passes)" in out.splitlines()


def test_plan_tells_options_only_where_they_are_used(capsys):
    assert main(["plan"]) == 0
    assert "cache" not in capsys.readouterr().out
    assert main(["plan", "--cache", "0.2"]) == 0
    assert "solver           euler\ncache            0.2\n" in capsys.readouterr().out


@pytest.mark.parametrize("solver, nfe", [("euler", 3), ("adams3", 3), ("midpoint", 6), ("heun3", 9), ("rk4", 12)])
def test_plan_counts_the_evaluations_of_a_solver_on_listed_times(capsys, solver, nfe):
    times = "0, 0.1, 0.4, 1"
    assert main(["plan", "--guidance", "0", "--solver", solver, "--times", times]) == 0
    out = capsys.readouterr().out
    assert f"points           4\nsolver           {solver}\ntimes            {times}\n" in out
    assert f"NFE {nfe} ({nfe} network passes)" in out
    assert main(["plan", "--guidance", "0", "--solver", solver, "--times", times, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["nfe"] == nfe


def test_plan_as_json_says_the_same(capsys):
    assert main(["plan", "--preset", "f16F64R512-MultiScale", "--solver", "rk4", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    plan = PRESETS["f16F64R512-MultiScale"].replace(solver="rk4")
    cost = plan_cost(plan, preset_clip("f16F64R512").size.latent(), VideoConfig())
    assert (data["nfe"], data["passes"], data["flops"]) == (cost.nfe, cost.passes, cost.flops)
    assert data["relative"] == cost.relative
    assert data["plan"] == plan.as_dict() and data["latent"] == [16, 48, 84]
    assert {name: data[name] for name in cost_outline(cost)} == cost_outline(cost)
    assert sum(s["share"] for s in data["segments"]) == pytest.approx(1)


def test_plan_proposes_for_a_budget(capsys):
    assert main(["plan", "--budget", "0.3", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert 0.28 < data["relative"] <= 0.3
    assert main(["plan", "--patch", data["plan"]["patch"], "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == data


def test_plan_counts_for_a_checkpoint(tiny_set, capsys):
    sizes = ["--width", "64", "--height", "64", "--frames", "16", "--json"]
    assert main(["plan", "--checkpoint", str(tiny_set.model), *sizes]) == 0
    tiny = json.loads(capsys.readouterr().out)
    assert main(["plan", *sizes]) == 0
    released = json.loads(capsys.readouterr().out)
    assert tiny["flops"] < released["flops"] / 1000
    assert tiny["nfe"] == released["nfe"]


@pytest.mark.parametrize("command", [module.NAME for module in COMMANDS])
def test_help_explains_every_flag(command, capsys):
    with pytest.raises(SystemExit) as leaving:
        main([command, "--help"])
    assert leaving.value.code == 0
    text = capsys.readouterr().out
    assert f"lumina-video {command}" in text and "example" in text
    parser = build_parser()._subparsers._group_actions[0].choices[command]
    for action in parser._actions:
        assert action.help, f"{action.option_strings} has no help"


def test_version_is_that_of_pyproject():
    declared = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    assert declared[1] == __version__


def test_version_of_an_installed_package_comes_from_its_metadata(tmp_path, monkeypatch):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "another"\nversion = "9.9.9"\n', encoding="utf-8")
    monkeypatch.setattr("lumina_core.version.version", lambda name: {"lumina-video": "1.2.3"}[name])
    assert read_version(tmp_path) == "1.2.3"


def test_version_of_a_bare_copy_is_unknown(tmp_path, monkeypatch):
    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("lumina_core.version.version", absent)
    assert read_version(tmp_path) == "unknown"


@pytest.mark.slow
def test_the_module_runs_as_a_program(flags, tmp_path):
    command = [sys.executable, "-m", "lumina_core", *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)  # noqa: S603
    assert done.returncode == 0, done.stderr
    file = Path(last_line(done.stdout))
    assert file == tmp_path / "out" / "clip.mp4" and file.is_file()


def test_the_program_ends_with_the_status_of_the_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["", "plan", "--width", "50"])
    monkeypatch.delitem(sys.modules, "lumina_core.__main__", raising=False)
    with pytest.raises(SystemExit) as end:
        runpy.run_module("lumina_core", run_name="__main__")
    out, error = capsys.readouterr()
    assert (end.value.code, out) == (2, "")
    assert error.startswith("error: width is 50") and error.count("\n") == 1


@pytest.mark.parametrize(("error", "words"), [
    (OutOfMemory("The network ran out of memory.", kind="resource"), "The network ran out of memory."),
    (torch.OutOfMemoryError("CUDA out of memory."), OUT_OF_MEMORY),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory"), OUT_OF_MEMORY),
])  # fmt: skip
def test_out_of_memory_is_one_sentence_and_status_1(monkeypatch, capsys, error, words):
    def fail(arguments):
        raise error

    monkeypatch.setattr("lumina_core.cli.plan.run", fail)
    assert main(["plan"]) == 1
    assert capsys.readouterr().err == f"error: {words}\n"


def test_other_faults_of_the_program_are_not_hidden(monkeypatch):
    def fail(arguments):
        raise RuntimeError("a bug")

    monkeypatch.setattr("lumina_core.cli.plan.run", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["plan"])
