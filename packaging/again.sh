#!/bin/sh
# again.sh - a command that a network's whim may fail: again.sh COMMAND..; tried four times, with pauses
for pause in 3 15 45; do
	"$@" && exit 0
	echo "again.sh: once more in $pause s: $*" >&2
	sleep $pause
done
exec "$@"
