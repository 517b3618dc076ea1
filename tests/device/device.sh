#!/bin/bash
# device.sh - a stand-in for one Android device behind adb, on Linux, as root
#
#   device.sh start NAME [options]      prints the adb serial to use
#       --adb host:PORT   (default host:5600) adbd answers on the host's 127.0.0.1:PORT with no adb
#                         byte inside the device's network (like USB)
#       --adb tcp:PORT    adbd listens in the device's own network (like wireless debugging):
#                         10.66.0.2:PORT, reached from the world namespace
#       --netns NAME      in this network namespace, which is somebody else's
#       --su aosp|magisk|ksu|deny|hang|none     (default magisk)
#       --adbd-user shell|root                  (default shell, uid 2000)
#       --sdk N --abi ABI                       (default 34 x86_64)
#       --iptables legacy|nft|none              (default legacy)
#       --model NAME
#       --env NAME=VALUE  of adbd, and so of whatever runs by it
#       --toolbox FILE    an extra file put at /system/bin (repeatable)
#   device.sh stop NAME                 everything in it dies, the namespaces go
#   device.sh exec NAME CMD...          root in all of the device's namespaces
#   device.sh app NAME UID CMD...       host program CMD in the device's network as UID
#   device.sh world NAME CMD...         host program in the network beyond wlan0
#   device.sh ps NAME                   what runs on the device
#   device.sh mkroot NAME [options]     only build dev/NAME/root
#
# The device: a PID, mount, UTS, IPC and network namespace with its own root: /system/bin (toybox,
# mksh as sh), stub getprop/pm/cmd/dumpsys, su, /data with packages.list. wlan0 is 10.66.0.2/24
# fd66::2/64, the world's end .1. Namespaces are named adbsim-NAME and adbsim-NAME-w; nothing is
# left in the host's. get-adbd.sh must have run. It cannot show: SELinux, binder, vendor kernels.
# shellcheck disable=SC2086 # lists of PIDs are split on purpose
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=${DEVICE_WORK:-$here/../../build/device}
mkdir -p "$work"
S=$(cd "$work" && pwd)
NAME=${2:-}
D=$S/dev/$NAME; R=$D/root; NS=adbsim-$NAME; WNS=adbsim-$NAME-w
die() { echo "device.sh: $*" >&2; exit 1; }
initpid() { cat "$D/init.pid" 2>/dev/null || die "no device '$NAME'"; }

copylibs() {	# every library that the given programs load, to the same place under $R
	local f l
	for f; do
		ldd "$f" 2>/dev/null | grep -o '/[^ ]*' | while read -r l; do
			case $l in "$S"/*) continue;; esac
			[ -e "$R$l" ] && continue
			mkdir -p "$R$(dirname "$l")"; cp -L "$l" "$R$l"
		done
	done
}

mkroot() {
	mkdir -p "$R"/{run,proc,sys,dev,tmp,sdcard,apex,vendor/bin,product/bin,data/local/tmp,data/system,data/data,data/app,data/adb,system/bin,system/xbin,system/lib64,system/etc}
	ln -sfn system/bin "$R/bin"; ln -sfn system/etc "$R/etc"
	mkdir -p "$R/lib/x86_64-linux-gnu" "$R/lib64" "$R/usr/lib/x86_64-linux-gnu"
	local A=$S/adbd/usr/lib
	cp "$A/android-sdk/platform-tools/adbd" "$R/system/bin/adbd"
	cp -r "$A/x86_64-linux-gnu/android" "$R/usr/lib/x86_64-linux-gnu/"
	cp "$S/bin/adbd_shim.so" "$R/system/lib64/"
	cp /usr/bin/toybox "$R/system/bin/toybox"; cp /usr/bin/mksh "$R/system/bin/sh"
	local t
	for t in $(/usr/bin/toybox); do case $t in su|killall5|sh) ;; *) ln -sf toybox "$R/system/bin/$t";; esac; done
	# Debian builds toybox without some that Android has
	for t in dd tr expr diff; do [ -e "$R/system/bin/$t" ] || cp "$(command -v $t)" "$R/system/bin/$t"; done
	cp "$(command -v ip)" "$R/system/bin/ip"; cp "$(command -v ss)" "$R/system/bin/ss"
	LD_LIBRARY_PATH=$A/x86_64-linux-gnu/android copylibs "$A/android-sdk/platform-tools/adbd" \
		/usr/bin/toybox /usr/bin/mksh "$(command -v ip)" "$(command -v ss)" "$(command -v dd)" "$(command -v diff)" "$(command -v tr)" "$(command -v expr)"
	if [ "$IPT" != none ]; then
		local m=xtables-$IPT-multi c; [ "$IPT" = nft ] && c=nft
		cp "/usr/sbin/$m" "$R/system/bin/iptables"; copylibs "/usr/sbin/$m"
		for c in ip6tables iptables-save iptables-restore ip6tables-save ip6tables-restore; do ln -sf iptables "$R/system/bin/$c"; done
		mkdir -p "$R/usr/lib/x86_64-linux-gnu/xtables"; cp /usr/lib/x86_64-linux-gnu/xtables/lib{xt,ipt,ip6t}_* "$R/usr/lib/x86_64-linux-gnu/xtables/"
		copylibs /usr/lib/x86_64-linux-gnu/xtables/libxt_NFLOG.so
	fi
	cp "$S/bin/su" "$R/system/bin/runas"; chmod 700 "$R/system/bin/runas"
	if [ "$SU" != none ]; then
		local su=$R/system/bin/su; [ "$SU" = aosp ] && su=$R/system/xbin/su
		cp "$S/bin/su" "$su"
		if [ "$SU" = aosp ]; then chown 0:2000 "$su"; chmod 4750 "$su"; else chmod 4755 "$su"; fi
		echo "$SU" >"$R/system/etc/sim_su"
	fi
	cat >"$R/system/etc/passwd" <<-'P'
	root:x:0:0::/:/bin/sh
	system:x:1000:1000::/:/bin/sh
	shell:x:2000:2000::/:/bin/sh
	u0_a123:x:10123:10123::/:/bin/sh
	u0_a124:x:10124:10124::/:/bin/sh
	P
	sed 's/:.*//' "$R/system/etc/passwd" | paste -d: - <(printf 'x:0:\nx:1000:\nx:2000:\nx:10123:\nx:10124:\n') >"$R/system/etc/group"
	printf 'adb:x:1011:\nlog:x:1007:\ninet:x:3003:\nreadproc:x:3009:\n' >>"$R/system/etc/group"
	cat >"$R/system/etc/props" <<-P
	ro.build.version.sdk=$SDK
	ro.build.version.release=14
	ro.product.cpu.abi=$ABI
	ro.product.cpu.abilist=$ABI
	ro.product.name=sim
	ro.product.model=$MODEL
	ro.product.device=sim
	ro.build.type=$([ "$SU" = aosp ] && echo userdebug || echo user)
	ro.debuggable=$([ "$SU" = aosp ] && echo 1 || echo 0)
	ro.secure=1
	service.adb.listen_addrs=tcp:$DPORT
	sys.boot_completed=1
	P
	cat >"$R/data/system/packages.list" <<-'P'
	com.android.settings 1000 0 /data/user_de/0/com.android.settings platform:privapp:targetSdkVersion=34 1065,3002,3003 0 34 1 @system
	com.example.app 10123 0 /data/user/0/com.example.app default:targetSdkVersion=33 3003 0 7 1 com.android.vending
	com.example.app.helper 10123 0 /data/user/0/com.example.app.helper default:targetSdkVersion=33 3003 0 7 1 com.android.vending
	com.example.other 10124 1 /data/user/0/com.example.other default:targetSdkVersion=30 none 0 3 0 @null
	P
	chown 1000:1032 "$R/data/system/packages.list"; chmod 640 "$R/data/system/packages.list"
	chown 1000:1000 "$R/data/system" "$R/data"; chmod 775 "$R/data/system"; chmod 771 "$R/data"
	chown 2000:2000 "$R/data/local/tmp"; chmod 771 "$R/data/local/tmp"; chown 0:0 "$R/data/local"; chmod 751 "$R/data/local"
	stub() { cat >"$R/system/bin/$1"; chmod 755 "$R/system/bin/$1"; }
	stub getprop <<-'P'
	#!/system/bin/sh
	if [ $# = 0 ]; then sed 's/^\([^=]*\)=\(.*\)/[\1]: [\2]/' /system/etc/props; exit; fi
	v=$(sed -n "s/^$1=//p" /system/etc/props | tail -n 1); echo "${v:-$2}"
	P
	stub pm <<-'P'
	#!/system/bin/sh
	exec cmd package "$@"
	P
	stub cmd <<-'P'
	#!/system/bin/sh
	[ "$1" = package ] || { echo "cmd: Can't find service: $1" >&2; exit 20; }
	shift
	L=/system/etc/packages
	case "$1 $2" in
	"list packages") shift 2; u= f=
		for a; do case $a in -U) u=1;; -*) ;; *) f=$a;; esac; done
		while read -r p i _; do
			case $p in *"$f"*) echo "package:$p${u:+ uid:$i}";; esac
		done <$L;;
	"path "*) grep -q "^$2 " $L || exit 1; echo "package:/data/app/~~x==/$2-y==/base.apk";;
	*) echo "Unknown command: $1" >&2; exit 255;;
	esac
	P
	sed 's/ .*//' "$R/data/system/packages.list" | while read -r p; do grep "^$p " "$R/data/system/packages.list" | cut -d' ' -f1,2; done >"$R/system/etc/packages"
	stub dumpsys <<-'P'
	#!/system/bin/sh
	# the activity manager's processes are what a test has written there
	[ "$1" != activity ] || { cat /data/system/activity 2>/dev/null; exit 0; }
	[ "$1" = package ] || { echo "Can't find service: $1" >&2; exit 0; }
	i=$(sed -n "s/^$2 //p" /system/etc/packages)
	if [ -z "$i" ]; then echo "Unable to find package: $2"; exit 0; fi
	if [ "$(getprop ro.build.version.sdk)" -ge 34 ]; then k=appId; else k=userId; fi
	printf 'Packages:\n  Package [%s] (4f1a2b3):\n    %s=%s\n    pkg=Package{4f1a2b3 %s}\n' "$2" $k "$i" "$2"
	P
	stub getenforce <<-'P'
	#!/system/bin/sh
	echo Enforcing
	P
	stub logcat <<-'P'
	#!/system/bin/sh
	echo "--------- beginning of main"
	P
	cat >"$R/system/etc/init.sh" <<-P
	#!/system/bin/sh
	# PID 1 of the device: keeps adbd alive, as Android's init does
	cd /
	while :; do
		env -i LD_PRELOAD=/system/lib64/adbd_shim.so ADBD_PROPS=/system/etc/props ${LFD:+ADBD_LISTEN_FD=$LFD} $ENV \\
		PATH=/product/bin:/apex/com.android.runtime/bin:/system/bin:/system/xbin:/vendor/bin \\
		ANDROID_ROOT=/system ANDROID_DATA=/data EXTERNAL_STORAGE=/sdcard ASEC_MOUNTPOINT=/mnt/asec \\
		/system/bin/runas $AUID $AUID 1004,1007,1011,1015,1028,1078,3001,3002,3003,3006,3009,3011 /system/bin/adbd
		sleep 0.2
	done
	P
}

parse() {
	SU=magisk AUSER=shell SDK=34 ABI=x86_64 IPT=legacy MODEL="Sim Phone" ADB=host:5600 EXTRA=() NETNS='' ENV=''
	shift 2
	while [ $# -gt 0 ]; do
		case $1 in
		--su) SU=$2;; --adbd-user) AUSER=$2;; --sdk) SDK=$2;; --abi) ABI=$2;; --iptables) IPT=$2;;
		--model) MODEL=$2;; --netns) NETNS=$2;; --adb) ADB=$2;; --env) ENV=$2;; --toolbox) EXTRA+=("$2");; *) die "unknown option $1";;
		esac; shift 2
	done
	AUID=2000; if [ "$AUSER" = root ]; then AUID=0; fi
	DPORT=${ADB#*:}; LFD=; if [ "${ADB%%:*}" = host ]; then LFD=9; fi
}

build() {
	[ ! -e "$D/init.pid" ] || die "device '$NAME' runs already"
	rm -rf "$D"; mkdir -p "$R"; mkroot
	for f in ${EXTRA[@]+"${EXTRA[@]}"}; do cp "$f" "$R/system/bin/"; copylibs "$f"; done
}

network() {
	ip netns add "$NS"; ip netns add "$WNS"
	ip -n "$NS" link set lo up; ip -n "$WNS" link set lo up
	ip -n "$NS" link add wlan0 type veth peer name w0 netns "$WNS"
	ip -n "$NS" addr add 10.66.0.2/24 dev wlan0; ip -n "$WNS" addr add 10.66.0.1/24 dev w0
	ip -n "$NS" addr add fd66::2/64 dev wlan0 nodad; ip -n "$WNS" addr add fd66::1/64 dev w0 nodad
	ip -n "$NS" link set wlan0 up; ip -n "$WNS" link set w0 up
	ip -n "$NS" route add default via 10.66.0.1; ip -n "$NS" route add default via fd66::1
}

start() {
	parse "$@"; build

	if [ -n "$NETNS" ]; then NS=$NETNS; else network; fi
	echo "$NS" >"$D/netns"

	cat >"$D/boot.sh" <<-P
	set -e
	mount --bind '$R' '$R'; cd '$R'
	mount -t proc -o hidepid=invisible,gid=3009 proc proc
	mount -t sysfs -o ro sysfs sys 2>/dev/null || true
	mount -t tmpfs -o mode=755 tmpfs dev; mkdir dev/pts dev/socket
	for n in 'null 1 3' 'zero 1 5' 'random 1 8' 'urandom 1 9' 'tty 5 0'; do set -- \$n; mknod -m 666 dev/\$1 c \$2 \$3; done
	mount -t devpts -o newinstance,mode=600,ptmxmode=666 devpts dev/pts; ln -s pts/ptmx dev/ptmx
	mount -t tmpfs -o mode=1777 tmpfs tmp
	hostname localhost
	mkdir -p .old; pivot_root . .old; cd /
	exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin:/system/bin chroot . /system/bin/sh -c 'umount -l /.old; exec /system/bin/sh /system/etc/init.sh'
	P
	local pre=()
	[ -z "$LFD" ] || pre=(python3 -c '
import os,socket,sys
s=socket.socket(); s.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1)
s.bind(("127.0.0.1",int(sys.argv[1]))); s.listen(8); os.dup2(s.fileno(),9); os.execvp(sys.argv[2],sys.argv[2:])' "$DPORT")
	setsid ${pre[@]+"${pre[@]}"} ip netns exec "$NS" unshare --mount --pid --fork --kill-child --uts --ipc \
		--propagation private /bin/bash "$D/boot.sh" >"$D/log" 2>&1 </dev/null &
	local up=$! c
	echo $up >"$D/outer.pid"
	for _ in $(seq 800); do
		c=$(cat /proc/$up/task/$up/children 2>/dev/null) || break
		if [ -n "$c" ] && grep -q 'adbd started' "$D/log"; then echo "${c% }" >"$D/init.pid"; break; fi
		sleep 0.05
	done
	[ -s "$D/init.pid" ] || { cat "$D/log" >&2; stop; die "did not start"; }
	if [ -n "$LFD" ]; then echo "127.0.0.1:$DPORT"; else echo "10.66.0.2:$DPORT"; fi
}

stop() {
	local p; p=$(cat "$D/outer.pid" 2>/dev/null) || die "no device '$NAME'"
	kill -KILL "$p" 2>/dev/null || true		# its child, PID 1 of the device, dies with it
	while kill -0 "$p" 2>/dev/null; do sleep 0.02; done
	if [ "$(cat "$D/netns")" = "$NS" ]; then
		for _ in $(seq 1000); do [ -z "$(ip netns pids "$NS" 2>/dev/null)" ] && break; sleep 0.02; done
		p=$(ip netns pids "$NS" 2>/dev/null; ip netns pids "$WNS" 2>/dev/null) || true
		[ -z "$p" ] || kill -KILL $p 2>/dev/null || true	# helpers from `app` and `world`
		ip netns del "$NS" 2>/dev/null || true; ip netns del "$WNS" 2>/dev/null || true
	fi
	rm -rf "$D"
}

case ${1:-} in
start) start "$@";;
mkroot) parse "$@"; build; echo "$R";;
stop) stop;;
exec) p=$(initpid); shift 2; exec nsenter -t "$p" -m -u -i -n -p -r -w -- env -i PATH=/system/bin:/system/xbin HOME=/ "$@";;
app) initpid >/dev/null; u=$3; shift 3; exec nsenter --net="/run/netns/$(cat "$D/netns")" setpriv --reuid "$u" --regid "$u" --groups 3003 -- "$@";;
world) shift 2; exec ip netns exec "$WNS" "$@";;
ps) exec nsenter -t "$(initpid)" -m -p -r -w /system/bin/ps -A -o PID,PPID,UID,PGID,TTY,S,ARGS;;
*) sed -n '2,24s/^# \?//p' "$0"; exit 2;;
esac
