"""A checkout with the wrapper ./loom and stand-ins for Python, pip and the compilers."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

LOOM = Path(__file__).parents[2] / "loom"
REAL_PYTHON = shlex.quote(sys.executable)
TOOLS = (
    *("cat", "chmod", "cksum", "cp", "dirname", "find", "head", "id", "ls", "mkdir", "readlink"),
    *("rm", "sleep", "tail"),
)

# Answers as a Python would, and notes in $CALLS what was asked of it. Plain code (-c) goes to the
# real one, because the lock and the questions about the version are real. The package is there
# when pip has put the folder "gptloom" into the environment that this Python belongs to.
PYTHON = f"""#!/bin/sh
home=${{0%/bin/python}}
case $1 in -P) shift ;; esac
case "$1 ${{2-}}" in
"-c import gptloom.cli")
    [ -d "$home/gptloom" ] ;;
"-c "*)
    exec {REAL_PYTHON} "$@" ;;
"-m venv")
    mkdir -p "$3/bin"
    cp "$0" "$3/bin/python" ;;
"-m pip")
    [ "$3" = install ] || exit 0
    sleep "${{PIP_SECONDS:-0}}"
    printf 'pip in %s:' "$PWD" >>"$CALLS"
    printf ' [%s]' "$@" >>"$CALLS"
    echo "${{PIP_INDEX_URL-}}" >>"$CALLS"
    if [ -n "${{PIP_FAILS:-}}" ]; then
        echo "No matching distribution"
        exit 1
    fi
    if [ "${{PIP_USER:-0}}" != 0 ]; then
        echo "Can not perform a '--user' install"
        exit 1
    fi
    # Each of them makes pip install elsewhere, less, or nothing.
    lost=${{PIP_TARGET-}}${{PIP_ROOT-}}${{PIP_PYTHON-}}${{PIP_DRY_RUN-}}${{PIP_NO_DEPS-}}
    lost=$lost${{PIP_NO_BUILD_ISOLATION-}}${{PIP_LOSES-}}
    [ -n "$lost" ] || mkdir -p "${{PIP_PREFIX:-$home}}/gptloom" ;;
*)
    if [ "${{2-}}" = gptloom.cli ] && [ ! -d "$home/gptloom" ]; then
        echo "No module named gptloom" >&2
        exit 1
    fi
    printf 'in %s:' "$PWD"
    printf ' [%s]' "$@"
    echo ;;
esac
"""

TOO_OLD = f"""#!/bin/sh
exec {REAL_PYTHON} -c 'import sys; sys.version_info = (3, 9); exec(sys.argv[1])' "$2"
"""


def script(path, text):
    path.write_text(text)
    path.chmod(0o755)


class Checkout:
    """A folder with the wrapper, and a PATH for the wrapper."""

    def __init__(self, folder):
        self.root = folder / "my check[out]"
        self.bin = folder / "bin"
        self.calls = folder / "calls"
        self.root.mkdir()
        self.bin.mkdir()
        self.loom = self.root / "loom"
        shutil.copy(LOOM, self.loom)
        self.pyproject = self.root / "pyproject.toml"
        self.pyproject.write_text("[project]\n")
        self.venv = self.root / ".venv"
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))
        script(self.bin / "python3", PYTHON)
        script(self.bin / "g++", "#!/bin/sh\n")
        self.environment = {"PATH": str(self.bin), "CALLS": str(self.calls)}

    def start(self, *arguments, cwd=None, loom=None, **environment):
        return subprocess.Popen(
            [loom or self.loom, *arguments],
            cwd=cwd or self.root,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments, **options):
        process = self.start(*arguments, **options)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def installs(self):
        return self.calls.read_text().splitlines() if self.calls.exists() else []

    def become_another_user(self):
        (self.bin / "id").unlink()
        script(self.bin / "id", "#!/bin/sh\necho 123456\n")

    def content(self):
        """Return the contents of .venv, to check that they did not change."""
        files = sorted(self.venv.rglob("*"))
        return [
            (file, file.lstat().st_mtime_ns, file.is_dir() or file.read_text()) for file in files
        ]
