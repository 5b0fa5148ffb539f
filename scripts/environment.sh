# Makes the environment that scripts/run and scripts/test work in. Sourced by both; does nothing by itself.
#
#   find_python        the interpreter to build with
#   ensure_environment .venv in the project, with the packages, made or mended only when something changed
#   check_interpreter  the user's own interpreter (--python), with nothing installed
#
# Beside its packages .venv holds: harness-stamp-KIND, what it was made from (KIND is run or test);
# harness-unfinished, there while an installation is under way; harness-setup.log, what pip said.

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
venv="$project/.venv"
log="$venv/harness-setup.log"
exit_environment=3
disk_needed_mib=3072
disk_wanted_mib=9216 # torch's CUDA build, while it is unpacked

say() { printf '%s\n' "$*" >&2; }

fail() { # MESSAGE NEXT_STEP
    say "$1"
    say "Next: $2"
    exit "$exit_environment"
}

check_system() {
    case "$(uname -s 2>/dev/null || echo unknown)" in
        MINGW* | MSYS* | CYGWIN*)
            fail "Native Windows cannot be measured: the sampler needs Linux's clock and drivers." \
                "use WSL2 (docs/where-it-runs.md)." ;;
        Darwin)
            say "macOS has neither NVML nor RAPL: every energy will be an estimate, and it is untested there." ;;
    esac
}

supported() { # PYTHON
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

# Prints the path of a Python 3.11 to 3.13 that can make virtual environments.
find_python() {
    local name found='' without_venv=''
    for name in python3 python3.13 python3.12 python3.11 python; do
        found=$(command -v "$name" 2>/dev/null) || continue
        supported "$found" || continue
        if "$found" -c 'import ensurepip, venv' 2>/dev/null; then
            printf '%s\n' "$found"
            return
        fi
        without_venv=${without_venv:-$found}
    done
    if [ -n "$without_venv" ]; then
        fail "$without_venv cannot make virtual environments: its modules venv and ensurepip are missing." \
            "on Debian or Ubuntu run 'sudo apt-get install python3-venv', then start this again."
    fi
    local newest='none'
    if found=$(command -v python3 2>/dev/null); then newest=$("$found" -V 2>/dev/null || echo 'one that does not start'); fi
    fail "Python 3.11, 3.12 or 3.13 is needed; found: $newest." \
        "install one (Debian 12 or newer: 'sudo apt-get install python3 python3-venv'), or name yours: --python PATH."
}

# What an environment is made from: where it stands, its Python, and the two files that name its packages.
stamp() { # PYTHON
    printf '%s\n' "$project"
    "$1" -c 'import sys; print(sys.version)'
    cksum <"$project/pyproject.toml"
    cksum <"$project/constraints.txt"
}

up_to_date() { # KIND
    [ -x "$venv/bin/python" ] && [ ! -e "$venv/harness-unfinished" ] && [ -r "$venv/harness-stamp-$1" ] &&
        [ "$(cat "$venv/harness-stamp-$1")" = "$(stamp "$venv/bin/python" 2>/dev/null)" ]
}

# An environment that was moved, half installed or made with a Python that is gone cannot be mended by pip. And
# without pyvenv.cfg its Python would be the system's own, and pip would install there.
beyond_mending() {
    [ -f "$venv/pyvenv.cfg" ] || return 0
    [ -e "$venv/harness-unfinished" ] && return 0
    supported "$venv/bin/python" || return 0
    local made
    for made in "$venv"/harness-stamp-*; do
        [ -r "$made" ] && [ "$(head -n 1 "$made")" != "$project" ] && return 0
    done
    return 1
}

check_room() {
    local free_mib
    free_mib=$(df -Pk "$project" | awk 'NR == 2 { print int($4 / 1024) }')
    if [ "$free_mib" -lt "$disk_needed_mib" ]; then
        fail "Not enough disk: $free_mib MiB free in $project, $disk_needed_mib MiB needed." \
            "make room, or use an environment of your own: --python PATH."
    elif [ "$free_mib" -lt "$disk_wanted_mib" ]; then
        say "Only $free_mib MiB of disk are free: enough for torch's CPU build, perhaps not for its CUDA build."
    fi
}

has_nvidia_gpu() { [ -e /dev/nvidiactl ] || [ -e /dev/dxg ] || [ -d /proc/driver/nvidia ]; }

ensure_environment() { # KIND EXTRAS
    up_to_date "$1" && return
    check_system
    # One at a time; a second start waits, then finds the work done. pip inherits the lock, so where only this
    # script was killed, the next one waits until pip has ended before it clears what pip left.
    if command -v flock >/dev/null 2>&1; then
        exec 9<"$project"
        flock -n 9 || { say 'Waiting for another start to finish setting up .venv ...' && flock 9; }
    fi
    up_to_date "$1" || install_environment "$1" "$2"
    exec 9<&-
}

install_environment() { # KIND EXTRAS
    local python requirements="$project[$2]"
    check_room
    if [ ! -e "$venv" ] || beyond_mending; then
        python=$(find_python) || exit $?
        if [ -e "$venv" ]; then
            say "Setting up .venv anew: it was left half finished, moved, or its Python is gone."
        fi
        say "Setting up .venv with $("$python" -V) (some minutes, once) ..."
        "$python" -m venv --clear --without-pip "$venv" ||
            fail "The virtual environment could not be made in $venv." "the lines above say why."
    else
        say 'Bringing .venv up to date ...'
    fi
    : >"$venv/harness-unfinished"
    "$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$venv/bin/python" -m ensurepip >/dev/null ||
        fail "There is no pip in $venv." "on Debian or Ubuntu run 'sudo apt-get install python3-venv python3-pip'."
    if ! has_nvidia_gpu; then
        say 'No NVIDIA GPU seen: unless your package index offers the CPU build of torch, the CUDA build comes (GBs).'
        say "For the smaller one, put the CPU index of PyTorch's install page into PIP_EXTRA_INDEX_URL and start again."
    fi
    : >"$log"
    rm -f "$venv"/harness-stamp-*
    # The build tools first and by themselves, so that they too are the pinned ones.
    quiet_pip setuptools wheel
    quiet_pip --no-build-isolation --editable "$requirements"
    stamp "$venv/bin/python" >"$venv/harness-stamp-$1"
    # What the tests need includes what a run needs.
    [ "$1" != test ] || cp "$venv/harness-stamp-test" "$venv/harness-stamp-run"
    rm -f "$venv/harness-unfinished"
    say ".venv is ready; the command is $venv/bin/harness"
}

quiet_pip() { # PIP INSTALL'S ARGUMENTS
    local pip pip_status=0 started=$SECONDS
    "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --progress-bar off \
        --constraint "$project/constraints.txt" "$@" >>"$log" 2>&1 &
    pip=$!
    trap 'kill "$pip" 2>/dev/null; exit 130' INT TERM
    while [ -t 2 ] && kill -0 "$pip" 2>/dev/null; do
        printf '\r\033[K%4d s  %.60s' "$((SECONDS - started))" "$(tail -n 1 "$log")" >&2
        sleep 1
    done
    wait "$pip" || pip_status=$?
    trap - INT TERM
    [ ! -t 2 ] || printf '\r\033[K' >&2
    if [ "$pip_status" -ne 0 ]; then
        # pip that fails by itself leaves the environment as it was; one that was killed (above 128) does not.
        [ "$pip_status" -gt 128 ] || rm -f "$venv/harness-unfinished"
        say "pip could not install the packages. Its last words:"
        tail -n 12 "$log" | sed 's/^/    /' >&2
        fail "The whole log: $log" "$(pip_advice)"
    fi
}

pip_advice() {
    if grep -qiE 'no space left|errno 28' "$log"; then
        echo "make room on the disk, then start this again."
    elif grep -qiE 'connection|network|resolve|timed out|proxy|could not find a version|ssl' "$log"; then
        echo "check the network (proxy: HTTPS_PROXY; mirror: PIP_INDEX_URL), then start this again; it resumes."
    else
        echo "mend what the log names, then start this again; or use an environment of your own: --python PATH."
    fi
}

# The user's own environment: nothing is installed, but what is missing is named.
check_interpreter() { # PYTHON
    command -v "$1" >/dev/null 2>&1 || fail "There is no Python at $1." "give --python the path of an interpreter."
    supported "$1" || fail "$1 is $("$1" -V 2>&1); 3.11, 3.12 or 3.13 is needed." "give --python another interpreter."
    local missing
    missing=$("$1" "$project/scripts/missing_requirements.py" "$project/pyproject.toml" transformers) ||
        fail "The packages of $1 could not be listed." "the lines above say why."
    [ -z "$missing" ] || fail "$1 lacks packages, or has older ones than this needs." "$1 -m pip install $missing"
}
