#!/usr/bin/env bash
# Ray 2.60.0: ray.init("local"), a Ray that ends with its script, leaves ~/.ray/auth_token. From then on a cluster that
# `ray start` begins demands this token, and a plain ray.init(address=...) of the same user on the same machine fails.
#
# One would expect: a local Ray that has ended changes nothing for clusters that are started later.
# What happens: ray.init("local") switches its own process to token authentication and writes a token into the home
#   folder. `ray start` finds the file and uses token mode; a program that connects does not look for it and is told
#   only "Failed to connect to Ray cluster". With RAY_AUTH_MODE=token it connects.
#
# Output seen:
#   ray 2.60.0
#   no token file before
#   new cluster, plain ray.init(address): connected
#   after ray.init("local"): auth_token is there
#   new cluster, plain ray.init(address): ConnectionError: Failed to connect to Ray cluster
#   new cluster, with RAY_AUTH_MODE=token: connected
set -eu
folder=$(mktemp -d)
head=""
end_head() { [ -z "$head" ] || { kill "$head" 2> /dev/null || true; wait "$head" 2> /dev/null || true; head=""; }; }
trap 'end_head; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check ray==2.60.0
export HOME="$folder/home" RAY_USAGE_STATS_ENABLED=0
unset RAY_AUTH_MODE RAY_AUTH_TOKEN RAY_ADDRESS
mkdir "$HOME"
cat > "$folder/connect.py" <<'PYTHON'
import sys

import ray

own = {"num_cpus": 1, "include_dashboard": False} if sys.argv[1] == "local" else {}
try:
    ray.init(sys.argv[1], log_to_driver=False, logging_level="ERROR", **own)
    print("connected")
except ConnectionError as error:
    print(f"ConnectionError: {str(error).split(' at ')[0]}")
PYTHON
begin_head() {
    "$folder/venv/bin/ray" start --head --block --port="$1" --num-cpus=1 --include-dashboard=false > "$folder/head.txt" 2>&1 &
    head=$!
    for _ in $(seq 120); do grep -q "Ray runtime started" "$folder/head.txt" && return; sleep 0.5; done
    cat "$folder/head.txt"; exit 1
}
try() { timeout 100 "$folder/venv/bin/python" "$folder/connect.py" "$1" 2> /dev/null | tail -n 1; }
port=$((20000 + RANDOM % 10000))
{
    "$folder/venv/bin/python" -c "import ray; print('ray', ray.__version__)"
    [ -e "$HOME/.ray/auth_token" ] || echo "no token file before"
    begin_head $port
    echo "new cluster, plain ray.init(address): $(try 127.0.0.1:$port)"
    end_head
    try local > /dev/null
    echo "after ray.init(\"local\"): $(ls "$HOME/.ray") is there"
    begin_head $((port + 1))
    echo "new cluster, plain ray.init(address): $(try 127.0.0.1:$((port + 1)))"
    echo "new cluster, with RAY_AUTH_MODE=token: $(RAY_AUTH_MODE=token try 127.0.0.1:$((port + 1)))"
    end_head
} > "$folder/output.txt"
cat "$folder/output.txt"
diff "$folder/output.txt" - <<'SEEN'
ray 2.60.0
no token file before
new cluster, plain ray.init(address): connected
after ray.init("local"): auth_token is there
new cluster, plain ray.init(address): ConnectionError: Failed to connect to Ray cluster
new cluster, with RAY_AUTH_MODE=token: connected
SEEN
