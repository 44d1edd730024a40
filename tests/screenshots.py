"""Make the screenshots of the pages for README and docs: `python -m tests.screenshots`.

A real server, a real watcher and a real camera on a folder of pictures run for it, with the sample images of tests/data
and the bundled models; a real browser takes the pictures.
"""

import io
import shutil
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image, ImageOps

from tests.conftest import CHECKOUT, DATA, age
from tests.support.pages import CHROMIUM, WIDE, Browser, browsing, run, running, serving, until

OUT = CHECKOUT / "docs" / "images"
MOST_BYTES = 120_000
COLOURS = (256, 192, 128, 96, 64, 48, 32)
FRAMES = 3000  # of a camera, which reads them as fast as it can
FRAMES_A_PICTURE = 40


def main() -> None:
    """Write the four files of docs/images."""
    if not shutil.which(CHROMIUM):
        sys.exit("screenshots need a browser: apt install chromium chromium-driver")
    home = Path(tempfile.gettempdir()) / "board"  # its name is in the pictures
    home.mkdir()
    try:
        _fill(home)
        with (
            serving(home) as server,
            running(home, "watch", home / "inbox"),
            running(home, "camera", "--source", home / "porch", "--name", "porch", "--snapshots", home / "events"),
            running(home, "camera", "--source", home / "garden", "--name", "garden"),
            browsing() as browser,
        ):
            OUT.mkdir(exist_ok=True)
            _shoot(browser, f"{server.url}/")
    finally:
        shutil.rmtree(home)


def _fill(home: Path) -> None:
    """Make the watched folder, answered, and the frames of two cameras."""
    inbox = home / "inbox"
    inbox.mkdir()
    photos = sorted((DATA / "photos").glob("*/*"))
    # First come the newest: a few photos, and thumbnails.
    shown = [*photos[1::2], *sorted((DATA / "cifake" / "test").glob("*/*"))]
    for number, original in enumerate(reversed(shown)):
        name = original.name.replace(" ", "-").replace("(", "").replace(")", "")
        age(Path(shutil.copyfile(original, inbox / name)), 300)
        if number >= len(shown) - 12:  # one by one: this is their order in the history
            run(home, "watch", inbox, "--once")
    for name, kind in (("porch", "FAKE"), ("garden", "REAL")):
        (home / name).mkdir()
        chosen = [_film(photo, home) for photo in photos if photo.parent.name == kind]
        for index in range(FRAMES):
            photo = chosen[index // FRAMES_A_PICTURE % len(chosen)]
            (home / name / f"{index:04}.jpg").symlink_to(photo)


def _film(photo: Path, home: Path) -> Path:
    """A photo as a camera of 8 megapixels would take it."""
    path = home / f"{photo.stem}.jpg"
    with Image.open(photo) as opened:
        ImageOps.fit(opened.convert("RGB"), (3840, 2160)).save(path)
    return path


def _shoot(browser: Browser, url: str) -> None:
    browser.open(f"{url}status")
    until(lambda: len(browser.all(".services article")) == 4, "not all of them run")
    time.sleep(4)  # the head is that old
    browser.open(url)
    browser.one("#file").send_keys(str(DATA / "photos" / "FAKE" / "living-room.webp"))
    until(lambda: "/try/" in browser.driver.current_url, "no result")
    _save(browser, "try")
    for name in ("history", "cameras", "status"):
        browser.open(url + name)
        time.sleep(3)  # for the cameras' probabilities, and thumbnails that are still being made
        until(
            lambda: browser.script("return [...document.images].every((one) => one.complete)"), "pictures are missing"
        )
        _save(browser, name)


def _save(browser: Browser, name: str) -> None:
    browser.size(WIDE)
    time.sleep(0.5)
    with Image.open(io.BytesIO(browser.driver.get_screenshot_as_png())) as opened:
        shot = opened.convert("RGB")
    for colours in COLOURS:
        data = io.BytesIO()
        few = shot.quantize(colours, method=Image.Quantize.MEDIANCUT, kmeans=2, dither=Image.Dither.NONE)
        few.save(data, "PNG", optimize=True)
        if data.tell() <= MOST_BYTES:
            break
    (OUT / f"{name}.png").write_bytes(data.getvalue())
    print(f"{name}.png: {data.tell()} bytes, {colours} colours")


if __name__ == "__main__":
    main()
