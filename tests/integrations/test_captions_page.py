"""The captions application in a browser, with a recording as its microphone."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import jiwer
import pysubs2
import pytest
from playwright.async_api import async_playwright

from asr_async import Client, DashScope, Gummy, Local, Paraformer
from asr_async.emulator import Scripted, serve
from asr_async.emulator.faults import Cut

from ..support.child_processes import child_environment
from ..support.paths import EXAMPLES, ROOT
from ..support.speech import example_text, plain_words
from ..support.tcp_proxy import NetworkPath, TcpProxy
from ..web.captions_application import serving_application

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from playwright.async_api import Browser, Page

WORDS = plain_words(example_text("demo"))

MICROPHONE = [
    "--use-fake-device-for-media-stream",
    f"--use-file-for-fake-audio-capture={EXAMPLES / 'audio' / 'demo.wav'}%noloop",
]
ALLOWED = "--use-fake-ui-for-media-stream"

IN_THE_SECOND_SENTENCE = 170_000
"""Bytes of audio, with those of the handshake."""


@asynccontextmanager
async def browser(chromium: str, *arguments: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", *arguments])
        try:
            yield launched
        finally:
            await launched.close()


@asynccontextmanager
async def opened(chromium: str, url: str, *arguments: str, **context: Any) -> AsyncIterator[Page]:
    """Open the page; every error in it, and every message of the console, is a failure."""
    arguments = arguments or (*MICROPHONE, ALLOWED)
    async with browser(chromium, *arguments) as launched:
        page = await (await launched.new_context(**context)).new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        await page.goto(url)
        await page.get_by_text("connected").wait_for()
        yield page
        assert errors == []


async def until_words(page: Page, words: str) -> str:
    """Return the finals of the page as soon as the last word is there; the recogniser may have one of seven wrong."""
    shown = ""
    for _ in range(400):
        if plain_words(shown := await captions_of(page)).endswith(words.rsplit(maxsplit=1)[-1]):
            break
        await asyncio.sleep(0.1)
    assert jiwer.wer(words, plain_words(shown)) <= 1 / 7, await page.locator("body").inner_text()
    return shown


async def captions_of(page: Page) -> str:
    return " ".join(await page.locator("#finals .text").all_inner_texts())


@asynccontextmanager
async def command() -> AsyncIterator[str]:
    """Run the one command of the README; yield its address."""
    environment = {name: value for name, value in child_environment().items() if name != "DASHSCOPE_API_KEY"}
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "examples/captions/caption_server.py", "--port", "0"),
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
    )
    try:
        assert server.stdout is not None
        yield (await server.stdout.readline()).decode().strip()
    finally:
        server.terminate()
        await server.wait()


async def test_the_words_of_the_microphone_are_on_the_page_and_in_the_subtitles(chromium: str, tmp_path: Path) -> None:
    async with command() as url, opened(chromium, url) as page:
        await page.keyboard.press("Space")
        await page.get_by_text("listening").wait_for()
        await page.locator("#interims .text").first.wait_for()  # grey and moving
        assert float(await page.locator("#level").evaluate("meter => meter.value")) >= 0
        shown = await until_words(page, WORDS)
        assert shown.startswith("Please call me back")
        assert await page.locator("#finals").get_attribute("aria-live") == "polite"
        assert await page.locator("#interims").get_attribute("aria-hidden") == "true"
        assert await page.locator("#finals time").count() == 2
        assert (await page.locator("#delay").inner_text()).endswith(" s")
        async with page.expect_download() as download:
            await page.get_by_text("Save").click()
        await (await download.value).save_as(tmp_path / "main.srt")
        await page.get_by_role("button", name="Stop").click()
        await page.get_by_role("button", name="Start").wait_for()
    subtitles = pysubs2.load(str(tmp_path / "main.srt"))
    assert plain_words(" ".join(subtitle.plaintext for subtitle in subtitles)) == plain_words(shown)
    assert subtitles[0].start == 0
    assert 3_000 < subtitles[1].start < 5_000


async def test_the_browser_comes_back_without_losing_text(chromium: str) -> None:
    """The connection is reset in the middle of a sentence."""
    lost = NetworkPath(fault="abort", after_bytes=IN_THE_SECOND_SENTENCE)
    async with (
        Client(Local()) as client,
        serving_application(client, Paraformer()) as port,
        TcpProxy(port, [lost] * 12).serving() as proxy,
        opened(chromium, address(proxy.port)) as page,
    ):
        await page.evaluate(
            """() => {
              window.states = [];
              const state = document.getElementById("state");
              new MutationObserver(() => window.states.push(state.dataset.state)).observe(state, { attributes: true });
            }"""
        )
        await page.get_by_role("button", name="Start").click()
        await until_words(page, WORDS)
        assert proxy.faults_at
        assert (await page.evaluate("states"))[-4:] == ["connecting", "listening", "reconnecting", "listening"]


async def test_a_connection_that_falls_silent_is_replaced(chromium: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("caption_server.TICK_S", 1.0)
    silent = NetworkPath(fault="stall", after_bytes=IN_THE_SECOND_SENTENCE)
    async with (
        Client(Local()) as client,
        serving_application(client, Paraformer()) as port,
        TcpProxy(port, [silent] * 8).serving() as proxy,
        opened(chromium, address(proxy.port)) as page,
    ):
        await page.get_by_role("button", name="Start").click()
        await until_words(page, WORDS)
        assert proxy.faults_at


async def test_captions_go_on_when_the_vendors_connection_is_cut(chromium: str) -> None:
    async with (
        serve(faults=[Cut(after_audio_ms=2_000, times=2)]) as emulator,
        Client(DashScope("key", endpoint=emulator.dashscope_url)) as client,
        serving_application(client, Paraformer()) as port,
        opened(chromium, address(port)) as page,
    ):
        await page.get_by_role("button", name="Start").click()
        await until_words(page, WORDS)
        assert emulator.faults_struck == {"cut": 2}


async def test_other_pages_of_the_room_have_the_captions_and_their_translation(chromium: str) -> None:
    script = Scripted([{"text": "good morning", "start_ms": 200, "end_ms": 1_100, "translations": {"zh": "早上好"}}])
    async with (
        serve(script) as emulator,
        Client(DashScope("key", endpoint=emulator.dashscope_url)) as client,
        serving_application(client, Gummy(translation_target_languages=["zh"])) as port,
        opened(chromium, f"{address(port)}/#lecture", viewport={"width": 390, "height": 780}) as page,
    ):
        watching = await page.context.new_page()
        await watching.goto(f"{address(port)}/#lecture")
        elsewhere = await page.context.new_page()
        await elsewhere.goto(address(port))
        await page.get_by_role("button", name="Start").click()
        await watching.get_by_text("早上好").wait_for()
        await until_words(watching, "good morning")
        assert await watching.locator("#finals .translation").all_inner_texts() == ["早上好"]
        assert await captions_of(elsewhere) == ""
        overflow = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        assert not await page.evaluate(overflow)
        late = await page.context.new_page()
        await late.goto(f"{address(port)}/#lecture")
        await until_words(late, "good morning")


async def test_a_denied_microphone_is_a_message_that_says_what_to_do(chromium: str) -> None:
    async with (
        Client(Local()) as client,
        serving_application(client, Paraformer()) as port,
        opened(chromium, address(port), *MICROPHONE, "--deny-permission-prompts") as page,
    ):
        await page.get_by_role("button", name="Start").click()
        message = page.get_by_role("alert")
        await message.wait_for()
        assert (await message.inner_text()).startswith("The microphone is blocked. Allow it for this page")
        await page.get_by_role("button", name="Start").wait_for()


async def test_a_browser_that_cannot_record_at_sixteen_kilohertz_sends_its_own_rate(chromium: str) -> None:
    """As Firefox does, which connects no microphone to another rate."""
    refusing = """() => {
        const Context = AudioContext;
        window.AudioContext = class extends Context {
          get sampleRate() { return super.sampleRate; }
          createMediaStreamSource(stream) {
            if (this.sampleRate === 16000) throw new DOMException("other sample-rate", "NotSupportedError");
            return super.createMediaStreamSource(stream);
          }
        };
      }"""
    async with (
        Client(Local()) as client,
        serving_application(client, Paraformer()) as port,
        opened(chromium, address(port)) as page,
    ):
        await page.evaluate(refusing)
        await page.get_by_role("button", name="Start").click()
        await until_words(page, WORDS)


def address(port: int) -> str:
    return f"http://127.0.0.1:{port}"
