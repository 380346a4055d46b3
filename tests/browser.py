"""Headless Chromium on pages: what is wrong with them at the width of a desk and of a phone."""

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

WIDTHS = (1280, 390)  # pixels
TIMEOUT = 300  # seconds
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr")
CHECK = """<!doctype html><title>check</title><body><script>
async function check(page, width) {
  const frame = document.createElement("iframe");
  frame.style = `width:${width}px;height:900px;border:0`;
  frame.src = page;
  document.body.append(frame);
  await new Promise(loaded => { frame.onload = loaded; });
  const shown = frame.contentDocument, root = shown.documentElement;
  for (const closed of shown.querySelectorAll("details")) closed.open = true;
  const found = [];
  for (const part of [root, ...shown.querySelectorAll(".first .scroll")])  // a report's first table
    if (part.scrollWidth > part.clientWidth)
      found.push(`${page} at ${width} px: ${part.scrollWidth} px wide`);
  for (const image of shown.images)
    if (!image.naturalWidth) found.push(`${page}: no picture ${image.getAttribute("src")}`);
  frame.remove();
  return found;
}
(async () => {
  const found = [];
  for (const page of PAGES) for (const width of WIDTHS) found.push(...await check(page, width));
  fetch("/found", {method: "POST", body: JSON.stringify(found)});
})();
</script>"""


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder and the page ``check``, which posts what it finds."""

    def __init__(self, *args: Any, check: str, found: "Queue[list[str]]", **options: Any):
        self.check, self.found = check, found
        super().__init__(*args, **options)

    def do_GET(self) -> None:
        if self.path == "/check":
            self.answer(self.check)
        else:
            super().do_GET()

    def do_POST(self) -> None:
        self.found.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.answer("")

    def answer(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args: Any) -> None:
        """Stays quiet."""


def problems(folder: Path, pages: Sequence[str]) -> list[str]:
    """Returns horizontal overflow, missing pictures and console messages of pages of a folder."""
    assert CHROMIUM is not None
    check = CHECK.replace("PAGES", json.dumps(list(pages))).replace("WIDTHS", json.dumps(WIDTHS))
    found: Queue[list[str]] = Queue()
    handler = partial(Handler, directory=str(folder), check=check, found=found)
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
        tempfile.TemporaryFile("w+") as log,
    ):
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/check"
        with subprocess.Popen([CHROMIUM, *FLAGS, address], stderr=log) as chromium:
            try:
                layout = found.get(timeout=TIMEOUT)
            finally:
                chromium.terminate()
                server.shutdown()
        log.seek(0)
        return [*layout, *re.findall(r'CONSOLE[^"]*(".*)', log.read())]
