#!/usr/bin/env bash
# Tests the Python examples against the server at REDIS_URL:  tools/with-server.sh examples/python/test.sh
# It installs into $EXAMPLES_DIR (<repository>/target/examples/python). Arguments are pytest's.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
venv=${EXAMPLES_DIR:-$here/../../target/examples/python}/venv

if [[ -z ${REDIS_URL:-} ]]; then
    echo "test.sh: set REDIS_URL to a server with redis-lock, or run 'tools/with-server.sh examples/python/test.sh'" >&2
    exit 2
fi

# What is installed already is left as it is, so only the first run needs the network. The client is the one of this
# repository, as it stands.
if ! cmp --silent "$here/requirements.txt" "$venv/installed"; then
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
        --editable "$here/../../clients/python"
    cp "$here/requirements.txt" "$venv/installed"
fi

cd "$here"
export PYTHONDONTWRITEBYTECODE=1
exec "$venv/bin/python" -m pytest -p no:cacheprovider "$@"
