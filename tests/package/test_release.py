"""A release needs a tag that names the version, and a dated entry in the changelog."""

import pytest
import yaml
from declared import ROOT

from scripts.check_release import problems

PYPROJECT = '[project]\nname = "lumina-video"\nversion = "1.2.3"\n'
CHANGELOG = "# Changelog\n\n## [Unreleased]\n\n## [1.2.3] - 2026-01-31\n\n### Added\n"


def test_a_tag_of_the_version_with_a_date_may_go_out():
    assert problems("v1.2.3", PYPROJECT, CHANGELOG) == []


@pytest.mark.parametrize("tag", ["1.2.3", "v1.2.4", "v1.2", "v1.2.3-rc1", ""])
def test_another_tag_is_refused(tag):
    (sentence,) = problems(tag, PYPROJECT, CHANGELOG)
    assert "v1.2.3" in sentence


@pytest.mark.parametrize(
    "heading", ["## [1.2.3] - unreleased", "## [1.2.3]", "## 1.2.3 - 2026-01-31", "## [1.2.30] - 2026-01-31"]
)
def test_a_version_without_a_date_is_refused(heading):
    (sentence,) = problems("v1.2.3", PYPROJECT, heading)
    assert "CHANGELOG.md" in sentence


def test_a_project_without_a_version_is_refused():
    (sentence,) = problems("v1.2.3", '[project]\ndynamic = ["version"]\n', CHANGELOG)
    assert "pyproject.toml" in sentence


def test_publishing_waits_for_a_tag_and_for_the_tests():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "publish.yml").read_text(encoding="utf-8"))
    # YAML 1.1 reads the key `on` as true.
    assert workflow[True] == {"push": {"tags": ["v*"]}}
    jobs = workflow["jobs"]
    assert jobs["tests"]["uses"] == "./.github/workflows/tests.yml" and jobs["tests"]["needs"] == "version"
    assert set(jobs["publish"]["needs"]) == {"version", "tests"}
    tests = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))
    assert "workflow_call" in tests[True]
