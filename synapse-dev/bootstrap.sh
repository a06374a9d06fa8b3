# Sourced by ./synapse-dev/up and ./synapse-dev/test from the checkout: makes .venv as the lock file says.
# Needs python3.11 with pip and venv; no compiler, no Node, no root. Does nothing when .venv fits the lock.

say() { printf '[%4d s] %s\n' "$SECONDS" "$*" >&2; }

progress() { # one line for every 20 packages; everything pip says is kept in .run/pip.log
    tee -a .run/pip.log | awk -v all="$1" '
        /^Collecting |^Processing |^Requirement already satisfied/ { if (++n % 20 == 0) { printf "         %d of %d packages looked up\n", n, all; fflush() } }
        /^Installing collected packages/ { print "         installing them"; fflush() }' >&2
}

bootstrap() {
    unset PYTHONDONTWRITEBYTECODE # else every start of the program compiles all of its modules again
    mkdir -p .run
    exec 9>.run/bootstrap.lock
    flock 9 # a second start waits for the first
    local stamp wanted python packages
    stamp=.venv/.bootstrap-stamp
    wanted=$(cat requirements/dev.txt pyproject.toml | sha256sum | cut -d' ' -f1)
    if [ -x .venv/bin/python ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
        exec 9>&-
        return
    fi
    python=$(command -v python3.11 || command -v python3) || {
        say "Python 3.11 is missing: install python3, python3-pip and python3-venv"
        return 1
    }
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
        say "$python is older than Python 3.11: put python3.11 on PATH"
        return 1
    }
    "$python" -c 'import ensurepip, venv' 2>/dev/null || {
        say "$python has no venv: install python3-venv"
        return 1
    }
    if ! .venv/bin/python -c 'import pip' 2>/dev/null; then
        say "making .venv with $("$python" --version)"
        rm -rf .venv
        "$python" -m venv .venv
    fi
    : >.run/pip.log
    packages=$(grep -c '^[a-zA-Z0-9].*==' requirements/dev.txt)
    say "installing $packages packages of requirements/dev.txt into .venv (once; the log is .run/pip.log)"
    # Without --no-compile, pip compiles 9,000 modules, of which few are ever run.
    # Without --no-deps, pip looks up `coverage[toml]` beside the locked `coverage`, and fails the day it has a release.
    .venv/bin/python -m pip install --disable-pip-version-check --no-input --no-compile --require-hashes --no-deps \
        -r requirements/dev.txt 2>&1 | progress "$packages" || { pip_failed; return 1; }
    .venv/bin/python -m pip install --disable-pip-version-check --no-input --no-deps --no-build-isolation \
        -e . 2>&1 | progress 1 || { pip_failed; return 1; }
    .venv/bin/python -m pip check >>.run/pip.log 2>&1 || { pip_failed; return 1; } # what --no-deps didn't look at
    printf '%s' "$wanted" >"$stamp"
    say "the environment is ready"
    exec 9>&-
}

pip_failed() {
    say "pip failed; the end of .run/pip.log:"
    tail -n 20 .run/pip.log >&2
}
