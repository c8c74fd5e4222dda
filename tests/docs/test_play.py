"""The page to play with, in a real browser: it shows the numbers of `jax.grad`, and reacts."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dice_jax as dj

PAGE = Path(__file__).parents[2] / "docs" / "play" / "index.html"
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on the path")
SIDE = 16


def in_the_browser(script, folder):
    """Open the page, run ``script`` as a function after its own scripts, and return its result."""
    copy = folder / "play.html"
    answer = f"""<pre id="answer"></pre><script>
      document.getElementById("answer").textContent = JSON.stringify((() => {{ {script} }})());
    </script></body>"""
    copy.write_text(PAGE.read_text().replace("</body>", answer))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    command = [BROWSER, *flags, "--window-size=1440,1400", "--dump-dom", copy.as_uri()]
    page = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    found = re.search(r'<pre id="answer">(.*?)</pre>', page, re.DOTALL)
    assert found, page[-2000:]
    assert found[1], page[-2000:]
    return json.loads(html.unescape(found[1]))


def grids():
    """Labels, logits and smoothing: random, saturated, without foreground, without background."""
    random = np.random.default_rng(0)
    for smooth, fraction in ((0.0, 0.1), (1.0, 0.02), (1e-5, 0.5), (10.0, 0.0), (1.0, 1.0)):
        z = random.normal(0.0, 3.0, (SIDE, SIDE))
        z[0, :2] = -15.0, 15.0
        yield (random.random((SIDE, SIDE)) < fraction).astype(float), z, smooth


def losses(sums, smooth):
    dice = dj.dice_loss(sums, smooth=smooth)
    cross_entropy = dj.binary_cross_entropy_loss(sums)
    squared = dj.squared_dice_loss(sums, smooth=smooth)
    return jnp.stack([dice, squared, cross_entropy, dice + cross_entropy])


@needs_browser
def test_values_and_gradients_are_those_of_the_library(tmp_path):
    cases = list(grids())
    as_lists = [[y.ravel().tolist(), z.ravel().tolist(), s] for y, z, s in cases]
    script = f"return {json.dumps(as_lists)}.map(([y, z, s]) => lossesOf(y, z, s).losses);"
    shown = in_the_browser(script, tmp_path)

    with jax.enable_x64(True):

        @jax.jit
        def at_the_logits(z, y, s):
            def of(z):
                return losses(dj.sigmoid_region_sums(z, y), s)

            return of(z), jax.jacrev(of)(z)

        @jax.jit
        def in_p(p, y, s):
            def overlap(p):
                sums = dj.region_sums(p, y)
                return dj.dice_loss(sums, smooth=s), dj.squared_dice_loss(sums, smooth=s)

            dice, squared = jax.jacrev(overlap)(p)
            entropy = jax.grad(lambda p: -jnp.mean(y * jnp.log(p) + (1 - y) * jnp.log1p(-p)))(p)
            return jnp.stack([dice, squared, entropy, dice + entropy])

        for (y, z, s), page in zip(cases, shown, strict=True):
            values, slopes = at_the_logits(jnp.asarray(z), jnp.asarray(y), s)
            p_slopes = in_p(jax.nn.sigmoid(jnp.asarray(z)), jnp.asarray(y), s)
            for k in range(4):
                np.testing.assert_allclose(page[k]["value"], values[k], rtol=1e-9, atol=1e-12)
                for theirs, ours in ((page[k]["inZ"], slopes[k]), (page[k]["inP"], p_slopes[k])):
                    ours = np.asarray(ours).ravel()
                    # Rounding in p near 1 is far larger than in 1 - p.
                    atol = 1e-9 * np.abs(ours).max()
                    np.testing.assert_allclose(theirs, ours, rtol=1e-6, atol=atol)


@needs_browser
def test_mouse_keyboard_and_sliders_change_the_gradients(tmp_path):
    script = """
      const texts = () => ({ ratio: $("ratio").textContent, pixel: $("pixel-name").textContent,
        sums: $("sums").textContent, first: $("totals").rows[1].cells[1].textContent });
      const press = (id, row, column) => {
        const box = $(id).getBoundingClientRect(), at = i => (i + .5) * box.width / 16;
        for (const type of ["pointerdown", "pointerup"])
          $(id).dispatchEvent(new PointerEvent(type,
            { clientX: box.left + at(column), clientY: box.top + at(row), pointerId: 1 }));
      };
      const key = (id, name) => $(id).dispatchEvent(new KeyboardEvent("keydown", { key: name }));
      const slide = (id, value) => {
        $(id).value = value;
        $(id).dispatchEvent(new Event("input"));
      };
      const answer = [];
      $("clear-label").click(); $("clear-prediction").click(); slide("smooth", 0);
      slide("brush", 0.5); press("label", 2, 3); press("prediction", 2, 3); answer.push(texts());
      key("label", "ArrowRight"); key("label", " "); answer.push(texts());
      slide("smooth", 7); answer.push(texts());
      $("space-z").click(); answer.push(null, document.querySelector(".space-name").textContent);
      document.querySelector("[data-key=saturated]").click(); answer.push(texts(), location.hash);
      $("clear-label").click();
      answer.push(document.querySelectorAll('#presets [aria-pressed="true"]').length);
      return answer;"""
    answer = in_the_browser(script, tmp_path)
    painted, moved, smoothed, _, space, saturated, address, marked = answer

    # One foreground pixel at 0.5 and 255 background pixels at 0.01.
    dice = 2 * 0.5 / (0.5 + 255 * 0.01 + 1)
    assert f"D = {dice:.3f}" in painted["ratio"]
    assert f"{2 / dice - 1:.2f} times" in painted["ratio"]
    assert painted["pixel"].startswith("Pixel (2, 3): y = 1, p = 0.500")
    assert "T = 1," in painted["sums"]
    assert moved["pixel"].startswith("Pixel (2, 4): y = 1, p = 0.0100")
    dice = 2 * 0.51 / (0.5 + 255 * 0.01 + 2)
    assert f"D = {dice:.3f}" in moved["ratio"]
    dice = (2 * 0.51 + 10) / (0.5 + 255 * 0.01 + 2 + 10)
    assert f"D = {dice:.3f}" in smoothed["ratio"]
    assert smoothed["first"] == f"{1 - dice:.3f}"
    assert space == "gradient at the logits"
    assert "logit −15.0" in saturated["pixel"]
    assert address == "#saturated"
    assert marked == 0


def test_the_page_needs_no_network():
    page = PAGE.read_text()
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", page)
    assert "import " not in page
    assert "fetch(" not in page
