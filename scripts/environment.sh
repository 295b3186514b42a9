# Sourced by the other scripts: finds or makes the Python environment and installs labelfill into it.
# Sets `python` to the interpreter. An activated environment is used as it is, else .venv.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

say() { printf '%s\n' "$*" >&2; }

find_python() {
    local candidate
    for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    say "labelfill needs Python 3.11 or newer; none was found (looked for python3, python3.14 ... python3.11)"
    return 2
}

use_environment() {
    local environment=${VIRTUAL_ENV:-$root/.venv} base
    python=$environment/bin/python
    if [[ ! -x $python ]]; then
        base=$(find_python)
        say "making the environment $environment"
        if ! "$base" -m venv "$environment"; then
            say "python3 -m venv failed; on Debian and Ubuntu install the package python3-venv"
            return 2
        fi
    fi
    install_once "$environment/.labelfill-installed"
}

# Installing takes minutes, so it is skipped while what it depends on has not changed.
install_once() {
    local stamp=$1 wanted
    wanted=$("$python" - <<'PY'
import hashlib
import os
import pathlib

files = [pathlib.Path(name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
print(hashlib.sha256(b"\0".join([*files, os.getcwd().encode()])).hexdigest())
PY
    )
    if [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then
        return
    fi
    say "installing labelfill and its tools"
    "$python" -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
    printf '%s\n' "$wanted" >"$stamp"
}
