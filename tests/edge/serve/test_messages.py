"""The catalogue of texts: complete, used, and formatted as each language does."""

import re
import string

import pytest

from edge.serve import layout, messages
from edge.serve.messages import LANGUAGES, Messages, catalogue, preferred
from edge.verdict import Evidence, Verdict
from tests.conftest import CHECKOUT

SERVE = CHECKOUT / "edge" / "serve"
# A key in a template or module: t("a.b"), messages("a.b"), t.counted("a.b", ...), "a.b" chosen by a condition.
KEY = re.compile(
    r"""["']((?:{})(?:\.[a-z0-9_]+)*\.?)["']""".format("|".join(sorted({key.split(".")[0] for key in catalogue()})))
)


def used_keys() -> set[str]:
    """The keys of the catalogue that templates and modules use; those made at run time by their beginnings."""
    sources = [*SERVE.glob("templates/*.html"), *SERVE.glob("*.py"), SERVE / "messages" / "__init__.py"]
    text = "\n".join(path.read_text("utf-8") for path in sources).replace('(f"', '("').replace("{", '"')
    mentioned = set(KEY.findall(text))
    prefixes = tuple(name for name in mentioned if name.endswith("."))
    counted = {f"{name}.{number}" for name in mentioned for number in ("one", "many")}
    return {key for key in catalogue() if key in mentioned or key in counted or key.startswith(prefixes)}


def braces(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_every_text_exists_in_every_language() -> None:
    assert {key: sorted(texts) for key, texts in catalogue().items() if sorted(texts) != sorted(LANGUAGES)} == {}
    assert [key for key, texts in catalogue().items() if not all(text.strip() for text in texts.values())] == []


def test_every_text_is_used() -> None:
    assert set(catalogue()) - used_keys() == set()


def test_templates_use_no_unknown_text() -> None:
    called = re.compile(r"""\b(?:t|messages)\(\s*["']([a-z0-9_.]+)["']\s*[,)]""")
    found = {
        key
        for path in [*SERVE.glob("templates/*.html"), *SERVE.glob("*.py")]
        for key in called.findall(path.read_text("utf-8"))
    }
    assert len(found) > 50
    assert found - set(catalogue()) == set()


def test_values_are_the_same_in_every_language() -> None:
    for key, texts in catalogue().items():
        assert len({frozenset(braces(text)) for text in texts.values()}) == 1, key


def test_templates_contain_no_text_of_their_own() -> None:
    allowed = {"edge-detect", "API", "CSV", "JSON", "edge-detect watch", "edge-detect camera", "·", "←", "→", "-", ","}
    for path in SERVE.glob("templates/*.html"):
        markup = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", "\0", path.read_text("utf-8"), flags=re.S)
        texts = {part.strip(" \n\0←→·,") for part in re.split(r"<[^>]*>|\0", markup)}
        assert {text for text in texts if text} - allowed == set(), path.name


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("de", "de"),
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("fr-FR, es;q=0.7, en;q=0.3", "es"),
        ("fr, nl", "en"),
        ("en;q=0.2, de;q=0.9", "de"),
        ("ES-mx", "es"),
        ("de;q=0", "en"),
        ("*", "en"),
        ("de;q=x" + "," * 100_000, "en"),
    ],
)
def test_language_follows_the_browsers_wish(header: str, language: str) -> None:
    assert preferred(header) == language


def test_numbers_are_written_as_each_language_does() -> None:
    english, german = Messages("en"), Messages("de")
    assert english.number(12345.678, 1) == "12,345.7"
    assert german.number(12345.678, 1) == "12.345,7"
    assert (english.percent(0.973), german.percent(0.973)) == ("97.3%", f"97,3{messages.NO_BREAK}%")
    assert (english.percent(0.99999), english.percent(0.00001)) == (">99.9%", "<0.1%")
    assert english.size(12_345_678_901) == f"12.3{messages.NO_BREAK}GB"
    assert english.duration(0.0123) == f"12{messages.NO_BREAK}ms"
    assert german.duration(0.44) == f"0,4{messages.NO_BREAK}s"
    assert english.duration(7300) == f"2{messages.NO_BREAK}h"


def test_counts_have_singular_and_plural() -> None:
    english = Messages("en")
    assert english.counted("summary.answers", 1) == "1 answer"
    assert english.counted("summary.answers", 1234) == "1,234 answers"


def test_all_templates_compile() -> None:
    names = [path.name for path in SERVE.glob("templates/*.html")]
    assert len(names) >= 9
    for name in names:
        layout.ENVIRONMENT.get_template(name)


def test_links_lead_to_the_first_page_from_any_depth() -> None:
    assert [layout.root_of(path) for path in ("/", "/history", "/history/a-1", "/a/b/c")] == [
        "./",
        "./",
        "../",
        "../../",
    ]


def verdict_text(verdict: Verdict, language: str = "en") -> str:
    """What the pages show of a verdict."""
    source = '{% from "parts.html" import verdict_text with context %}{{ verdict_text(verdict) }}'
    return layout.ENVIRONMENT.from_string(source).render(t=Messages(language), verdict=verdict)


def verdict(*evidence: Evidence, label: str = "REAL", score: float = 0.9) -> Verdict:
    return Verdict("a.jpg", label, score > 0.5, score, max(score, 1 - score), None, 0.01, "m", provenance=evidence)


def test_evidence_is_shown_with_what_it_is_worth() -> None:
    text = verdict_text(
        verdict(
            Evidence("c2pa", "captured", "Pixel 10", verified=True),
            Evidence("iptc", "generated", detail="<b>", verified=False),
            Evidence("text", "edited", "GIMP", prompt="a <i>cat</i>"),
        )
    )
    assert [word in text for word in ("verified", "signature does not fit", "claimed, not checked")] == [True] * 3
    assert "Taken with Pixel 10" in text
    assert "Generated by a program" in text
    assert "Edited with GIMP" in text
    assert "&lt;b&gt;" in text
    assert "a &lt;i&gt;cat&lt;/i&gt;" in text
    assert "This does not change the percentages." in text


def test_verified_statement_that_decides_is_said_to_decide() -> None:
    evidence = Evidence("c2pa", "generated", "DALL-E", verified=True)
    assert "not the percentages" in verdict_text(verdict(evidence, label="FAKE", score=0.9))
    assert "not the percentages" not in verdict_text(verdict(evidence, label="FAKE", score=0.1))


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_of_a_later_version_are_shown_as_they_are(language: str) -> None:
    text = verdict_text(verdict(Evidence("<hologram>", "dreamed", "X"), label="BLURRED"), language)
    assert "&lt;hologram&gt;" in text
    assert "dreamed" in text
    assert "BLURRED" in text
