#!/bin/sh
# agents.sh - the program for other machines: static, one for each ABI; run by ./dev agents
#
#   packaging/agents.sh OUT [ABI..]     OUT/apptap-ABI for arm64-v8a armeabi-v7a x86_64 x86
#   packaging/agents.sh OUT fetch       only what is unpacked beside the builds, for all ABIs
#   packaging/agents.sh OUT test ABI    the unit tests of what differs between processors, and the
#                                       library's ABI where words have 32 bits
#
# How it works: Debian's cross compilers and their C library, and the static jansson, libbpf, libelf
# and zlib of the same Debian release for that architecture, unpacked beside the build: nothing
# foreign is installed.
# Each ABI has a Meson folder of its own, OUT/ABI, so that only what has changed is built again.
# shellcheck disable=SC2086,SC2100 # lists of options are split on purpose; aarch64-linux is no sum
set -eu
repo=$(cd "$(dirname "$0")/.." && pwd)
out=${1:?usage: packaging/agents.sh OUT [ABI..]}
shift
mkdir -p "$out"
out=$(cd "$out" && pwd)

meson_options='-Dstatic=true -Dbpf=enabled -Dbuildtype=minsize -Ddebug=false -Dtests=enabled'

# abi_of ABI: sets triple (of the compiler), debian (its name for the architecture), and what Meson
# wants to know
abi_of() {
	case $1 in
	arm64-v8a) triple=aarch64-linux-gnu debian=arm64 family=aarch64 cpu=aarch64 ;;
	armeabi-v7a) triple=arm-linux-gnueabihf debian=armhf family=arm cpu=armv7 ;;
	x86_64) triple=x86_64-linux-gnu debian=amd64 family=x86_64 cpu=x86_64 ;;
	x86) triple=i686-linux-gnu debian=i386 family=x86 cpu=i686 ;;
	*)
		echo "agents.sh: no ABI is called '$1'" >&2
		exit 2
		;;
	esac
	case $debian in
	i386) libdir=usr/lib/i386-linux-gnu ;;
	*) libdir=usr/lib/$triple ;;
	esac
	qemu=qemu-$family
	[ $family != x86 ] || qemu=qemu-i386
	exe_wrapper=
	! command -v $qemu >/dev/null 2>&1 || exe_wrapper="'$qemu', '-L', '/usr/$triple', '-E', 'LD_LIBRARY_PATH=$dir/deps/root/$libdir'"
	[ $family != x86_64 ] || exe_wrapper=
}

# fetch DIR: the static libraries of architecture $debian, unpacked in DIR
fetch() {
	[ -e "$1/done" ] && [ -z "$(find "$repo/packaging/agents.sh" -newer "$1/done")" ] && return 0
	rm -rf "$1"
	mkdir -p "$1/lists/partial" "$1/debs"
	options="-oAcquire::Retries=3 -oAPT::Architecture=$debian -oAPT::Architectures::=$debian
		-oDir::State::Lists=$1/lists -oDir::State::status=/dev/null -oDir::Cache::pkgcache=
		-oDir::Cache::srcpkgcache= -oAPT::Sandbox::User=root"
	apt-get $options -qq update || : # of several indices one may fail, and not be needed
	(cd "$1/debs" && apt-get $options -qq download libjansson-dev libcmocka-dev libcmocka0 \
		libbpf-dev libelf-dev zlib1g-dev)
	for deb in "$1"/debs/*.deb; do
		dpkg -x "$deb" "$1/root"
	done
	rm -rf "$1/lists" "$1/debs"
	touch "$1/done"
}

cross_file() {
	cat <<-END
	# $meson_options
	[binaries]
	c = '$triple-gcc'
	ar = '$triple-ar'
	strip = '$triple-strip'
	pkgconfig = 'pkg-config'
	pkg-config = 'pkg-config'
	${exe_wrapper:+exe_wrapper = [$exe_wrapper]}
	[properties]
	sys_root = '$1/root'
	pkg_config_libdir = '$1/root/$libdir/pkgconfig'
	[host_machine]
	system = 'linux'
	cpu_family = '$family'
	cpu = '$cpu'
	endian = 'little'
	END
}

configure() {
	dir=$out/$1
	abi_of "$1"
	mkdir -p "$dir"
	fetch "$dir/deps"
	cross_file "$dir/deps" >"$dir/cross.new"
	if ! cmp -s "$dir/cross.new" "$dir/cross.txt" || [ ! -e "$dir/build/build.ninja" ]; then
		mv "$dir/cross.new" "$dir/cross.txt"
		rm -rf "$dir/build"
		meson setup "$dir/build" "$repo" --cross-file "$dir/cross.txt" $meson_options
	fi
}

build() {
	dir=$out/$1
	abi_of "$1"
	ninja -C "$dir/build" apptap
	"$triple-strip" -o "$out/apptap-$1.new" "$dir/build/apptap"
	mv "$out/apptap-$1.new" "$out/apptap-$1"
}

# What depends on the width of a word, on its order, or on a C library without NSS.
run_tests() {
	dir=$out/$1
	abi_of "$1"
	tests='wire dissect flow conn pcapng sink procnet android owners'
	targets=
	for t in $tests; do
		targets="$targets tests/unit/test_$t"
	done
	ninja -C "$dir/build" $targets tests/api/api-abi
	# What the header lays out where words have 32 bits: as it was promised.
	$qemu -L "/usr/$triple" "$dir/build/tests/api/api-abi" >"$dir/abi.txt"
	diff "$repo/tests/api/abi-$1.txt" "$dir/abi.txt"
	meson test -C "$dir/build" --no-rebuild --print-errorlogs --timeout-multiplier 4 $tests
}

verb=build
case ${1:-} in
test)
	run_tests "$2"
	exit
	;;
fetch | configure)
	verb=$1
	shift
	;;
esac
[ $# -gt 0 ] || set -- arm64-v8a armeabi-v7a x86_64 x86
case $verb in
fetch) # what is there already is not had again
	for abi; do
		dir=$out/$abi
		abi_of "$abi"
		fetch "$dir/deps"
	done
	;;
configure) configure "$1" ;;
build) # Meson leaves the other CPUs idle, ninja does not
	printf '%s\n' "$@" | xargs -n 1 -P "$(nproc)" "$0" "$out" configure
	for abi; do
		build "$abi"
	done
	;;
esac
