#!/bin/bash
# arm64.sh - the stand-in phone as an arm64 machine of its own, in QEMU
#
#   arm64.sh prepare            downloads and unpacks, once: a kernel, adbd, Android's shell and tools
#   arm64.sh start PORT         prints the adb serial; its console is in build/device/arm64/console
#   arm64.sh stop PORT
#
# How it works. Debian's arm64 cloud kernel boots an initramfs: the root that device.sh makes, with
# its programs exchanged for those of Debian's arm64 packages, and the libraries that they need.
# Nothing is installed. Without KVM it takes some 6 s to adb's first answer.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=${DEVICE_WORK:-$here/../../build/device}
mkdir -p "$work/arm64"
work=$(cd "$work" && pwd)
dir=$work/arm64
die() {
	echo "arm64.sh: $*" >&2
	exit 1
}

debian() { # an apt-get that knows bookworm and its backports for arm64, and nothing of this machine
	apt-get -oAPT::Architecture=arm64 -oAPT::Architectures::=arm64 "-oDir::State::Lists=$dir/lists" \
		-oDir::State::status=/dev/null "-oDir::Etc::sourcelist=$dir/sources.list" \
		-oDir::Etc::sourceparts=/nonexistent -oDir::Cache::pkgcache= \
		-oDir::Cache::srcpkgcache= -oAPT::Sandbox::User=root -qq "$@"
}

fetch() {
	local uri suite
	uri=$(cat /etc/apt/sources.list.d/*.sources 2>/dev/null | sed -n 's/^URIs: *\([^ ]*\).*/\1/p' | head -1)
	[ -n "$uri" ] || uri=$(sed -n 's/^deb \(\[[^]]*\] \)\?\([^ ]*\) .*/\2/p' /etc/apt/sources.list | head -1)
	mkdir -p "$dir/lists/partial" "$dir/debs"
	for suite in bookworm bookworm-backports; do
		echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $suite main"
	done >"$dir/sources.list"
	debian update
	kernel=$(apt-cache -oAPT::Architecture=arm64 -oAPT::Architectures::=arm64 \
		"-oDir::State::Lists=$dir/lists" -oDir::State::status=/dev/null \
		"-oDir::Etc::sourcelist=$dir/sources.list" -oDir::Etc::sourceparts=/nonexistent \
		-oDir::Cache::pkgcache= -oDir::Cache::srcpkgcache= search --names-only \
		'^linux-image-6\.1\..*-cloud-arm64$' | sed 's/ .*//' | sort -V | tail -1)
	(cd "$dir/debs" && debian download "$kernel" adbd/bookworm-backports \
		android-libbase/bookworm-backports android-libcutils/bookworm-backports \
		android-liblog/bookworm-backports android-libboringssl/bookworm-backports \
		mksh toybox coreutils diffutils iproute2 libc6 libgcc-s1 libstdc++6 libssl3 libselinux1 \
		libpcre2-8-0 libcap2 libbpf1 libelf1 libmnl0 libdb5.3 libtirpc3 zlib1g libzstd1 \
		liblz4-1 libbrotli1 libacl1 libattr1 libgmp10 libxtables12 libgssapi-krb5-2 libkrb5-3 \
		libk5crypto3 libcom-err2 libkrb5support0 libkeyutils1 libcrypt1 libusb-1.0-0 \
		libsystemd0 liblzma5 libgcrypt20 libgpg-error0 libbsd0 libmd0 libprotobuf32 \
		iptables libip4tc2 libip6tc2 libnetfilter-conntrack3 libnfnetlink0)
	for deb in "$dir"/debs/*.deb; do
		dpkg -x "$deb" "$dir/debian"
	done
	rm -rf "$dir/debs" "$dir/lists"
}

# needs FILE..: the libraries that they name
needs() {
	readelf -d "$@" 2>/dev/null | sed -n 's/.*NEEDED.*\[\(.*\)\]/\1/p' | sort -u
}

put() { # PATH in one of the packages, TO in the root
	local from
	for from in "$dir/debian/usr$1" "$dir/debian$1"; do
		[ ! -e "$from" ] || { cp -L "$from" "$2" && return; }
	done
	die "no $1 in the packages"
}

exchange_programs() {
	local bin=$root/system/bin tool
	rm -rf "${root:?}/lib" "${root:?}/lib64" "${root:?}/usr" "$root/system/lib64"
	mkdir -p "$root/lib/aarch64-linux-gnu" "$root/usr/lib/aarch64-linux-gnu"
	put /lib/android-sdk/platform-tools/adbd "$bin/adbd"
	put /bin/toybox "$bin/toybox"
	put /bin/mksh "$bin/sh"
	put /bin/ip "$bin/ip"
	put /bin/ss "$bin/ss"
	put /sbin/xtables-legacy-multi "$bin/iptables"
	for tool in ip6tables iptables-save iptables-restore ip6tables-save ip6tables-restore; do
		ln -sf iptables "$bin/$tool"
	done
	cp -r "$dir/debian/usr/lib/aarch64-linux-gnu/xtables" "$root/usr/lib/aarch64-linux-gnu/"
	for tool in dd tr expr diff; do
		rm -f "$bin/$tool"
		put "/bin/$tool" "$bin/$tool"
	done
	aarch64-linux-gnu-gcc -O1 -D_GNU_SOURCE -static -o "$dir/su" "$here/su.c"
	for tool in su runas; do
		cat "$dir/su" >"$bin/$tool"
	done
	cp -r "$dir/debian/usr/lib/aarch64-linux-gnu/android" "$root/usr/lib/aarch64-linux-gnu/"
}

exchange_libraries() {
	local libs=$root/lib/aarch64-linux-gnu want have=
	want=$(needs "$root"/system/bin/* "$root"/usr/lib/aarch64-linux-gnu/android/* \
		"$root"/usr/lib/aarch64-linux-gnu/xtables/*)
	while [ -n "$want" ]; do
		local next='' lib
		for lib in $want; do
			case " $have " in *" $lib "*) continue ;; esac
			have="$have $lib"
			[ ! -e "$root/usr/lib/aarch64-linux-gnu/android/$lib" ] || continue
			put "/lib/aarch64-linux-gnu/$lib" "$libs/$lib"
			next="$next $(needs "$libs/$lib" | tr '\n' ' ')"
		done
		want=${next# }
	done
	ln -sf aarch64-linux-gnu/ld-linux-aarch64.so.1 "$root/lib/ld-linux-aarch64.so.1"
}

# What must be loaded for a network card, for the socket tables and for iptables; what they need
# first.
take_modules() {
	local version=$1 taken=
	take() {
		case " $taken " in *" $1 "*) return ;; esac
		taken="$taken $1"
		local file need
		file=$(find "$dir/debian/lib/modules/$version" -name "$1.ko*" -o -name "${1//_/-}.ko*" | head -1)
		[ -n "$file" ] || return 0 # built in
		case $file in
		*.xz) xz -dc "$file" >"$root/lib/modules/$1.ko" ;;
		*) cp "$file" "$root/lib/modules/$1.ko" ;;
		esac
		for need in $(/sbin/modinfo -F depends "$root/lib/modules/$1.ko" | tr ',' ' '); do
			take "$need"
		done
		echo "$1" >>"$root/lib/modules/order"
	}
	mkdir -p "$root/lib/modules"
	for m in virtio_pci virtio_net af_packet inet_diag tcp_diag udp_diag ip_tables ip6_tables \
		iptable_mangle ip6table_mangle xt_owner xt_connmark xt_conntrack xt_tcpudp xt_NFLOG \
		nf_conntrack nfnetlink_log; do
		take "$m"
	done
}

write_init() {
	sed -i 's/LD_PRELOAD=[^ ]* ADBD_PROPS=[^ ]* *//' "$root/system/etc/init.sh"
	sed -i 's/^ro.product.cpu.abi.*=x86_64/ro.product.cpu.abi=arm64-v8a/' "$root/system/etc/props"
	cat >"$root/init" <<-'I'
	#!/bin/sh
	PATH=/system/bin:/system/xbin
	mount -t proc -o hidepid=2,gid=3009 proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
	mkdir -p /dev/pts; mount -t devpts -o mode=600,ptmxmode=666 devpts /dev/pts; chmod 666 /dev/ptmx
	mount -t tmpfs tmpfs /tmp
	while read -r m; do insmod /lib/modules/$m.ko; done </lib/modules/order
	hostname localhost
	for i in /sys/class/net/*; do case ${i##*/} in lo) ;; *) e=${i##*/};; esac; done
	ip link set lo up; ip link set $e name wlan0; ip link set wlan0 up
	ip addr add 10.0.2.15/24 dev wlan0; ip route add default via 10.0.2.2
	exec /bin/sh /system/etc/init.sh
	I
	chmod 755 "$root/init"
}

prepare() {
	[ ! "$dir/done" -nt "$0" ] || return 0
	[ -e "$dir/debian/usr/sbin/xtables-legacy-multi" ] || fetch
	local version
	version=$(basename "$(echo "$dir"/debian/lib/modules/*)")
	DEVICE_WORK=$work "$here/device.sh" mkroot "arm64-$$" --adb tcp:5555 --iptables none >/dev/null
	root=$work/dev/arm64-$$/root
	exchange_programs
	exchange_libraries
	take_modules "$version"
	write_init
	(cd "$root" && find . | busybox cpio -o -H newc 2>/dev/null | gzip -1) >"$dir/initramfs"
	cp "$dir/debian/boot/vmlinuz-$version" "$dir/kernel"
	rm -rf "$work/dev/arm64-$$"
	touch "$dir/done"
}

start() {
	setsid qemu-system-aarch64 -M virt -cpu cortex-a72 -accel tcg -m 768 -nographic -nodefaults \
		-no-reboot -serial "file:$dir/console" -kernel "$dir/kernel" -initrd "$dir/initramfs" \
		-append "console=ttyAMA0 panic=-1 quiet" -nic \
		"user,model=virtio-net-pci,restrict=on,hostfwd=tcp:127.0.0.1:$1-:5555" \
		>"$dir/log" 2>&1 </dev/null &
	echo $! >"$dir/pid.$1"
	for _ in $(seq 600); do
		if grep -aq 'adbd started' "$dir/console" 2>/dev/null; then
			echo "127.0.0.1:$1"
			return
		fi
		kill -0 $! 2>/dev/null || break
		sleep 0.1
	done
	tail -n 20 "$dir/log" "$dir/console" >&2
	die "did not start"
}

case ${1:-} in
prepare) prepare ;;
start) rm -f "$dir/console" && start "${2:?PORT}" ;;
stop) kill "$(cat "$dir/pid.${2:?PORT}")" && rm -f "$dir/pid.$2" ;;
*)
	sed -n '3,6s/^# *//p' "$0"
	exit 2
	;;
esac
