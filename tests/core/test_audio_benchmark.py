"""The sound benchmarks: their arithmetic on known sounds, and whole runs on random weights."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

from lumina_core.audio.files import mux, write_wav
from lumina_core.errors import LuminaError
from lumina_core.media.writer import write_video
from lumina_core.mini.audio_world import MATERIALS
from lumina_core.mini.world import combination, held_out
from scripts.make_tiny_audio import write_sound

from audio_case import click, tone  # isort: skip

ROOT = Path(__file__).parents[2]


def load_script(name):
    """A script as a module; what it needs on the path is there only while it loads."""
    path = list(sys.path)
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path[:] = path
    return module


@pytest.fixture(scope="module")
def script():
    return load_script("sound")


@pytest.fixture(scope="module")
def parts(script):
    """Its package `audio_parts`."""
    return sys.modules["audio_parts"]


@pytest.fixture
def run(monkeypatch, capsys):
    """run(script, *arguments): the script's lines, as from a command line."""
    threads = torch.get_num_threads()

    def call(script, *arguments):
        monkeypatch.setattr(sys, "argv", ["script.py", *map(str, arguments)])
        script.main()
        return capsys.readouterr().out.splitlines()

    yield call
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def voice(tmp_path_factory):
    return write_sound(tmp_path_factory.mktemp("voice"), seed=3)


@pytest.fixture(scope="module")
def clips(script, parts):
    return parts.voice.unseen_clips(6)


def test_clips_are_unseen_have_events_and_take_turns(clips, parts):
    assert all(held_out(combination(clip.scene.look)) for clip in clips)
    assert all(clip.times for clip in clips)
    assert [clip.fps for clip in clips] == [8.0, 25.0] * 3
    assert [clip.caption.isascii() for clip in clips] == [True, True, False, False, True, True]
    assert parts.voice.unseen_clips(6) == clips
    assert [len(clip.frames()) for clip in clips[:2]] == [32, 100]


def test_true_sounds_have_the_best_timing_and_another_clips_do_not(clips, parts):
    sounds = [clip.sound for clip in clips]
    right = parts.timing.timing(clips, sounds)
    assert {name: row["clips"] for name, row in right.items()} == {"8 fps": 3, "25 fps": 3, "all": 6}
    assert right["all"]["f1"] == right["8 fps"]["f1"] == 1
    assert right["all"]["lag_ms"] < 3
    assert right["all"]["shuffled_f1"] < 0.5
    # Where every sound is that of the next clip, the control is what fits.
    moved = parts.timing.timing(clips, sounds[1:] + sounds[:1])
    assert moved["all"]["shuffled_f1"] == 1
    assert moved["all"]["f1"] < 0.5


def test_late_sounds_have_that_lag(clips, parts):
    late = [torch.nn.functional.pad(clip.sound, (640, 0))[:, : clip.sound.shape[1]] for clip in clips]
    row = parts.timing.timing(clips, late)["all"]
    assert row["lag_ms"] == pytest.approx(40, abs=3)
    assert row["mean_lag_ms"] == pytest.approx(40, abs=3)
    assert row["f1"] > 0.9


def test_silence_has_no_timing(clips, parts):
    row = parts.timing.timing(clips, [torch.zeros(1, 64000)] * len(clips))["all"]
    assert (row["f1"], row["precision"], row["recall"], row["lag_ms"]) == (0, None, 0, None)


def test_each_stroke_is_asked_for_as_each_material_by_text_alone(clips, parts):
    asked = parts.timbre.asked_clips(clips)
    assert [clip.scene.material for clip in asked[:3]] == list(MATERIALS)
    for clip in asked:
        assert clip.scene.material in clip.caption or "wood" in clip.caption
        assert clip.scene.look.shape not in clip.caption and clip.scene.look.colour not in clip.caption
    assert torch.equal(asked[0].frames(), asked[1].frames())
    assert not torch.equal(asked[0].sound, asked[1].sound)


class Echo:
    """In place of a voice: the true sounds, or always that of one material; remembers its seeds."""

    def __init__(self, parts, material=None):
        self.parts, self.material, self.seeds = parts, material, None

    def sounds(self, clips, seeds, report):
        self.seeds = list(seeds)
        if self.material is None:
            return [clip.sound for clip in clips]
        return [self.parts.voice.with_material(clip, self.material, "").sound for clip in clips]

    def through_codec(self, sound):
        return sound


def test_a_voice_that_obeys_has_every_material_and_one_that_does_not_a_third(clips, parts):
    obeying, deaf = Echo(parts), Echo(parts, "drum")
    found = parts.timbre.timbre(obeying, clips[:3], lambda done: None)
    assert found["right"] == {"made": 1, "true": 1, "round_trip": 1}
    assert all(found["read"][name][name] == 1 for name in MATERIALS)
    # The same noise for the three materials of a clip.
    assert obeying.seeds[:6] == [0, 0, 0, 1, 1, 1]
    found = parts.timbre.timbre(deaf, clips[:3], lambda done: None)
    assert found["right"]["made"] == pytest.approx(1 / 3)
    assert found["read"]["bell"]["drum"] == 1


def test_a_sound_does_not_depend_on_its_batch(script, parts, voice, clips, monkeypatch):
    loaded = parts.voice.load_voice(voice, script.AudioPlan(steps=1, video_guidance=0, text_guidance=0))
    together = loaded.sounds(clips[:3])
    monkeypatch.setattr(parts.voice, "BATCH", 2)
    for sound, other in zip(together, loaded.sounds(clips[:3]), strict=True):
        torch.testing.assert_close(sound, other, atol=1e-4, rtol=1e-3)
    again = loaded.sounds([clips[2]], seeds=[2])
    torch.testing.assert_close(again[0], together[2], atol=1e-4, rtol=1e-3)
    assert loaded.through_codec(clips[0].sound).shape == clips[0].sound.shape


def test_a_whole_run_on_random_weights_writes_its_section(script, run, voice, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: the figure is not drawn")
    document = tmp_path / "results.md"
    document.write_text("# Before\n\ntext\n", encoding="utf-8")
    arguments = ("--mini", "--sound", voice, "--clips", 2, "--timbre-clips", 1, "--steps", 1, "--write", document)
    lines = run(script, *arguments)
    found = json.loads(lines[-1])
    assert {"onset_f1", "lag_ms", "shuffled_f1", "timbre"} <= set(found)
    assert isinstance(found["onset_f1"], float) and isinstance(found["timbre"], float)
    assert found["timing"]["true"]["all"]["f1"] == 1
    text = document.read_text(encoding="utf-8")
    assert text.startswith("# Before\n\ntext\n") and "## Sound" in text and text.endswith("-->\n")
    assert (tmp_path / "figures" / "sound.png").stat().st_size > 10_000
    run(script, *arguments)
    assert document.read_text(encoding="utf-8").count("## Sound") == 1


def test_a_section_is_replaced_and_nothing_else(parts, tmp_path):
    file = tmp_path / "results.md"
    section = parts.section
    begin, end = section.marks(section.SOUND)
    assert section.read_section(file) is None
    section.write_section(file, "one")
    assert file.read_text(encoding="utf-8") == f"{begin}\none\n{end}\n"
    file.write_text(f"before\n\n{section.read_section(file)}\n\nafter\n", encoding="utf-8")
    section.write_section(file, "two")
    assert file.read_text(encoding="utf-8") == f"before\n\n{begin}\ntwo\n{end}\n\nafter\n"


def test_the_papers_tables_keep_the_section(parts, tmp_path, monkeypatch):
    tables = load_script("paper_tables")
    file = tmp_path / "results.md"
    parts.section.write_section(file, "heard")
    parts.section.write_section(file, "large", parts.section.SIZE)
    section, document = parts.section.read_sections(file), tables.document
    # The tables themselves are not what this is about.
    for name in ("targets", "following", "table_2", "table_3", "figure_3"):
        monkeypatch.setattr(document.sections, name, lambda found: "table")
    monkeypatch.setattr(tables, "plot", lambda found, target: None)
    setup = dict.fromkeys(("parameters", "prompts", "motion_prompts", "rounds"), 1) | dict.fromkeys(
        ("command", "machine", "preset", "single", "combined_patch"), ""
    )
    tables.write_document({"setup": setup, "figure_3": {"clips": 1}}, file)
    text = file.read_text(encoding="utf-8")
    assert text.startswith("# Results") and text.count(section) == 1


@pytest.mark.parametrize(("f1", "shuffled", "met"), [(0.9, 0.4, True), (0.9, 0.5, False), (0.7, 0.1, False)])
def test_figures_are_said_to_be_met_only_if_they_are(parts, f1, shuffled, met):
    row = {"f1": f1, "shuffled_f1": shuffled, "lag_ms": 10.0}
    results = {"timing": {"generated": {"all": row}}, "materials": {"right": {"made": 1.0}}}
    assert ("**no**" not in parts.section.targets(results)) == met
    assert parts.section.headline(results)["timbre"] == 1.0


def test_a_silent_voice_meets_nothing(parts):
    row = {"f1": 0.0, "shuffled_f1": 0.0, "lag_ms": None}
    results = {"timing": {"generated": {"all": row}}, "materials": {"right": {"made": 0.0}}}
    assert parts.section.targets(results).count("**no**") == 4


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Results: one video whose clicks are 30 ms late, one with a tone; references beside them."""
    root = tmp_path_factory.mktemp("videos")
    results, references = root / "results", root / "references"
    results.mkdir()
    references.mkdir()
    silent = write_video(root / "silent.mp4", torch.rand(50, 64, 64, 3), 25.0).path
    late = click(0.53, 2.0) + click(1.23, 2.0)
    mux(silent, late, 16000, results / "clicks.mp4")
    mux(silent, tone(440, 2.0), 16000, results / "tone.mp4")
    write_wav(references / "clicks.wav", click(0.5, 2.0) + click(1.2, 2.0))
    write_wav(references / "tone.wav", tone(440, 2.0))
    return root


def test_a_folder_is_measured_beside_its_references(script, run, folders):
    lines = run(script, "--results", folders / "results", "--references", folders / "references")
    found = json.loads(lines[-1])
    clicks, even = found["videos"]["clicks.mp4"], found["videos"]["tone.mp4"]
    assert (clicks["f1"], clicks["accuracy"], clicks["ap"]) == (1, 1, 1)
    assert clicks["lag_ms"] == pytest.approx(30, abs=6)
    assert clicks["envelope_lag_ms"] == pytest.approx(30, abs=6)
    assert clicks["silence"] > 0.5 > even["silence"]
    assert (even["onsets"], even["f1"], even["accuracy"]) == (0, None, None)
    # AAC leaves the tone as it is.
    assert even["mel"] < clicks["mel"]
    assert found["mean"]["f1"] == 1 and found["set"]["onset_f1"] == 1
    assert found["set"]["mel_frechet"] > 0
    assert any("| tone.mp4" in line for line in lines) and any("| mean" in line for line in lines)


def test_a_folder_alone_has_what_needs_no_reference(script, run, folders):
    found = json.loads(run(script, "--results", folders / "results")[-1])
    assert set(found["mean"]) == {"av_align", "onsets", "silence"}


def test_wrong_folders_get_one_sentence(parts, folders, tmp_path):
    with pytest.raises(LuminaError, match="holds no file"):
        parts.folder.pairs(tmp_path, None)
    with pytest.raises(LuminaError, match=r"silent\.mp4 has no sound"):
        parts.folder.pairs(folders, None)
    write_wav(tmp_path / "clicks.wav", tone(440, 1.0))
    with pytest.raises(LuminaError, match="no reference named tone"):
        parts.folder.pairs(folders / "results", tmp_path)


@pytest.fixture(scope="module")
def listener(tmp_path_factory):
    """The folder of a tiny random ASTForAudioClassification."""
    from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

    folder = tmp_path_factory.mktemp("listener")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = ASTConfig(**sizes, max_length=128, num_mel_bins=32, num_labels=5, initializer_range=0.5)
    ASTForAudioClassification(config).save_pretrained(folder)
    ASTFeatureExtractor(num_mel_bins=32, max_length=128).save_pretrained(folder)
    return folder


def test_kl_is_nothing_for_the_same_sound_and_the_definition_for_another(parts, listener):
    from transformers import ASTFeatureExtractor, ASTForAudioClassification

    made, true = click(0.5, 1.0), tone(440, 1.0)
    assert parts.networks.kl_divergence(listener, [made, true], [made, true]) == pytest.approx(0, abs=1e-6)
    model = ASTForAudioClassification.from_pretrained(listener).eval()
    extract = ASTFeatureExtractor.from_pretrained(listener)

    def shares(wave):
        with torch.no_grad():
            return model(**extract(wave[0].numpy(), sampling_rate=16000, return_tensors="pt")).logits[0].softmax(-1)

    p, q = shares(true), shares(made)
    wanted = sum(float(a) * float((a / b).log()) for a, b in zip(p, q, strict=True))
    assert parts.networks.kl_divergence(listener, [made], [true]) == pytest.approx(wanted, rel=1e-4)


def test_embedding_frechet_tells_kinds_apart(parts, listener, random):
    clicks = [click(at, 1.0) for at in (0.2, 0.5, 0.8)]
    tones = [tone(hertz, 1.0) for hertz in (300, 440, 700)]
    assert parts.networks.embedding_frechet(listener, clicks, clicks) == pytest.approx(0, abs=1e-6)
    assert parts.networks.embedding_frechet(listener, clicks, tones) > 0.01


def test_a_folder_without_a_model_gets_one_sentence(parts, tmp_path):
    with pytest.raises(LuminaError, match=r"no config\.json"):
        parts.networks.kl_divergence(tmp_path, [tone(440, 1.0)], [tone(440, 1.0)])


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--mini", "--clips", 0),
        ("--results", "x", "--write", "y"),
        ("--results", "x", "--kl-weights", "y"),
        ("--mini", "--results", "x"),
    ],
)
def test_arguments_that_go_nowhere_are_refused(script, run, arguments):
    with pytest.raises(SystemExit) as stop:
        run(script, *arguments)
    assert stop.value.code == 2


def test_size_and_time_of_a_preset(run):
    size = load_script("sound_size")
    lines = run(
        size, "--preset", "tiny", "--seconds", 2, "--steps", 4, "--timed-steps", 2, "--threads", 1, "--device", "cpu"
    )
    found = json.loads(lines[-1])
    assert (found["nfe"], found["passes"], found["timed_steps"]) == (4, 12, 2)
    assert found["tokens"] == 25 * 2
    assert found["real_time_factor"] == pytest.approx(found["seconds"] / 2, rel=1e-3)
    assert any("2 of 4 steps timed" in line for line in lines)
