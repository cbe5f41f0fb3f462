"""A real headless Chromium for tests, driven over the WebDriver protocol that chromedriver speaks."""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from support import free_port

# Without the background-networking flags, Chromium contacts its vendor at every start.
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """One tab."""

    def __init__(self, session: str, client: httpx.Client) -> None:
        self._session, self._client = session, client

    def _call(self, method: str, command: str, body: dict[str, Any] | None = None) -> Any:
        reply = self._client.request(method, f"/session/{self._session}/{command}", json=body)
        value = reply.json()["value"]
        assert reply.status_code == 200, value
        return value

    def open(self, page: Path | str, fragment: str = "") -> None:
        """Open a file, or an address."""
        # Via a blank page: changing only the fragment would not reload the file.
        self._call("POST", "url", {"url": "about:blank"})
        self._call("POST", "url", {"url": (page if isinstance(page, str) else page.as_uri()) + fragment})

    def run(self, script: str, *arguments: Any) -> Any:
        """Run JavaScript (``return …`` gives its value)."""
        return self._call("POST", "execute/sync", {"script": script, "args": list(arguments)})

    def click(self, selector: str) -> None:
        found = self._call("POST", "element", {"using": "css selector", "value": selector})[ELEMENT]
        self._call("POST", f"element/{found}/click", {})

    def texts(self, selector: str) -> list[str]:
        return self.run("return [...document.querySelectorAll(arguments[0])].map((node) => node.innerText)", selector)

    def choose(self, selector: str, value: str) -> None:
        """Choose an option of a select element, as a user does."""
        self.click(f"{selector} option[value='{value}']")

    def write(self, selector: str, text: str) -> None:
        found = self._call("POST", "element", {"using": "css selector", "value": selector})[ELEMENT]
        self._call("POST", f"element/{found}/value", {"text": text + "\n"})

    def press(self, selector: str, key: str) -> None:
        """Press a key on an element, which gets the focus; keys are WebDriver's, such as ``\ue007`` for Enter."""
        found = self._call("POST", "element", {"using": "css selector", "value": selector})[ELEMENT]
        self._call("POST", f"element/{found}/value", {"text": key})

    def grant(self, origin: str, *permissions: str) -> None:
        """Allow pages what Chromium would ask a user about."""
        self._cdp("Browser.grantPermissions", {"origin": origin, "permissions": list(permissions)})

    def dark(self, on: bool) -> None:
        features = [{"name": "prefers-color-scheme", "value": "dark" if on else "light"}]
        self._cdp("Emulation.setEmulatedMedia", {"features": features})

    def screenshot(self, path: Path) -> None:
        """The whole page."""
        picture = self._cdp("Page.captureScreenshot", {"captureBeyondViewport": True})
        path.write_bytes(base64.b64decode(picture["data"]))

    def pdf(self) -> bytes:
        return base64.b64decode(self._call("POST", "print", {}))

    def errors(self) -> list[str]:
        """Console messages since the last call: script errors, refused requests, warnings."""
        return [entry["message"] for entry in self._call("POST", "se/log", {"type": "browser"})]

    def requests(self, origin: str = "file:") -> list[str]:
        """Every address that pages of ``origin`` requested, except those of ``origin`` itself and data: addresses."""
        entries = self._call("POST", "se/log", {"type": "performance"})
        messages = [json.loads(entry["message"])["message"] for entry in entries]
        sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        # Chromium's start page makes requests of its own.
        urls = [p["request"]["url"] for p in sent if p["documentURL"].startswith(origin)]
        return [url for url in urls if not url.startswith((origin, "data:"))]

    def _cdp(self, command: str, parameters: dict[str, Any]) -> Any:
        return self._call("POST", "goog/cdp/execute", {"cmd": command, "params": parameters})


@contextmanager
def chromium(profile: Path, phone: bool = False) -> Iterator[Browser]:
    """Start Chromium with an empty profile; 1100 pixels wide, or a phone with 390."""
    programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    if absent := [name for name, path in programs.items() if path is None]:
        pytest.fail(f"{' and '.join(absent)} not installed: `apt-get install chromium chromium-driver` (Debian)")
    port = free_port()
    driver = subprocess.Popen([str(programs["chromedriver"]), f"--port={port}"], stdout=subprocess.DEVNULL)
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False)
    try:
        _wait(client)
        options: dict[str, Any] = {
            "binary": programs["chromium"],
            "args": [*FLAGS, f"--user-data-dir={profile}", "--window-size=1100,900"],
        }
        if phone:
            options["mobileEmulation"] = {"deviceMetrics": {"width": 390, "height": 844, "pixelRatio": 2}}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        reply = client.post("/session", json={"capabilities": {"alwaysMatch": wanted}}).json()["value"]
        assert "sessionId" in reply, reply
        try:
            yield Browser(reply["sessionId"], client)
        finally:
            # Also if the test failed: ending chromedriver alone would leave its Chromium running.
            client.delete(f"/session/{reply['sessionId']}")
    finally:
        client.close()
        driver.terminate()
        driver.wait()


def _wait(client: httpx.Client) -> None:
    for _ in range(200):
        try:
            client.get("/status")
            return
        except httpx.TransportError:
            time.sleep(0.05)
    pytest.fail("chromedriver did not start")
