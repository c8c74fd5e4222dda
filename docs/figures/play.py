"""Take the picture of docs/play.md: python docs/figures/play.py, with Chromium on the path."""

import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    """Photograph the page with its third example."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("Chromium is not on the path.")
    page = (HERE.parent / "play" / "index.html").as_uri()
    flags = ["--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=1240,1100"]
    picture = HERE / "play.png"
    subprocess.run([browser, *flags, f"--screenshot={picture}", f"{page}#vnet"], check=True)


if __name__ == "__main__":
    main()
