#!/bin/sh
# install-agents.sh - the agents that ./dev agents has built, put where the program looks for them
#
#   packaging/install-agents.sh FOLDER     run by `meson install`, which sets the other variables
set -eu
to=${DESTDIR:-}$1
for agent in "$MESON_BUILD_ROOT"/agents/apptap-*; do
	case $agent in
	*'*') # there are none
		echo "no agents to install: ./dev agents builds them (adb and ssh need them)"
		exit 0
		;;
	esac
	[ -f "$agent" ] || continue
	mkdir -p "$to"
	# Not in its final place before it is whole.
	cp "$agent" "$to/.new"
	chmod 755 "$to/.new"
	mv "$to/.new" "$to/${agent##*/}"
	echo "Installing $agent to $1"
done
