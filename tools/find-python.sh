#!/bin/sh
# Prints the newest usable Python, or with an argument ("3.12") that one; exit 1 when there is none.
# Usable: it starts (a shim may not), is 3.11 or newer, and can make a virtual environment with pip.
set -u

usable() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

for version in ${1:-3.13 3.12 3.11}; do
    for candidate in "$(command -v "python$version" 2>/dev/null)" "$HOME/.pyenv/versions/$version"*/bin/python; do
        if [ -n "$candidate" ] && [ -x "$candidate" ] && usable "$candidate"; then
            "$candidate" -c 'import sys; print(sys.executable)'
            exit 0
        fi
    done
done
if [ $# -eq 0 ] && usable python3; then
    python3 -c 'import sys; print(sys.executable)'
    exit 0
fi
echo "No usable Python ${1:-3.11 or newer} found on PATH or under ~/.pyenv/versions (python3-venv may be missing)." >&2
exit 1
