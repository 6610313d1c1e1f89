"""Takes the pictures of the showcase page that the documentation shows.

python tests/e2e/screenshots.py [DIR]    docs/images/showcase-{light,dark}-{desktop,phone}.png
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from browsers import DESKTOP, PHONE, chromium, visit
from stack_desk import EXAMPLES, REPOSITORY, StackDesk


async def take(stack: StackDesk, url: str, folder: Path) -> None:
    """Run a digit by the link in each look, and keep what is seen."""
    async with chromium() as browser:
        for scheme in ("light", "dark"):
            for name, viewport in (("desktop", DESKTOP), ("phone", PHONE)):
                options: dict[str, Any] = {"viewport": viewport, "color_scheme": scheme}
                async with visit(browser, stack.url, device_scale_factor=2, **options) as reviewer:
                    page = await reviewer.page(url)
                    await page.locator("input[type=file]").set_input_files(
                        EXAMPLES / "digits/samples/five.png"
                    )
                    await page.get_by_role("button", name="Run").click()
                    await page.locator("#result [data-run-state=succeeded]").wait_for()
                    await page.evaluate("document.fonts.ready.then(() => window.scrollTo(0, 0))")
                    await page.screenshot(
                        path=folder / f"showcase-{scheme}-{name}.png", full_page=name == "phone"
                    )


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else REPOSITORY / "docs/images"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        stack = StackDesk(Path(place))
        try:
            stack.start()
            _, version = stack.train(EXAMPLES / "digits")
            asyncio.run(take(stack, stack.share(version["reference"])["url"], folder))
        finally:
            stack.stop()


if __name__ == "__main__":
    main()
