"""Shows every page with sample data: `python tests/e2e/gallery.py FOLDER [--shots] [--only NAME]`.

Writes static HTML and the static files to FOLDER and serves it on loopback, with the product's own
content security policy. With `--shots` it takes screenshots into FOLDER/shots instead, in a phone's and a
desk's width, light and dark, and fails on a console error or a page that is wider than its window.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from typing import Literal

from PIL import Image, ImageDraw
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parent.parent))

from view_samples import FRAGMENTS, SAMPLES
from vitrine_api.rendering import CONTENT_SECURITY_POLICY, STATIC
from vitrine_api.views import render

WINDOWS = {"desk": (1280, 900), "phone": (390, 844), "narrow": (320, 640)}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


class Pages(SimpleHTTPRequestHandler):
    """Serves the folder as the product would: with its policy, and without a log."""

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        super().end_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass

    def log_error(self, *args: object) -> None:
        pass


def write_pages(folder: Path) -> None:
    """Write each sample to `folder/NAME.html`, next to the static files and sample pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (view, context) in SAMPLES.items():
        (folder / f"{name}.html").write_text(render(view, context))
    links = "".join(f'<li><a href="{name}.html">{name}</a></li>' for name in SAMPLES)
    (folder / "index.html").write_text(f"<!doctype html><title>Gallery</title><ul>{links}</ul>")
    for name, (view, context) in FRAGMENTS.items():
        (folder / f"fragment-{name}.html").write_text(render(view, context))
    shutil.copytree(STATIC, folder / "static", dirs_exist_ok=True)
    write_pictures(folder / "samples")


def write_pictures(folder: Path) -> None:
    """Draw the pictures that the samples name."""
    folder.mkdir(exist_ok=True)
    for digit in range(6):
        picture = Image.new("L", (64, 64), 245)
        ImageDraw.Draw(picture).text((18, 4), str(digit), fill=20, font_size=52)
        picture.save(folder / f"digit-{digit}.png")
    (folder / "rows.csv").write_text(
        "day,rain,sun\n" + "".join(f"{day},0.{day},{9 - day}\n" for day in range(1, 10))
    )
    large = Image.linear_gradient("L").resize((640, 400))
    Image.merge("RGB", (large, large.rotate(180), large)).save(folder / "digit-large.png")


@contextmanager
def served(folder: Path, port: int = 0, pages: Callable[..., Pages] = Pages) -> Iterator[str]:
    """Serve `folder` on loopback while the block runs; gives its address."""
    server = ThreadingHTTPServer(("127.0.0.1", port), partial(pages, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def shoot(browser: Browser, address: str, target: Path, only: str) -> list[str]:
    """Take the screenshots and return what is wrong with the pages."""
    faults: list[str] = []
    for window, scheme in product(WINDOWS, SCHEMES):
        width, height = WINDOWS[window]
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        page = context.new_page()
        said = heard(page)
        for name in [name for name in SAMPLES if only in name]:
            said.clear()
            page.goto(f"{address}/{name}.html")
            page.evaluate("document.fonts.ready")
            excess = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            if excess > 0:
                faults.append(f"{name} ({window}): {excess} px too wide")
            faults += [f"{name} ({window}): {message.text}" for message in said if is_fault(message)]
            page.screenshot(path=target / f"{name}-{window}-{scheme}.png", full_page=True)
        context.close()
    return faults


def heard(page: Page) -> list[ConsoleMessage]:
    """Return a list that grows by what is said on the page's console."""
    said: list[ConsoleMessage] = []
    page.on("console", lambda message: said.append(message))  # noqa: PLW0108 - Playwright marks handlers, built-in methods take no marks
    return said


def is_fault(message: ConsoleMessage) -> bool:
    """Tell errors from what is only missing here: event streams and sample files."""
    missing = "404" in message.text or "[object Event]" in message.text
    return message.type == "error" and not missing


def main() -> None:
    """Write, then serve or shoot."""
    parser = argparse.ArgumentParser(description="Shows every page with sample data.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shots", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    write_pages(options.folder)
    with served(options.folder, options.port) as address:
        if not options.shots:
            print(address)
            threading.Event().wait()
        shots = options.folder / "shots"
        shots.mkdir(exist_ok=True)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-background-networking"]
            )
            faults = shoot(browser, address, shots, options.only)
            browser.close()
    print("\n".join(faults) or "no faults")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
