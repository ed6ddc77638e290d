"""Photograph a run with cached stages, and its metrics, in Prefect's own pages.

`python -m tests.prefect_screenshot` writes docs/prefect-run.png and
docs/prefect-artifact.png.  It needs Chromium on the PATH
(`apt-get install chromium`).
"""

from __future__ import annotations

import base64
import io
import json
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from websockets.sync.client import ClientConnection, connect

from pipeline.console import say
from tests.conftest import ROOT
from tests.orchestra import Orchestra, project_with_pipeline, until

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SWITCHES = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
    "--window-size=1400,1100",
]
STILL_S = 3.0  # for what moves into its place


class Page:
    """A browser's tab, by the Chrome DevTools protocol."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.number = 0

    def call(self, method: str, **parameters: Any) -> Any:
        """Call a method; events that come meanwhile are not wanted."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        self.socket.send(json.dumps(message))
        while (answer := json.loads(self.socket.recv(timeout=60))).get("id") != self.number:
            pass
        return answer["result"]

    def ask(self, script: str) -> Any:
        """What JavaScript makes of the page."""
        return self.call("Runtime.evaluate", expression=script)["result"].get("value")

    def show(self, url: str, *words: str, tab: str = "") -> None:
        """Open a page; wait until it holds the words, on one of its tabs if need be."""
        self.call("Page.navigate", url=url)
        if tab:
            click = f"""[...document.querySelectorAll('*')].find(found =>
                !found.childElementCount && found.textContent.trim() === {tab!r})"""
            until(lambda: self.ask(f"!!({click})"), f"tab {tab}")
            self.ask(f"({click}).click()")
        for word in words:
            until(lambda word=word: self.ask(f"document.body.innerText.includes({word!r})"), word)
        time.sleep(STILL_S)

    def photograph(self, file: Path) -> None:
        """Write what is seen, in few colours: it is text."""
        picture = self.call("Page.captureScreenshot", format="png")["data"]
        with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
            image.convert("RGB").quantize(128).save(file, optimize=True)
        say(f"{file.relative_to(ROOT)}: {file.stat().st_size / 1e3:.0f} kB")


@contextmanager
def browser() -> Iterator[Page]:
    """A headless Chromium with an empty page.

    Raises:
        SystemExit: There is none on the PATH.
    """
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        raise SystemExit("no Chromium on the PATH: run `apt-get install chromium`")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as room:
        command = [program, *SWITCHES, f"--user-data-dir={room}", "about:blank"]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            try:
                note = Path(room) / "DevToolsActivePort"
                until(lambda: note.exists() and note.read_text(), "Chromium starts")
                host = f"http://127.0.0.1:{note.read_text().splitlines()[0]}"
                with httpx.Client(trust_env=False) as client:
                    tabs = client.get(f"{host}/json").json()
                address = next(t["webSocketDebuggerUrl"] for t in tabs if t["type"] == "page")
                with connect(address, proxy=None, max_size=None) as socket:
                    yield Page(socket)
            finally:
                process.terminate()


def main() -> None:
    """Run what has changed in a project whose last commit was worse; photograph that."""
    with tempfile.TemporaryDirectory() as room, browser() as page:
        toy = project_with_pipeline(Path(room), cron="0 2 * * *")
        toy.dvc("repro")
        toy.git("add", "--all")
        toy.git("commit", "--quiet", "--message", "Train")
        toy.answers(91)
        toy.dvc("repro")
        orchestra = Orchestra(toy)
        orchestra.start()
        try:
            run = orchestra.trigger("train/manual", params=["split.seed=7"])
            state = orchestra.ended(run)
            if "Cached" not in orchestra.task_states(run).values():
                raise SystemExit(f"no stage is cached: {state}")
            found = orchestra.ask("artifacts/filter", artifacts={"key": {"any_": ["metrics"]}})
            site = orchestra.url.removesuffix("/api")
            page.show(f"{site}/runs/flow-run/{run}", "Cached", "evaluate", tab="Task Runs")
            page.photograph(ROOT / "docs/prefect-run.png")
            page.show(f"{site}/artifacts/artifact/{found[0]['id']}", "balanced accuracy", "HEAD")
            page.photograph(ROOT / "docs/prefect-artifact.png")
        finally:
            orchestra.end(signal.SIGINT)


if __name__ == "__main__":
    main()
