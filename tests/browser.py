"""Headless Chromium on pages: what is wrong with them at the width of a desk and of a phone."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

WIDTHS = (1280, 390)  # pixels
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom")
CHECK = """<!doctype html><title>check</title><pre id="found"></pre><script>
const found = [];
async function check(page, width) {
  const frame = document.createElement("iframe");
  frame.style = `width:${width}px;height:900px;border:0`;
  frame.src = page;
  document.body.append(frame);
  await new Promise(loaded => { frame.onload = loaded; });
  const shown = frame.contentDocument;
  const wide = shown.documentElement.scrollWidth;
  if (wide > width) found.push(`${page} at ${width} px: ${wide} px wide`);
  for (const image of shown.images)
    if (!image.naturalWidth) found.push(`${page}: no picture ${image.getAttribute("src")}`);
  frame.remove();
}
(async () => {
  for (const page of PAGES) for (const width of WIDTHS) await check(page, width);
  document.getElementById("found").textContent = JSON.stringify(found);
})();
</script>"""


def problems(folder: Path, pages: Sequence[str]) -> list[str]:
    """Returns horizontal overflow, missing pictures and console messages of pages of a folder."""
    assert CHROMIUM is not None
    text = CHECK.replace("PAGES", json.dumps(list(pages))).replace("WIDTHS", json.dumps(WIDTHS))
    with _served(folder, text) as address:
        command = [CHROMIUM, *FLAGS, f"--virtual-time-budget={5000 * len(pages)}", address]
        result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    found = re.search(r'<pre id="found">(.+?)</pre>', result.stdout, re.DOTALL)
    assert found is not None, "the pages did not load"
    console = re.findall(r'CONSOLE[^"]*(".*)', result.stderr)
    return [*json.loads(found[1]), *console]


@contextmanager
def _served(folder: Path, check: str) -> Iterator[str]:
    """Serves a folder on this machine, with the page ``check`` in it; yields its address."""

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/check":
                super().do_GET()
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(check.encode())

        def log_message(self, *args: Any) -> None:
            """Stays quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/check"
    finally:
        server.shutdown()
        server.server_close()
