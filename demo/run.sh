#!/bin/sh
# run.sh - the demo: one of two programs is captured, in a network that exists for seconds; as root
# shellcheck disable=SC2317 # cleanup runs by the trap
set -eu
cd "$(dirname "$0")/.."

app="at-$$-app"
srv="at-$$-srv"
tmp=$(mktemp -d)
cleanup() {
	rm -rf "$tmp"
	ip netns del "$app" 2>/dev/null || true
	ip netns del "$srv" 2>/dev/null || true
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

ip netns add "$app"
ip netns add "$srv"
ip link add veth0 netns "$app" type veth peer name veth1 netns "$srv"
# shellcheck disable=SC2016 # expanded by the inner shell
network() { # NAMESPACE INTERFACE NUMBER
	nsenter --net="/run/netns/$1" sh -eu -c '
		ip link set lo up
		ip link set "$1" up
		ip addr add "10.77.0.$2/24" dev "$1"
		ip addr add "fd77::$2/64" dev "$1" nodad' network "$2" "$3"
}
network "$app" veth0 1
network "$srv" veth1 2

status=0
PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 demo/show.py "$app" "$srv" "$tmp" || status=$?
# Under sudo the file is for the one who asked.
[ -z "${SUDO_UID:-}" ] || [ ! -f demo.pcapng ] || chown "$SUDO_UID:${SUDO_GID:-0}" demo.pcapng
exit $status
