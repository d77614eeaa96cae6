"""Links of the README and of docs/ lead somewhere from the site, too."""

import pytest

from scripts.docs_links import BLOB, relink


@pytest.mark.parametrize(
    "text, on_the_site",
    [
        ("[style](docs/style.md)", "[style](style.md)"),
        ("[a](docs/style.md#writing)", "[a](style.md#writing)"),
        ("![demo](docs/figures/demo.png)", "![demo](figures/demo.png)"),
        ("[license](LICENSE)", f"[license]({BLOB}LICENSE)"),
        ("[page](https://arxiv.org/abs/2502.06782)", "[page](https://arxiv.org/abs/2502.06782)"),
        ("[below](#install)", "[below](#install)"),
        ("[gone](docs/gone.md)", "[gone](docs/gone.md)"),
    ],
)
def test_links_of_the_readme(text, on_the_site):
    assert relink(text, "") == on_the_site


@pytest.mark.parametrize(
    "text, on_the_site",
    [
        ("[style](style.md)", "[style](style.md)"),
        ("![demo](figures/demo.png)", "![demo](figures/demo.png)"),
        ("[card](../lumina_core/bundles/mini/README.md)", f"[card]({BLOB}lumina_core/bundles/mini/README.md)"),
        ("[changes](../CHANGELOG.md)", f"[changes]({BLOB}CHANGELOG.md)"),
    ],
)
def test_links_of_a_page(text, on_the_site):
    assert relink(text, "docs") == on_the_site


def test_a_page_of_a_folder_links_to_the_pages_above_it():
    assert relink("[guide](../training.md)", "docs/api") == "[guide](../training.md)"


def test_images_of_the_repository_are_shown():
    image = "workflows/text_to_video.jpg"
    assert relink(f"![graph]({image})", "") == f"![graph]({BLOB}{image}?raw=true)"
