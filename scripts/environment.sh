# Sourced by the other scripts: finds or makes the Python environment and installs labelfill into it.
# `use_environment EXTRAS` sets `python` to the interpreter. An activated environment is used as it is, else .venv.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

say() { printf '%s\n' "$@" >&2; }

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

# EXTRAS of pyproject.toml, separated by commas; `dev` holds all of them.
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
    install_once "$environment/.labelfill-installed" "${1:-dev}"
}

# Modules are compiled when they are first imported: most never are, and would take a fifth of the space.
install() {
    "$python" -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt "$@"
}

# Installing takes minutes, so it is skipped while these extras are there for the same pins and the same folder.
install_once() {
    local stamp=$1 extras=$2 wanted
    wanted=$("$python" - <<'PY'
import hashlib
import os
import pathlib

files = [pathlib.Path(name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
print(hashlib.sha256(b"\0".join([*files, os.getcwd().encode()])).hexdigest())
PY
    )
    if [[ -f $stamp ]] && grep -qxE "$wanted (dev|$extras)" "$stamp"; then
        return
    fi
    prefer_cpu_build
    say "installing labelfill with: $extras"
    install -e ".[$extras]"
    printf '%s\n' "$wanted $extras" >"$stamp"
}

# Without a GPU PyTorch's CPU build does the same in a fifth of the space. It is taken where the configured package
# index offers it; elsewhere pip installs its default.
prefer_cpu_build() {
    local pinned
    if [[ $(uname -s) != Linux ]] || command -v nvidia-smi >/dev/null || [[ -e /dev/nvidia0 ]]; then
        return
    fi
    if "$python" -c 'import importlib.metadata as m; m.version("torch")' 2>/dev/null; then
        return
    fi
    pinned=$(sed -n 's/^torch==//p' constraints.txt)
    say "no NVIDIA GPU here: looking for the CPU build of PyTorch $pinned"
    if ! install "torch==$pinned+cpu" 2>/dev/null; then
        say "the package index offers none; the default build follows, which may bring some GB for GPUs"
        say "(README, Installing, says how to name an index that offers it)"
    fi
}
