"""Figures of a folder of videos with audio, and those that need a pretrained audio model."""

import pytest
import torch

from lumina_core.audio.files import mux, write_wav
from lumina_core.errors import LuminaError
from lumina_core.evaluation import video_folder
from lumina_core.evaluation.pretrained import embedding_frechet, kl_divergence
from lumina_core.media.writer import write_video

from audio_case import click, tone  # isort: skip


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


def test_a_folder_is_measured_against_its_references(folders):
    found = video_folder.measure(video_folder.pairs(folders / "results", folders / "references"))
    clicks, even, means = found["videos"]
    assert [row["video"] for row in found["videos"]] == ["clicks.mp4", "tone.mp4", "mean"]
    assert (clicks["f1"], clicks["accuracy"], clicks["ap"]) == (1, 1, 1)
    assert clicks["lag_ms"] == pytest.approx(30, abs=6)
    assert clicks["envelope_lag_ms"] == pytest.approx(30, abs=6)
    assert clicks["silence"] > 0.5 > even["silence"]
    assert (even["onsets"], even["f1"], even["accuracy"]) == (0, None, None)
    # AAC hardly changes the tone.
    assert even["mel"] < clicks["mel"]
    figures = {row["figure"]: row["value"] for row in found["set"]}
    assert means["f1"] == figures["onset F1"] == 1
    assert figures["mel Frechet distance"] > 0


def test_a_folder_alone_has_what_needs_no_reference(folders):
    found = video_folder.measure(video_folder.pairs(folders / "results", None))
    assert set(found) == {"videos"}
    assert set(found["videos"][-1]) == {"video", "av_align", "onsets", "silence"}


def test_wrong_folders_are_refused(folders, tmp_path):
    write_wav(tmp_path / "clicks.wav", tone(440, 1.0))
    for results, references, field, kind in (
        (tmp_path, None, "results", "missing"),
        (folders, None, "results", "value"),
        (folders / "results", tmp_path, "references", "missing"),
    ):
        with pytest.raises(LuminaError) as error:
            video_folder.pairs(results, references)
        assert (error.value.field, error.value.kind) == (field, kind)


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


def test_kl_is_nothing_for_the_same_sound_and_the_definition_for_another(listener):
    from transformers import ASTFeatureExtractor, ASTForAudioClassification

    made, true = click(0.5, 1.0), tone(440, 1.0)
    assert kl_divergence(listener, [made, true], [made, true]) == pytest.approx(0, abs=1e-6)
    model = ASTForAudioClassification.from_pretrained(listener).eval()
    extract = ASTFeatureExtractor.from_pretrained(listener)

    def shares(wave):
        with torch.no_grad():
            return model(**extract(wave[0].numpy(), sampling_rate=16000, return_tensors="pt")).logits[0].softmax(-1)

    p, q = shares(true), shares(made)
    wanted = sum(float(a) * float((a / b).log()) for a, b in zip(p, q, strict=True))
    assert kl_divergence(listener, [made], [true]) == pytest.approx(wanted, rel=1e-4)


def test_embedding_frechet_tells_kinds_apart(listener, random):
    clicks = [click(at, 1.0) for at in (0.2, 0.5, 0.8)]
    tones = [tone(hertz, 1.0) for hertz in (300, 440, 700)]
    assert embedding_frechet(listener, clicks, clicks) == pytest.approx(0, abs=1e-6)
    assert embedding_frechet(listener, clicks, tones) > 0.01


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(LuminaError) as error:
        kl_divergence(tmp_path, [tone(440, 1.0)], [tone(440, 1.0)])
    assert (error.value.field, error.value.kind) == ("weights", "missing")
