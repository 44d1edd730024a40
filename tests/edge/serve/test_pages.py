"""The pages as any browser gets them, also one without script."""

import gzip
import html
import json
import os
import re
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from edge.serve.messages import LANGUAGES, NO_BREAK
from tests.conftest import CHECKOUT, DATA, MODELS, age, picture
from tests.edge.serve.conftest import Start
from tests.support.pages import run, running, serving, until
from tests.support.serving import Answer, Serving, form

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "Accept-Encoding": "gzip, br"}
PAGES = ("/", "/history", "/cameras", "/status")
HOSTILE = "<img src=x onerror=alert(1)> & \"'.png"
BUDGET = 300_000  # bytes of the first view of a full history
PHOTOS = sorted((DATA / "photos").glob("*/*"))


def body(answer: Answer) -> bytes:
    return gzip.decompress(answer.body) if answer.headers["Content-Encoding"] == "gzip" else answer.body


def page(server: Serving, path: str, status: int = 200, **headers: str) -> str:
    answer = server.ask(path, headers=HTML | headers)
    assert answer.status == status, body(answer)[:500]
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    return body(answer).decode("utf-8")


class Addresses(HTMLParser):
    """Collects the addresses that a page names: links, and what it loads by itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        self.attributes.update(found)
        if tag in ("img", "script"):
            self.loaded.append(found.get("src") or "")
        elif tag == "link":
            self.loaded.append(found.get("href") or "")
        elif tag == "a":
            self.links.append(found.get("href") or "")
        elif tag == "form":
            self.links.append(found.get("action") or "")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server whose ledger has 30 answers, one of them an error."""
    home = tmp_path_factory.mktemp("filled")
    inbox = home / "inbox"
    inbox.mkdir()
    for index in range(28):
        age(picture(inbox / f"{index:02}.png", 20 if index % 2 else 230, seed=index), 200 - index)
    age(picture(inbox / HOSTILE, 230, seed=99))
    (inbox / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    age(inbox / "broken.png", 90)
    run(home, "watch", inbox, "--once", "--model", MODELS / "brightness_int8.tflite")
    with serving(home, "--model", MODELS / "brightness_int8.tflite") as server:
        yield server


@pytest.mark.parametrize("path", PAGES)
def test_every_page_shows_state_and_answers_of_today(filled: Serving, path: str) -> None:
    text = page(filled, path)
    assert "Nothing running" in text
    assert "30 answers" in text
    assert re.search(r"1[0-9] fakes", text)
    assert text.count('aria-current="page"') == 1
    assert text.count("<h1") == 1


@pytest.mark.parametrize("path", PAGES)
def test_pages_name_no_address_outside_of_the_board(filled: Serving, path: str) -> None:
    addresses = Addresses(page(filled, path))
    assert len(addresses.loaded) >= 4
    assert [one for one in addresses.links + addresses.loaded if re.match(r"[a-z]+:|/", one)] == []
    assert not {"style", "onclick", "onload", "onerror", "srcdoc"} & addresses.attributes
    assert "style" not in addresses.tags


def test_style_and_script_name_no_address_outside_of_the_board() -> None:
    static = CHECKOUT / "edge" / "serve" / "static"
    for path in (static / "edge-detect.css", static / "edge-detect.js"):
        assert not re.search(r"https?:|[\"'(]//|@import", path.read_text("utf-8"))
    own = re.findall(r"url\(([^)]*)\)", (static / "edge-detect.css").read_text("utf-8"))
    assert all((static / one.strip("\"'")).is_file() for one in own)
    assert "url(" not in (static / "pico.classless.min.css").read_text("utf-8")


def test_static_files_are_kept_until_they_change(filled: Serving) -> None:
    for address in Addresses(page(filled, "/")).loaded:
        answer = filled.ask("/" + address.removeprefix("./"), headers=HTML)
        assert answer.status == 200
        assert "immutable" in answer.headers["Cache-Control"]
        assert answer.headers["Content-Encoding"] == "gzip"
        again = filled.ask("/" + address.removeprefix("./"), headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status, again.body) == (304, b"")


def test_static_folder_has_nothing_else(filled: Serving) -> None:
    for path in (
        "/static/",
        "/static/nothing.css",
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/a/icon.svg/",
    ):
        assert filled.ask(path).status == 404
    assert filled.ask("/static/icon.svg", "POST").status == 405


def test_history_is_paged_from_the_newest_to_the_oldest_and_back(filled: Serving) -> None:
    first = page(filled, "/history")
    names = re.findall(r'<span class="name">(.*?)</span>', first)
    assert len(names) == 24
    assert 'rel="next"' in first
    assert 'rel="prev"' not in first
    older = html.unescape(re.search(r'href="history(\?[^"]*)" rel="next"', first)[1])  # type: ignore[index]
    second = page(filled, f"/history{older}")
    rest = re.findall(r'<span class="name">(.*?)</span>', second)
    assert len(rest) == 6
    assert not set(names) & set(rest)
    newer = html.unescape(re.search(r'href="history(\?[^"]*)" rel="prev"', second)[1])  # type: ignore[index]
    assert re.findall(r'<span class="name">(.*?)</span>', page(filled, f"/history{newer}")) == names
    assert "data-newest" in first
    assert "data-newest" not in second


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("label=FAKE", 14),
        ("label=REAL", 15),
        ("label=ERROR", 1),
        ("label=UNSURE", 0),
        ("since=2020-01-01T00:00", 24),
        ("until=2020-01-01T00:00", 0),
        ("since=&until=&label=&source=&provenance=", 24),
        ("source=nowhere", 0),
        ("provenance=generated", 0),
    ],
)
def test_filters_select_answers(filled: Serving, query: str, count: int) -> None:
    text = page(filled, f"/history?{query}")
    assert text.count('<li id="answer-') == count
    assert ("No answer fits these filters." in text) == (count == 0)


def test_source_filter_offers_the_watched_folder(filled: Serving) -> None:
    text = page(filled, "/history")
    (id_,) = re.findall(r'<option value="([0-9a-f]{16})">[^<]*inbox</option>', text)
    chosen = page(filled, f"/history?source={id_}")
    assert chosen.count('<li id="answer-') == 24
    assert f'<option value="{id_}" selected>' in chosen


@pytest.mark.parametrize(
    "query",
    ["before=x", "after=-1", "since=yesterday", "provenance=stars", "until=99999-01-01", "since=0001-01-01T00:00"],
)
def test_invalid_filter_shows_all_answers_with_a_remark(filled: Serving, query: str) -> None:
    text = page(filled, f"/history?{query}")
    assert ("This filter is not valid" in text) or query.startswith("since=0001")
    assert text.count('<li id="answer-') == 24


def test_history_exports_what_is_shown(filled: Serving) -> None:
    table = filled.ask("/history.csv?label=ERROR")
    assert table.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert table.headers["Content-Disposition"] == "attachment; filename=edge-detect.csv"
    assert len(table.body.decode().strip().splitlines()) == 2
    everything = filled.ask("/history.json").json
    assert len(everything) == 30
    assert [one["label"] for one in filled.ask("/history.json?label=FAKE").json] == ["FAKE"] * 14
    assert filled.ask("/history.json?before=1").status == 200
    assert filled.ask("/history.csv?since=x").status == 400


def test_answer_has_a_page_of_its_own(filled: Serving) -> None:
    keys = re.findall(r'href="\./history/([^"]+)"', page(filled, "/history?label=REAL"))
    text = page(filled, f"/history/{keys[0]}")
    assert "photograph taken with a camera" in text
    assert "brightness_int8" in text
    assert 'href="../api/v1/results/' in text
    jpeg = filled.ask(f"/history/{keys[0]}/picture")
    assert jpeg.headers["Content-Type"] == "image/jpeg"
    assert jpeg.body.startswith(b"\xff\xd8")


def test_error_has_a_page_that_shows_the_reason(filled: Serving) -> None:
    (key,) = re.findall(r'href="\./history/([^"]+)"', page(filled, "/history?label=ERROR"))
    text = page(filled, f"/history/{key}")
    assert "broken.png" in text
    assert 'class="label error"' in text
    assert filled.ask(f"/history/{key}/picture").status == 404


@pytest.mark.parametrize(
    "path", ["/history/x", "/history/00000000-1", "/try/nothing", "/a/b/c", "/try/x.jpg", "/history/x/picture"]
)
def test_unknown_address_has_an_error_page_for_browsers(filled: Serving, path: str) -> None:
    text = page(filled, path, 404)
    assert "<h1>Not found</h1>" in text
    style = next(one for one in Addresses(text).loaded if "edge-detect.css" in one)
    assert style.count("../") == path.count("/") - 1
    assert filled.ask(path).headers["Content-Type"] == "application/problem+json"


def test_errors_of_the_api_are_never_pages(filled: Serving) -> None:
    answer = filled.ask("/api/v1/results/x", headers=HTML)
    assert answer.status == 404
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_names_are_escaped_everywhere(filled: Serving) -> None:
    history = page(filled, "/history?label=REAL")
    assert "<img src=x" not in history
    assert html.escape(HOSTILE).replace("&#x27;", "&#39;").replace("&quot;", "&#34;") in history
    (key,) = [
        key
        for key, name in re.findall(r'href="\./history/([^"]+)".*?<span class="name">(.*?)</span>', history, re.S)
        if "onerror" in name
    ]
    answer = page(filled, f"/history/{key}")
    assert "<img src=x" not in answer
    assert "&lt;img src=x onerror=alert(1)&gt;" in answer


def check(server: Serving, name: str, content: bytes, **headers: str) -> Answer:
    data, sent = form(("image", name, content), ("photo", "", b""))
    return server.ask("/", "POST", data, HTML | sent | headers)


def test_upload_without_script_leads_to_its_result(filled: Serving, dark: Path) -> None:
    sent = check(filled, HOSTILE, dark.read_bytes())
    assert sent.status == 303
    where = "/" + sent.headers["Location"]
    assert re.fullmatch(r"/try/[\w-]{22}", where)
    text = page(filled, where)
    assert 'class="label fake large"' in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    assert "<img src=x" not in text
    verdict = filled.ask(f"{where}.json").json
    assert verdict["label"] == "FAKE"
    shown = filled.ask(f"{where}.jpg")
    assert shown.headers["Content-Type"] == "image/jpeg"
    percentages = [float(one) for one in re.findall(r"<strong>([0-9.]+)%</strong>", text)]
    assert percentages == [round((1 - verdict["score"]) * 100, 1), round(verdict["score"] * 100, 1)]


def test_photo_of_the_phone_is_taken_where_no_file_is_chosen(filled: Serving, bright: Path) -> None:
    data, sent = form(("image", "", b""), ("photo", "image.jpg", bright.read_bytes()))
    answer = filled.ask("/", "POST", data, HTML | sent)
    assert answer.status == 303
    assert 'class="label real large"' in page(filled, "/" + answer.headers["Location"])


def test_upload_of_nothing_asks_for_a_picture(filled: Serving) -> None:
    answer = check(filled, "", b"")
    assert answer.status == 422
    assert "Please choose a picture." in body(answer).decode()


def test_upload_that_is_no_image_gets_a_reason(filled: Serving) -> None:
    answer = check(filled, "a.jpg", b"this is no image")
    assert answer.status == 303
    text = page(filled, "/" + answer.headers["Location"])
    assert "No verdict:" in text
    assert '<svg class="map"' not in text


def test_upload_from_another_site_is_refused(filled: Serving, dark: Path) -> None:
    assert check(filled, "a.png", dark.read_bytes(), Origin="http://evil.example").status == 403


def test_image_outside_of_what_was_measured_is_warned_of(tmp_path: Path) -> None:
    server = Serving(tmp_path / "bundled").ready()  # with the bundled models, whose domains are known
    try:
        picture(tmp_path / "small.png", size=(70, 50))
        sent = check(server, "small.png", (tmp_path / "small.png").read_bytes())
        text = page(server, "/" + sent.headers["Location"])
        german = page(server, "/" + sent.headers["Location"], **{"Accept-Language": "de"})
        photo = check(server, "leopard.webp", (DATA / "photos" / "FAKE" / "leopard.webp").read_bytes())
        mapped = page(server, "/" + photo.headers["Location"])
    finally:
        server.kill()
    assert "Outside of what was measured" in text
    assert "This picture has 70 \N{MULTIPLICATION SIGN} 50 pixels" in text
    assert "Dieses Bild hat 70 \N{MULTIPLICATION SIGN} 50 Pixel" in german
    assert mapped.count("<rect x=") > 5
    assert "Outside of what was measured" not in mapped


def test_unsure_is_shown_as_what_it_is(tmp_path: Path) -> None:
    server = Serving(tmp_path / "bundled").ready()
    try:
        found = {}
        for photo in PHOTOS:
            sent = check(server, photo.name, photo.read_bytes())
            found[server.ask("/" + sent.headers["Location"] + ".json").json["label"]] = page(
                server, "/" + sent.headers["Location"]
            )
    finally:
        server.kill()
    assert "The network cannot tell." in found["UNSURE"]
    assert 'class="label unsure large"' in found["UNSURE"]
    assert "closer to:" in found["UNSURE"]
    assert "The network cannot tell." not in found["REAL"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_language_follows_the_browser_and_can_be_changed(filled: Serving, language: str) -> None:
    expected = {"en": "Is this picture real?", "de": "Ist dieses Bild echt?", "es": "¿Es real esta imagen?"}[language]
    text = page(filled, "/", **{"Accept-Language": f"{language}-XX,fr;q=0.5"})
    assert f'<html lang="{language}">' in text
    assert expected in html.unescape(text)
    changed = filled.ask(f"/history?label=REAL&lang={language}", headers=HTML)
    assert (changed.status, changed.headers["Location"]) == (303, "./history?label=REAL")
    cookie = changed.headers["Set-Cookie"].split(";")[0]
    assert expected in html.unescape(page(filled, "/", **{"Accept-Language": "fr", "Cookie": cookie}))


def test_unknown_language_changes_nothing(filled: Serving) -> None:
    assert '<html lang="en">' in page(filled, "/?lang=<script>", **{"Cookie": "edge_detect_language=../../etc"})


def test_german_numbers_have_a_comma(filled: Serving) -> None:
    text = page(filled, "/history", **{"Accept-Language": "de"})
    assert re.search(rf"[0-9],[0-9]{NO_BREAK}%", text)


def test_pages_work_below_a_base_path(start: Start) -> None:
    server = start("--base-path", "/edge/detect")
    bare = server.ask("/edge/detect", headers=HTML)
    assert (bare.status, bare.headers["Location"]) == (308, "detect/")
    for path in PAGES:
        for address in Addresses(page(server, f"/edge/detect{path}")).loaded:
            assert not address.startswith("/")
            assert server.ask("/edge/detect/" + address.removeprefix("./"), headers=HTML).status == 200
        page(server, path)  # a proxy may have removed the base path


def test_page_for_signing_in_takes_the_token(guarded: Serving) -> None:
    refused = guarded.ask("/history", headers=HTML)
    assert refused.status == 303
    login = page(guarded, "/login?next=history")
    assert "answers" not in login  # nothing of the board
    assert 'action="./login?next=history"' in login
    wrong = guarded.ask("/login?next=history", "POST", b"token=wrong", HTML)
    assert wrong.status == 401
    assert "That is not the token." in body(wrong).decode()
    right = guarded.ask("/login?next=history", "POST", f"token={guarded.token}".encode(), HTML)
    assert right.status == 303
    assert right.headers["Location"] == "/history"
    cookie = right.headers["Set-Cookie"].split(";")[0]
    text = page(guarded, "/history", Cookie=cookie)
    assert "Sign out" in text
    assert guarded.token not in text


def test_empty_board_has_pages_too(start: Start) -> None:
    server = start()
    assert "No picture has been checked yet." in page(server, "/history")
    assert "No camera is running." in page(server, "/cameras")
    assert "No answer has been recorded yet." in page(server, "/status")
    assert server.ask("/history.json").json == []


def test_damaged_ledger_is_reported_on_every_page_and_the_server_goes_on(start: Start, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "ledger.sqlite3").write_bytes(b"this is no database at all" * 1000)
    server = start("--state", state)
    for path in PAGES:
        assert 'class="state problem"' in page(server, path)
    assert "cannot be read now" in page(server, "/history")
    assert "ledger.sqlite3" in page(server, "/status")
    assert server.ask("/history.csv").status == 503


def test_first_view_of_a_full_history_fits_the_budget(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    turns = (None, Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM)
    for photo in PHOTOS:
        with Image.open(photo) as opened:
            for index, turn in enumerate(turns):
                image = opened.convert("RGB")
                path = inbox / f"{photo.stem}-{index}.jpg"
                (image if turn is None else image.transpose(turn)).save(path, quality=92)
                age(path)
    run(tmp_path, "watch", inbox, "--once")
    with serving(tmp_path) as server:
        answer = server.ask("/history", headers=HTML)
        addresses = set(Addresses(body(answer).decode()).loaded) | {"static/chevron.svg"}
        thumbnails = [one for one in addresses if "thumbnail" in one]
        assert len(thumbnails) == 24
        sizes = {"/history": len(answer.body)}
        for address in addresses:
            got = server.ask("/" + address.removeprefix("./"), headers=HTML)
            assert got.status == 200, address
            sizes[address] = len(got.body) + 300  # with its headers
    pictures = sum(size for address, size in sizes.items() if "thumbnail" in address)
    assert pictures > 24 * 3000, "the thumbnails show nothing"
    assert sum(sizes.values()) <= BUDGET, json.dumps(sizes, indent=1)


def test_status_shows_what_runs_and_its_last_error(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    model = MODELS / "brightness_int8.tflite"
    with serving(tmp_path, "--model", model) as server:
        with running(tmp_path, "watch", inbox, "--model", model):
            (inbox / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
            os.utime(inbox / "torn.png", (time.time() - 60,) * 2)
            until(lambda: "torn.png" in page(server, "/status"), "no error in Status")
            until(lambda: "All working" in page(server, "/status"), "the head does not change")
            text = page(server, "/status")
            assert "1 failed" in text
        until(lambda: "Nothing running" in page(server, "/status"), "the watcher is still shown")
