"""The page in a real browser, where one is installed: nothing sticks out on a telephone, and the console stays empty."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from ectype.report import write_report

BROWSER = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome")) if p), None)
MEASURE = r"""<!doctype html><body style="margin:0"><iframe id="page" style="width:360px;height:800px;border:0" srcdoc=""></iframe><script>
const frame = document.getElementById("page");
frame.onload = () => {
  const page = frame.contentDocument, root = page.documentElement;
  const inside = (e) => e.closest(".scroll, .unseen, .skip, svg");
  const wide = [...page.querySelectorAll("body *")].filter((e) => !inside(e) && e.getBoundingClientRect().right > root.clientWidth + 1);
  document.title = `${root.scrollWidth} of ${root.clientWidth}: ${wide.map((e) => e.tagName + "." + e.className).join(" ")}`;
};
frame.srcdoc = document.getElementById("source").textContent.replaceAll("<\\/script", "<" + "/script");
</script></body>"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium to look at the page with")
def test_nothing_sticks_out_on_a_telephone_and_no_error_is_told(drawn, tmp_path):
    text = write_report(drawn).read_text()
    source = text.replace("</script", "<\\/script")
    path = tmp_path / "telephone.html"
    path.write_text(MEASURE.replace("<script>", f'<script type="text/plain" id="source">{source}</script><script>', 1))
    done = subprocess.run([BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr", "--v=0", "--no-first-run",
                           f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=4000", "--dump-dom", path.as_uri()],
                          capture_output=True, text=True, timeout=120)
    found = re.search(r"<title>(\d+) of (\d+): ([^<]*)</title>", done.stdout)
    assert found, done.stderr[-2000:]
    assert int(found[1]) <= int(found[2]) == 360 and found[3] == ""
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line and "rror" in line]
