#!/bin/sh
# kernel.sh - a kernel of a Debian release, unpacked, not installed: kernel.sh SUITE FOLDER
#
# SUITE: bullseye (5.10), bookworm (6.1), bookworm-backports (6.12). Prints the version; the newest
# cloud kernel is taken from the mirror that the machine uses, once, and kept in FOLDER/VERSION.
set -eu
suite=${1:?SUITE} keep=${2:?FOLDER}
mkdir -p "$keep"
keep=$(cd "$keep" && pwd)
if [ -s "$keep/$suite" ]; then
	cat "$keep/$suite"
	exit
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/debs"

uri=$(cat /etc/apt/sources.list.d/*.sources 2>/dev/null | sed -n 's/^URIs: *\([^ ]*\).*/\1/p' | head -n 1)
[ -n "$uri" ] ||
	uri=$(sed -n 's/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*\) .*/\2/p' /etc/apt/sources.list | head -n 1)
[ -n "$uri" ] || {
	echo "kernel.sh: no Debian mirror is set up here" >&2
	exit 1
}
printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$uri" "$suite" \
	>"$work/one.list"
apt() {
	tool=$1
	shift
	"apt-$tool" -qq -oDir::State::Lists="$work/lists" -oDir::Etc::sourcelist="$work/one.list" \
		-oDir::Etc::sourceparts=/nonexistent -oDir::Cache::pkgcache= \
		-oDir::Cache::srcpkgcache= -oAPT::Sandbox::User=root -oDir::State::status=/dev/null "$@"
}
apt get update
package=$(apt cache search --names-only '^linux-image-[0-9].*-cloud-amd64$' | sed 's/ .*//' |
	sort -V | tail -n 1)
[ -n "$package" ] || {
	echo "kernel.sh: there is no cloud kernel in $suite" >&2
	exit 1
}
(cd "$work/debs" && apt get download "$package")
version=${package#linux-image-}
dpkg -x "$work"/debs/*.deb "$keep/$version"
/sbin/depmod -b "$keep/$version" "$version"
echo "$version" >"$keep/$suite"
echo "$version"
