#!/usr/bin/env bash
# Builds the module and starts a server with it in the foreground, on port PORT (6379).
# REDIS_SERVER=<program> chooses another server.
set -euo pipefail
cd "$(dirname "$0")/.."

port=${PORT:-6379}
server=${REDIS_SERVER:-redis-server}

if ! [[ $port =~ ^[0-9]{1,5}$ ]] || ((10#$port < 1 || 10#$port > 65535)); then
    echo "run: PORT=$port is not a port: give a number from 1 to 65535." >&2
    exit 1
fi

tools/setup.sh

if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
    cat >&2 <<END
run: port $port is in use; perhaps by the system's own Redis ('systemctl stop redis-server' ends that).
run: To take another port:  make run PORT=$((10#$port < 65525 ? 10#$port + 10 : 6390))
END
    exit 1
fi

cargo build --release --locked
mkdir -p target/run

cat <<END

Redis with locks on port $port. Ctrl-C ends it; what it stored stays in target/run. In another terminal:

  redis-cli -p $port LOCK.ACQUIRE door alice PX 60000
  redis-cli -p $port LOCK.EXTEND door alice PX 60000
  redis-cli -p $port LOCK.RELEASE door alice

END
exec "$server" redis.conf --port "$port"
