"""The docs name every setting, route and error, and their links hold."""

import inspect
import json
import re
from pathlib import Path

import pytest

from heed_cli import settings
from shared import errors

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
API_PAGES = {"feedback_api": "docs/api.md", "reward_service": "docs/serving.md"}
ERRORS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if hasattr(kind, "code")]


def test_the_settings_page_is_what_the_code_reads():
    page = (ROOT / "docs/configuration.md").read_text()

    assert settings.markdown().strip() in page, "run: heed settings --markdown, paste it"


def test_every_setting_says_what_it_means():
    assert [s.variable for s in settings.known_settings() if len(s.meaning) < 15] == []


@pytest.mark.parametrize("service", API_PAGES)
def test_every_route_is_documented(service: str):
    page = (ROOT / API_PAGES[service]).read_text()
    paths = json.loads((ROOT / f"openapi/{service}.json").read_text())["paths"]
    routes = [f"{method.upper()} {path}" for path in paths for method in paths[path]]

    assert [route for route in routes if f"`{route}`" not in page] == []


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: e.__name__)
def test_every_error_code_is_documented(error: type[errors.HeedError]):
    assert f"`{error.code}`" in (ROOT / "docs/api.md").read_text()


def test_every_code_given_in_the_source_is_documented():
    """Codes that an error is given where it is raised, beside those of its class."""
    pages = "".join((ROOT / page).read_text() for page in set(API_PAGES.values()))
    given = re.compile(r"\bcode=\"([a-z_]+)\"")
    codes = {c for p in (ROOT / "services").rglob("*.py") for c in given.findall(p.read_text())}
    codes |= {c for p in (ROOT / "shared").rglob("*.py") for c in given.findall(p.read_text())}

    assert codes
    assert {code for code in codes if f"`{code}`" not in pages} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path):
    links = re.findall(r"\]\((?!https?:|mailto:)([^)#]+)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_make_target_in_the_readme_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert set(re.findall(r"`?make ([a-z-]+)", (ROOT / "README.md").read_text())) <= targets


@pytest.mark.parametrize("service", API_PAGES)
def test_the_committed_openapi_is_what_the_service_serves(service: str):
    from importlib import import_module

    document = import_module(f"services.{service}.openapi").document()

    assert document == json.loads((ROOT / f"openapi/{service}.json").read_text())
