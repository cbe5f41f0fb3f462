"""Build and run images without a container engine: buildah in a chroot, on a base that debootstrap makes (needs root)."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support import ROOT

BASE = "localhost/debian"


class Builder:
    """Images and containers in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        if os.geteuid() or not (shutil.which("buildah") and shutil.which("debootstrap")):
            pytest.skip("absent: root with buildah and debootstrap (apt-get install buildah debootstrap)")
        self._storage = ["--root", str(folder / "storage"), "--runroot", str(folder / "run")]
        self._folder = folder

    def command(self, *arguments: object) -> list[str]:
        return ["buildah", *self._storage, *map(str, arguments)]

    def __call__(self, *arguments: object, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"BUILDAH_ISOLATION": "chroot"}
        return subprocess.run(
            self.command(*arguments), env=environment, capture_output=True, text=True, timeout=timeout, cwd=ROOT
        )

    def said(self, *arguments: object, timeout: float = 600) -> str:
        done = self(*arguments, timeout=timeout)
        assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout.strip()

    def make_base(self) -> None:
        container = self.said("from", "scratch")
        self.said("add", "-q", container, debian(), "/")
        self.said("commit", "-q", "--rm", container, BASE)

    def build(self, target: str) -> str:
        """The name of the image that the Dockerfile makes for a target."""
        arguments = [f"BASE={BASE}", "ACCELERATOR=cpu"]
        self.said(
            "bud", "--format", "docker", "--layers", *self._settings_of_pip(),
            *(word for argument in arguments for word in ("--build-arg", argument)),
            "--target", target, "-t", f"ner-{target}", ".", timeout=5400,
        )  # fmt: skip
        return f"localhost/ner-{target}"

    def config(self, image: str) -> dict[str, Any]:
        """What an image says of itself."""
        found: dict[str, Any] = json.loads(self.said("inspect", "--type", "image", image))["Docker"]["config"]
        return found

    def remove_everything(self) -> None:
        self("rm", "--all")
        self("rmi", "--all", "--force")

    def _settings_of_pip(self) -> list[str]:
        """Mounts with this machine's settings of pip, its certificates and folders of wheels, without which pip may fail."""
        listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True)
        pairs = [line.replace("'", "").split("=", 1) for line in listed.stdout.splitlines()]
        settings = {name.split(".")[-1]: value for name, value in pairs}
        file = self._folder / "pip.conf"
        file.write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items()))
        named = [Path(word.removeprefix("file://")) for value in settings.values() for word in value.split()]
        paths = {path if path.is_file() else path.parent for path in named if path.is_absolute() and path.exists()}
        mounts = [(file, "/etc/pip.conf"), *((path, path) for path in sorted(paths))]
        return [word for here, there in mounts for word in ("-v", f"{here}:{there}:ro")]


def debian() -> Path:
    """The files of a minimal Debian or Ubuntu, this machine's own from its own mirror; made once and kept."""
    kept = ROOT / "cache/tests/debian"
    if not kept.is_dir():
        listed = ["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(COMPONENT)"]
        targets = [line.split() for line in subprocess.check_output(listed, text=True).splitlines()]
        mirror, release = next(
            (site, release) for site, release, part in targets if part == "main" and "-" not in release
        )
        unfinished = kept.with_name("debian.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        kept.parent.mkdir(parents=True, exist_ok=True)
        made = ["debootstrap", "--variant=minbase", "--include=ca-certificates", release, str(unfinished), mirror]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
        for package in (unfinished / "var/cache/apt/archives").glob("*.deb"):
            package.unlink()
        unfinished.rename(kept)
    return kept
