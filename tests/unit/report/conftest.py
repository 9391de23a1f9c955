"""A study as the tools make one, and a browser to look at its page, where there is one."""

import base64
import json
import os
import shutil
import subprocess
import time
from dataclasses import replace

import numpy as np
import pytest

from uadtools.grids.grid import Grid
from uadtools.scoring.postproc import Steps, postproc
from uadtools.scoring.score import score
from uadtools.volume.chain import link
from uadtools.volume.stream import Study, record

STEPS = Steps(median=1, erode=0, threshold=0.05, min_size=1)
HOW = {"method": "blur", "sigma": 3.0}


@pytest.fixture(scope="session")
def study(phantom):
    """The phantom with two bright spots, of 8 voxels and of one, healed by blur, scored and thresholded."""
    return _study(phantom)


@pytest.fixture(scope="session")
def oblique(phantom):
    """The same of a head that lies askew: turned by 14 degrees about two axes, and far from the world's origin."""
    about_x, about_z = np.eye(4), np.eye(4)
    angle = np.radians(14)
    turn = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    about_x[1:3, 1:3] = about_z[:2, :2] = turn
    about_z[:3, 3] = 30, -40, 50
    turned = Grid(phantom.product.grid.shape, about_z @ about_x @ phantom.product.grid.affine)
    return _study(Study("oblique", {role: replace(one, grid=turned) for role, one in phantom.images.items()}))


def _study(phantom):
    scan = phantom.need("scan")
    data = scan.data.copy()
    data[4:6, 7:9, 3:5] += 0.3
    data[11, 8, 4] += 0.3
    start = {"study": "phantom", "chain": [link("input", scan.grid)]}
    scan = replace(scan, data=data, provenance=start)
    healed = replace(scan, data=phantom.need("scan").data, role="healed", provenance=record(scan, "uad-heal", HOW))
    images = {"healed": healed, "scan": scan, "brain": phantom.need("brain")}
    return postproc(score(Study("phantom", images), metric="l1"), STEPS)


class Browser:
    """Chromium, spoken to through pipes in its debugging protocol; what the page asked for and said is in events."""

    def __init__(self, program, folder):
        theirs, ours = os.pipe(), os.pipe()
        words = [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--remote-debugging-pipe",
            "--no-first-run",
        ]
        words += [
            "--use-gl=angle",
            "--use-angle=swiftshader",
            "--enable-unsafe-swiftshader",
            f"--user-data-dir={folder}",
        ]
        line = f'exec "$@" 3<&{theirs[0]} 4>&{ours[1]}'
        self.process = subprocess.Popen(
            ["bash", "-c", line, "bash", program, *words], pass_fds=(theirs[0], ours[1]), stderr=subprocess.DEVNULL
        )
        os.close(theirs[0])
        os.close(ours[1])
        self._out, self._in = os.fdopen(theirs[1], "wb"), os.fdopen(ours[0], "rb")
        self.count, self.events, self.session = 0, [], {}
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        self.count += 1
        self._out.write(
            json.dumps({"id": self.count, "method": method, "params": params, **self.session}).encode() + b"\0"
        )
        self._out.flush()
        while (answer := self._answer()).get("id") != self.count:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _answer(self):
        text = bytearray()
        while (byte := self._in.read(1)) != b"\0":
            assert byte, "the browser is gone"
            text += byte
        return json.loads(text)

    def ask(self, script):
        """Run a script in the page, and return what it comes to."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def open(self, path, size=(1000, 400), seconds=100):
        """Show a page in a small window, and wait until its viewer has begun, or given up."""
        self.events.clear()
        width, height = size
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Page.navigate", url=path.resolve().as_uri())
        end = time.monotonic() + seconds
        while not self.ask("document.body?.dataset.ready || document.getElementById('failed')?.hidden === false"):
            assert time.monotonic() < end, self.events[-3:]
            time.sleep(0.1)

    def press(self, key, code=0):
        for kind in ("keyDown", "keyUp"):
            text = {"text": "\r"} if key == "Enter" and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    def shot(self):
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    @property
    def requests(self):
        """What was asked for beside the page itself and what is in it."""
        sent = [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if not url.startswith(("data:", "file:"))]

    @property
    def complaints(self):
        """Errors, warnings and violations of the page's own policy."""
        names = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")
        return [event["params"] for event in self.events if event["method"] in names]

    def close(self):
        self.process.kill()
        self.process.wait()
        self._out.close()
        self._in.close()


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no chromium here to open the report in")
    opened = Browser(program, tmp_path_factory.mktemp("chromium"))
    yield opened
    opened.close()


@pytest.fixture
def truth(study):
    """The first spot, and one that nobody found."""
    grid = study.need("scan").grid
    data = np.zeros(grid.shape, np.uint8)
    data[4:6, 7:9, 3:5] = 1
    data[8, 4, 5] = 1
    return study.need("scan").derive(data, "truth")
