#!/bin/bash
# How long a new user waits from git clone to the first prediction, step by step, in a new folder.
# bash benchmarks/first_prediction.sh IMAGE [REPOSITORY]    deletes nothing; needs git and Python
set -eu
image=$(realpath "$1")
repository=$(realpath "${2:-.}")
place=$(mktemp -d)
cd "$place"

timed() {  # a name, and the command
    local name=$1 before=$SECONDS
    shift
    "$@" > "$name.log" 2>&1 || { tail -n 5 "$name.log" >&2; exit 1; }
    echo "$name: $((SECONDS - before)) s"
}

unset PYTHONPATH
timed clone git clone --quiet "$repository" pneumo
timed venv python3 -m venv venv
timed install venv/bin/python -m pip install --no-cache-dir -c pneumo/constraints.txt ./pneumo
timed predict-first venv/bin/python -m pneumo.predict "$image"
timed predict-again venv/bin/python -m pneumo.predict "$image"
echo "in all: $SECONDS s; $(du -sh venv | cut -f 1) in venv"
cat predict-again.log
echo "$place can be deleted"
