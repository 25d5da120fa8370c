#!/usr/bin/env bash
# Tests the Python client. It needs python3 with venv, redis-server, and the module (REDIS_LOCK_MODULE, or target/release).
#
#   test.sh              everything with the newest redis-py
#   test.sh --quick      for CI: the newest and the oldest redis-py, without the slow tests
#   test.sh --matrix     everything with redis-py 5.0, 6, 7 and the newest
#   test.sh --venv       only prepares target/clients/python/newest, for the conformance driver
#
# Virtual environments are kept in target/clients/python; only their first use needs the network.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
venvs=${CLIENTS_DIR:-$root/target/clients/python}
newest=8.1.0 oldest=5.0.0
tools="pytest==9.2.0 pytest-asyncio==1.5.0"

# prepare <name> <version of redis-py> [package ...]
prepare() {
    local venv=$venvs/$1 wanted="redis==$2 $tools ${*:3}"
    if [[ $(cat "$venv/installed" 2>/dev/null) != "$wanted" ]]; then
        python3 -m venv --clear "$venv"
        # shellcheck disable=SC2086
        "$venv/bin/pip" install --quiet --disable-pip-version-check hatchling editables $wanted
        "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable "$here"
        printf '%s' "$wanted" >"$venv/installed"
    fi
}

# with <name> <command ...>: runs it with the module that the repository built, or the one that was given.
pytest_in() {
    local name=$1
    shift
    (cd "$here" && PYTHONDONTWRITEBYTECODE=1 nice "$venvs/$name/bin/python" -m pytest -p no:cacheprovider -q "$@")
}

lint() {
    (cd "$here" && "$venvs/newest/bin/ruff" check --no-cache . "$root/conformance/drivers/python" &&
        "$venvs/newest/bin/ruff" format --no-cache --check . "$root/conformance/drivers/python" &&
        "$venvs/newest/bin/mypy" --no-incremental src)
}

redis_py_suite() {
    REDIS_LOCK_MODULE=${REDIS_LOCK_MODULE:-$root/target/release/libredis_lock.so} \
        "$root/tools/with-server.sh" "$here/tests/redis_py/run.sh" "$venvs/$1/bin/python" "$2"
}

extras="mypy==2.4.1 ruff==0.17.6 build==1.6.1 django==5.2.19 celery==5.7.0"
# shellcheck disable=SC2086
prepare newest $newest $extras

case ${1:-} in
--venv) ;;
--quick)
    prepare oldest $oldest
    lint
    pytest_in newest -m "not slow" "${@:2}"
    pytest_in oldest -m "not slow" tests/test_locks.py tests/test_aio.py -k "not fake" "${@:2}"
    redis_py_suite newest $newest
    ;;
--matrix)
    lint
    for version in $oldest 6.4.0 7.1.0; do
        prepare "redis-$version" "$version"
        pytest_in "redis-$version" --ignore=tests/test_package.py --ignore=tests/test_recipes.py "${@:2}"
        redis_py_suite "redis-$version" "$version"
    done
    pytest_in newest "${@:2}"
    redis_py_suite newest $newest
    ;;
*)
    lint
    pytest_in newest "$@"
    redis_py_suite newest $newest
    ;;
esac
