#!/usr/bin/env bash
# Runs redis-py's own tests of its Lock over redislock_client.redis_py:  run.sh <python> <version of redis-py>
#
# It takes the tests out of the source distribution of that version, which pip fetches once. The Python is one of a
# virtual environment that has redis-lock-client, redis of the same version, pytest and pytest-asyncio. REDIS_URL is a
# server with redis-lock, which the tests flush.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
python=$1 version=$2
work=${REDIS_PY_TESTS:-$here/../../../../target/clients/python/redis-py}
source=$work/redis-$version
: "${REDIS_URL:?set REDIS_URL to a server with redis-lock}"

if [[ ! -d $source ]]; then
    mkdir -p "$work"
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-binary redis \
        --dest "$work" "redis==$version" 2>/dev/null ||
        "$python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary redis --dest "$work" "redis==$version"
    tar -xzf "$work/redis-$version.tar.gz" -C "$work"
    # The installed package is tested, not the copy beside the tests.
    rm -rf "$source/redis"
fi
cd "$source"
export PYTHONPATH=$here PYTHONDONTWRITEBYTECODE=1
exec "$python" -m pytest -p plugin -p no:cacheprovider -q -rs -W ignore -o asyncio_mode=auto --redis-url "$REDIS_URL/0" \
    tests/test_lock.py tests/test_asyncio/test_lock.py
