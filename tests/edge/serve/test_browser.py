"""The pages in a real browser: uploads, live views, accessibility, and what hostile names can do (nothing)."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import DATA, MODELS, age, picture
from tests.support.pages import NARROW, WIDE, Browser, browsing, require_browser, run, running, serving, shown, until
from tests.support.serving import Serving

MODEL = MODELS / "brightness_int8.tflite"
ATTACK = "<img src=x onerror=window.attacked=1>"
PAGES = {
    "try": "",
    "history": "history",
    "empty": "history?label=UNSURE",
    "cameras": "cameras",
    "status": "status",
    "missing": "nothing/at/all",
}
PHOTOS = sorted((DATA / "photos").glob("*/*"))


@pytest.fixture(scope="module", autouse=True)
def needed() -> None:
    require_browser()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a server: a ledger with hostile names, among them that of a camera, and a folder of frames."""
    folder = tmp_path_factory.mktemp("browser")
    inbox, frames = folder / "inbox", folder / "frames"
    inbox.mkdir()
    frames.mkdir()
    for photo in PHOTOS:
        age(Path(shutil.copyfile(photo, inbox / photo.name)))
    with Image.open(DATA / "photos" / "REAL" / "honey-bee.jpg") as opened:
        exif = opened.getexif()
        for tag in (0x010E, 0x010F, 0x0110, 0x0131):  # ImageDescription, Make, Model, Software
            exif[tag] = ATTACK
        opened.save(inbox / f"{ATTACK}.jpg", exif=exif)
    age(inbox / f"{ATTACK}.jpg")
    (inbox / f"{ATTACK}.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    age(inbox / f"{ATTACK}.png")
    run(folder, "watch", inbox, "--once", "--model", MODEL)
    # A camera reads a folder as fast as it can. Large pictures, each of them many times, keep it busy for minutes.
    originals = [picture(folder / f"{index}.jpg", (20, 120, 220)[index % 3], (4000, 3000), index) for index in range(6)]
    for index in range(3000):
        (frames / f"{index:04}.jpg").symlink_to(originals[index // 5 % 6])
    run(folder, "camera", "--source", frames, "--name", ATTACK, "--model", MODEL, "--max-frames", "20")
    return folder


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[Serving]:
    with serving(home, "--model", MODEL) as running_server:
        yield running_server


@pytest.fixture(scope="module")
def shared() -> Iterator[Browser]:
    with browsing() as browser:
        yield browser


@pytest.fixture
def browser(shared: Browser) -> Browser:
    """A wide, light window, whose console is empty."""
    shared.size(WIDE)
    shared.prefer("light")
    shared.open("about:blank")
    shared.messages()
    return shared


@pytest.fixture
def url(server: Serving) -> str:
    return f"{server.url}/"


def result(browser: Browser) -> str:
    """The label on the page of a result, waited for."""
    until(lambda: "/try/" in browser.driver.current_url, "no result", lambda: browser.text("body"))
    assert "closed" not in browser.text("#content")
    image = browser.one(".picture img")
    until(lambda: browser.script("return arguments[0].naturalWidth", image), "the picture is not shown")
    return browser.text(".label.large")


def assert_clean(browser: Browser) -> None:
    """Nothing was refused by the content security policy, and no script has failed."""
    found = [one for one in browser.messages() if "404" not in one]  # a page that is missing says so
    assert found == []


def test_picture_is_checked_as_soon_as_it_is_chosen(browser: Browser, url: str, dark: Path) -> None:
    browser.open(url)
    browser.one("#file").send_keys(str(dark))
    assert result(browser) == "Fake"
    percentages = [float(one.text.rstrip("%").lstrip("<>")) for one in browser.all(".bars strong")]
    assert percentages[0] > 50 > percentages[1]
    assert sum(percentages) == pytest.approx(100, abs=0.2)
    widths = [float(one.get_attribute("width")) for one in browser.all(".bars rect")]
    assert widths == pytest.approx(percentages, abs=0.2)
    assert_clean(browser)


def test_picture_is_checked_when_it_is_dropped(browser: Browser, url: str, bright: Path) -> None:
    browser.open(url)
    zone = browser.script(
        "const box = document.getElementById('upload').getBoundingClientRect(); return [box.x, box.y]"
    )
    data = {"items": [], "files": [str(bright)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        if kind == "drop":
            until(lambda: browser.all("#upload.is-over"), "the form does not show that a file hovers over it")
        event = {"type": kind, "x": zone[0] + 40, "y": zone[1] + 40, "data": data}
        browser.driver.execute_cdp_cmd("Input.dispatchDragEvent", event)
    assert result(browser) == "Real"
    assert_clean(browser)


def test_picture_is_checked_when_it_is_pasted(browser: Browser, url: str, dark: Path) -> None:
    browser.open(url)
    browser.script(
        """const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(arguments[0])], "image.png", {type: "image/png"}));
        document.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data, bubbles: true}));""",
        list(dark.read_bytes()),
    )
    assert result(browser) == "Fake"


def test_file_that_is_no_picture_is_refused_before_it_is_sent(browser: Browser, url: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    browser.open(url)
    browser.one("#file").send_keys(str(tmp_path / "a.txt"))
    until(lambda: browser.text("#upload-state") == "Please choose a picture.", "no message")
    assert browser.driver.current_url == url


def test_picture_is_checked_without_script(url: str, dark: Path) -> None:
    with browsing(with_script=False) as browser:
        browser.open(url)
        assert browser.driver.find_element("id", "upload-hint").is_displayed() is False
        browser.one("#file").send_keys(str(dark))
        browser.one("#upload button").click()
        until(lambda: "/try/" in browser.driver.current_url, "no result", lambda: browser.driver.page_source)
        assert browser.text(".label.large") == "Fake"
        browser.open(f"{url}history")
        assert len(browser.all("#answers li")) >= 10
        assert browser.one(".filters button").is_displayed()


def test_answer_appears_in_history_without_reloading(browser: Browser, url: str, home: Path) -> None:
    browser.open(f"{url}history")
    browser.script("window.marker = 'not reloaded'")
    before = [one.get_attribute("id") for one in browser.all("#answers li")]
    arrived = home / "arrived"
    arrived.mkdir(exist_ok=True)
    age(picture(arrived / "newcomer.png", 230, seed=4711))
    run(home, "watch", arrived, "--once", "--model", MODEL)
    until(lambda: "newcomer.png" in browser.texts("#answers li")[0], "the answer has not arrived")
    assert [one.get_attribute("id") for one in browser.all("#answers li")][1 : 1 + len(before)] == before[:23]
    assert browser.one("#announcement").get_attribute("textContent").endswith("new answer")
    assert browser.one("#announcement").get_attribute("aria-live") == "polite"
    assert browser.script("return window.marker") == "not reloaded"
    assert_clean(browser)


def test_live_view_moves_and_turns_grey_when_the_camera_goes(browser: Browser, url: str, home: Path) -> None:
    fingerprint = """const image = document.querySelector("[data-frame]"), canvas = document.createElement("canvas");
        if (!image || !image.naturalWidth) return "";
        canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
        canvas.getContext("2d").drawImage(image, 0, 0); return canvas.toDataURL();"""
    browser.open(f"{url}cameras")
    browser.script("window.marker = 'not reloaded'")
    with running(home, "camera", "--source", home / "frames", "--name", "porch", "--model", MODEL):
        until(lambda: browser.script(fingerprint), "no frame")
        frames, states = set(), set()

        def has_moved() -> bool:
            frames.add(browser.script(fingerprint))
            states.add(browser.script("return document.querySelector('.camera.live .bar strong')?.textContent"))
            return len(frames) >= 3 and len(states) >= 3

        until(has_moved, "the live view stands still")
        assert "live" in browser.text(".camera.live header")
        assert "ago" in browser.text(".camera.live .facts")
    until(lambda: not browser.all(".camera.live"), "the camera is still shown as live")
    assert browser.script("return window.marker") == "not reloaded"
    assert "Problem" not in browser.text("#summary")


def looks(browser: Browser) -> Iterator[str]:
    """Each combination of colour scheme and width, by its name."""
    for scheme in ("light", "dark"):
        for size in (WIDE, NARROW):
            browser.prefer(scheme)
            browser.size(size)
            yield f"{scheme}, {size[0]} pixels"


def require_accessible(browser: Browser, address: str) -> None:
    for look in looks(browser):
        browser.open(address)
        browser.one("h1")
        assert (found := browser.violations()) == [], f"{look}: {shown(found)}"
        width = browser.script("return [document.documentElement.scrollWidth, innerWidth]")
        assert width[0] <= width[1], f"{look}: scrolls sideways"


@pytest.mark.parametrize("name", PAGES)
def test_page_is_accessible(browser: Browser, url: str, name: str) -> None:
    require_accessible(browser, url + PAGES[name])
    assert_clean(browser)


@pytest.mark.parametrize("language", ["de", "es"])
def test_longer_words_fit_a_narrow_screen(browser: Browser, url: str, language: str) -> None:
    browser.size(NARROW)
    for path in PAGES.values():
        browser.open(f"{url}{path}{'&' if '?' in path else '?'}lang={language}")
        assert browser.one("html").get_attribute("lang") == language
        width = browser.script("return [document.documentElement.scrollWidth, innerWidth]")
        assert width[0] <= width[1], path
        assert browser.violations() == [], path
    browser.driver.delete_all_cookies()


def test_result_is_accessible(browser: Browser, url: str, dark: Path) -> None:
    browser.open(url)
    browser.one("#file").send_keys(str(dark))
    result(browser)
    require_accessible(browser, browser.driver.current_url)
    assert_clean(browser)


@pytest.mark.parametrize("label", ["REAL", "ERROR"])
def test_page_of_an_answer_is_accessible(browser: Browser, url: str, label: str) -> None:
    browser.open(f"{url}history?label={label}")
    address = browser.all("#answers a")[0].get_attribute("href")
    require_accessible(browser, address)
    assert_clean(browser)


def test_map_and_warning_are_accessible(browser: Browser, home: Path, tmp_path: Path) -> None:
    with serving(tmp_path) as bundled:
        for file in (DATA / "photos" / "FAKE" / "leopard.webp", picture(tmp_path / "small.png", size=(70, 50))):
            browser.size(WIDE)
            browser.open(f"{bundled.url}/")
            browser.one("#file").send_keys(str(file))
            result(browser)
            require_accessible(browser, browser.driver.current_url)
            if file.suffix == ".webp":
                browser.size(WIDE)
                assert browser.one(".map").is_displayed()
                browser.one("#show-map").click()
                assert not browser.one(".map").is_displayed()
            else:
                assert "Outside of what was measured" in browser.text(".warning")
    assert_clean(browser)


def test_page_for_signing_in_is_accessible_and_lets_in(browser: Browser, guarded: Serving) -> None:
    require_accessible(browser, f"{guarded.url}/status")
    assert browser.driver.current_url.endswith("/login?next=status")
    browser.one("#token").send_keys("wrong token")
    browser.one("form button").click()
    until(lambda: "That is not the token." in browser.text("#content"), "no message")
    browser.one("#token").send_keys(guarded.token)
    browser.one("form button").click()
    until(lambda: browser.driver.current_url.endswith("/status"), "not signed in")
    assert "Status" in browser.text("h1")


@pytest.mark.parametrize("name", ["try", "history", "cameras", "status"])
def test_controls_are_large_enough_for_a_finger(browser: Browser, url: str, name: str) -> None:
    browser.size(NARROW)
    browser.open(url + PAGES[name])
    browser.script("for (const one of document.querySelectorAll('details')) one.open = true;")
    small = browser.script(
        """const controls = "header a, nav a, footer a, button, select, input, summary, .choices label";
        return [...document.querySelectorAll(controls)]
        .filter((one) => one.offsetParent && getComputedStyle(one).opacity !== "0")
        .filter((one) => one.getBoundingClientRect().height < 43.5)
        .map((one) => one.outerHTML.slice(0, 120));"""
    )
    assert small == []


def test_keyboard_skips_to_the_content(browser: Browser, url: str) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.open(f"{url}history")
    browser.one("body").send_keys(Keys.TAB)
    focused = browser.driver.switch_to.active_element
    assert focused.get_attribute("class") == "skip"
    until(lambda: focused.location["y"] >= 0, "the link is not shown when it has the focus")
    focused.send_keys(Keys.ENTER)
    until(lambda: browser.script("return document.activeElement.id") == "content", "the focus is not in the content")


def test_hostile_name_of_a_running_camera_does_nothing(browser: Browser, url: str, home: Path) -> None:
    with running(home, "camera", "--source", home / "frames", "--name", ATTACK, "--model", MODEL):
        for path, selector in (("status", ".services"), ("cameras", ".camera.live")):
            browser.open(url + path)
            until(lambda path=selector: [one for one in browser.texts(path) if "window.attacked" in one], "no camera")
            assert browser.all("img[src='x']") == []
            assert browser.script("return window.attacked") is None
    assert_clean(browser)


@pytest.mark.parametrize("path", ["history", "cameras", "history?label=ERROR"])
def test_hostile_names_do_nothing(browser: Browser, url: str, path: str) -> None:
    browser.open(url + path)
    until(lambda: "onerror=window.attacked" in browser.text("#content"), "the name is not shown as text")
    if path.startswith("history"):
        for address in [one.get_attribute("href") for one in browser.all("#answers a") if "onerror" in one.text]:
            browser.open(address)
            assert "onerror=window.attacked" in browser.text("#content")
            assert browser.all("img[src='x']") == []
            assert browser.script("return window.attacked") is None
    assert browser.all("img[src='x']") == []
    assert browser.script("return window.attacked") is None
    assert_clean(browser)


def test_pages_work_below_a_base_path(browser: Browser, home: Path) -> None:
    with serving(home, "--model", MODEL, "--base-path", "/edge/detect") as below:
        browser.open(f"{below.url}/edge/detect")
        for name in ("History", "Cameras", "Status", "Try", "History"):
            browser.driver.find_element("link text", name).click()
            until(lambda name=name: name in browser.driver.title, f"{name} is not reached")  # type: ignore[misc]
        assert "/edge/detect/history" in browser.driver.current_url
        loaded = "return [...document.querySelectorAll('#answers img')].filter((one) => one.naturalWidth).length"
        until(lambda: browser.script(loaded) >= 5, "no thumbnails")
        browser.driver.find_element("link text", "Deutsch").click()
        until(lambda: browser.text("h1") == "Verlauf", "the language has not changed")
        browser.driver.delete_all_cookies()
        assert_clean(browser)
