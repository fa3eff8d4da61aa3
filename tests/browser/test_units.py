"""The page's own checks: its types, and the tests of its parts that need no browser."""

import shutil
import subprocess
import tempfile

from brood_server import BUILD, ROOT


def test_the_page():
    for folder in ("src", "test"):
        shutil.copytree(ROOT / "web" / folder, BUILD / "web" / folder, dirs_exist_ok=True)
    begun = []
    for script in ("check", "test"):
        said = tempfile.TemporaryFile("w+")
        command = ["npm", "run", "--silent", script, "--prefix", BUILD / "web"]
        begun.append((subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said), said))
    try:
        for process, said in begun:
            status = process.wait(240)
            said.seek(0)
            assert status == 0, said.read()[-4000:]
    finally:
        for process, _ in begun:
            process.kill()
            process.wait()
