#!/bin/bash
# get-adbd.sh - the Android adb daemon that Debian builds, and what the stand-in phone adds to it
#
# How it works: adbd 34 and its own libraries come from bookworm-backports and are unpacked in
# build/device; nothing is installed, so that the machine's adb stays as it is. The other libraries
# come with bookworm's package `adb`. The mirror is the one that the machine uses already.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=${DEVICE_WORK:-$here/../../build/device}
mkdir -p "$work"
work=$(cd "$work" && pwd)
[ "$work/done" -nt "$here/su.c" ] && [ "$work/done" -nt "$here/adbd_shim.cc" ] && exit 0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir -p "$tmp/lists/partial" "$tmp/debs" "$work/bin"
uri=$(cat /etc/apt/sources.list.d/*.sources 2>/dev/null | sed -n 's/^URIs: *\([^ ]*\).*/\1/p' | head -1)
[ -n "$uri" ] || uri=$(sed -n 's/^deb \(\[[^]]*\] \)\?\([^ ]*\) .*/\2/p' /etc/apt/sources.list | head -1)
printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s bookworm-backports main\n' \
	"$uri" >"$tmp/sources.list"
options=("-oDir::State::Lists=$tmp/lists" "-oDir::Etc::sourcelist=$tmp/sources.list"
	-oDir::Etc::sourceparts=/nonexistent -oDir::Cache::pkgcache= -oDir::Cache::srcpkgcache=
	-oAPT::Sandbox::User=root)
apt-get "${options[@]}" -qq update
cd "$tmp/debs"
apt-get "${options[@]}" -qq download adbd/bookworm-backports android-libbase/bookworm-backports \
	android-libcutils/bookworm-backports android-liblog/bookworm-backports \
	android-libboringssl/bookworm-backports
for deb in ./*.deb; do
	dpkg -x "$deb" "$work/adbd"
done
g++ -O1 -shared -fPIC -static-libgcc -o "$work/bin/adbd_shim.so" "$here/adbd_shim.cc" -ldl
gcc -O1 -D_GNU_SOURCE -static -o "$work/bin/su" "$here/su.c"
touch "$work/done"
