"""Draw the pictures of the README: the page in Chromium, with a recording as its microphone.

    python examples/captions/screenshots.py

Needs `playwright` and a Chromium on the path. The texts come from scripts.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
from pathlib import Path
from typing import Any

from aiohttp import web
from playwright.async_api import async_playwright

from asr_async import Client, DashScope, Gummy, Paraformer
from asr_async.emulator import Scripted, serve
from asr_async.vendors.options import Options
from caption_server import application

FOLDER = Path(__file__).parent
RECORDING = FOLDER.parent / "audio" / "demo.wav"
ENGLISH = Scripted(
    [
        ("Please call me back tomorrow morning at nine o'clock.", 200, 3_200),
        ("What is the weather going to be like today?", 4_100, 7_500),
    ]
)
GERMAN = Scripted(
    [
        {
            "text": "Bitte rufen Sie mich morgen früh um neun Uhr zurück.",
            "start_ms": 200,
            "end_ms": 3_200,
            "translations": {"en": "Please call me back tomorrow morning at nine o'clock."},
        },
        {
            "text": "Wie wird das Wetter heute in Hamburg?",
            "start_ms": 4_100,
            "end_ms": 7_500,
            "translations": {"en": "What is the weather going to be like in Hamburg today?"},
        },
    ]
)
ARGUMENTS = [
    "--no-sandbox",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    f"--use-file-for-fake-audio-capture={RECORDING}",
]


async def draw(name: str, script: Scripted, options: Options, **screen: Any) -> None:
    """Open the page, let it listen until the middle of the second sentence, and keep a picture of it."""
    async with contextlib.AsyncExitStack() as stack:
        emulator = await stack.enter_async_context(serve(script))
        client = await stack.enter_async_context(Client(DashScope("any", endpoint=emulator.dashscope_url)))
        runner = web.AppRunner(application(client, options))
        stack.push_async_callback(runner.cleanup)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        playwright = await stack.enter_async_context(async_playwright())
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        stack.push_async_callback(browser.close)
        page = await browser.new_page(**screen)
        await page.goto(f"http://127.0.0.1:{runner.addresses[0][1]}/#lecture")
        await page.get_by_role("button", name="Start").click()
        await page.locator("#interims .text", has_text=re.compile("weather going|Wetter")).wait_for()
        await page.screenshot(path=str(FOLDER / f"{name}.png"))


async def main() -> None:
    await draw("desktop", ENGLISH, Paraformer(), viewport={"width": 880, "height": 460})
    phone = {"viewport": {"width": 390, "height": 700}, "color_scheme": "dark"}
    await draw("phone", GERMAN, Gummy(translation_target_languages=["en"]), **phone)


if __name__ == "__main__":
    asyncio.run(main())
