#!/bin/sh
# vm.sh - a command under another kernel: vm.sh KERNELS VERSION COMMAND...
#
# How it works. QEMU (without KVM) boots the kernel that kernel.sh unpacked to KERNELS/VERSION with
# this machine's own root, read-only over virtiofs, and a tmpfs on top: the same programs and the
# same tree at the same paths. The command runs there as root in this folder; its output comes
# through a serial line, with its exit status at the end. Nothing that it writes stays.
# VM_WITHOUT: modules that shall not be there, separated by spaces.
set -eu
kernels=$(cd "${1:?KERNELS}" && pwd) version=${2:?VERSION}
shift 2
tree=$kernels/$version
work=$(mktemp -d)
fs_pid=
# shellcheck disable=SC2317 # it is the trap's
end() {
	[ -z "$fs_pid" ] || kill "$fs_pid" 2>/dev/null || :
	rm -rf "$work"
}
trap end EXIT
trap 'exit 130' INT TERM

# What the initramfs needs to reach the root; all else is loaded from there on demand.
boot_modules='virtio_pci virtiofs overlay'
taken=
take() { # depth first: what a module needs comes before it
	case " $taken " in *" $1 "*) return ;; esac
	taken="$taken $1"
	file=$(find "$tree/lib/modules/$version" -name "$1.ko*" -o -name "$(echo "$1" | tr _ -).ko*" | head -n 1)
	[ -n "$file" ] || return 0 # built in
	case $file in
	*.xz) xz -dc "$file" >"$work/root/$1.ko" ;;
	*) cp "$file" "$work/root/$1.ko" ;;
	esac
	for need in $(/sbin/modinfo -F depends "$work/root/$1.ko" | tr ',' ' '); do
		take "$need"
	done
	echo "$1" >>"$work/root/modules"
}

mkdir -p "$work/root/bin" "$work/root/new" "$work/root/over" "$work/root/low"
cp "$(command -v busybox)" "$work/root/bin/busybox"
: >"$work/root/modules"
for m in $boot_modules; do take "$m"; done
cat >"$work/root/init" <<'I'
#!/bin/busybox sh
b=/bin/busybox
while read -r m; do $b insmod /$m.ko; done </modules
$b mount -t virtiofs -o ro root /low
$b mount -t tmpfs over /over
$b mkdir /over/up /over/work
$b mount -t overlay -o lowerdir=/low,upperdir=/over/up,workdir=/over/work over /new
for d in tmp run dev/shm lib/modules; do $b mkdir -p /new/$d; done
$b mount -t devtmpfs dev /new/dev
$b mkdir -p /new/dev/shm /new/dev/pts
for d in run dev/shm; do $b mount -t tmpfs tmpfs /new/$d; done
$b mount -t devpts devpts /new/dev/pts
$b mount -t proc proc /new/proc
$b mount -t sysfs sysfs /new/sys
$b mount -t cgroup2 cgroup2 /new/sys/fs/cgroup
$b mount -t debugfs debugfs /new/sys/kernel/debug 2>/dev/null
$b cp /inner /new/run/inner
exec $b chroot /new /bin/sh /run/inner
I
chmod 755 "$work/root/init"

# For the shell inside: each word in quotes.
words=
for word; do
	words="$words '$(printf '%s' "$word" | sed "s/'/'\\\\''/g")'"
done
cat >"$work/root/inner" <<I
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount --bind '$tree/lib/modules/$version' /lib/modules/$version 2>/dev/null ||
	{ mkdir -p /lib/modules/$version && mount --bind '$tree/lib/modules/$version' /lib/modules/$version; }
hostname vm
ip link set lo up
for m in ${VM_WITHOUT:-}; do echo "install \$m /bin/false" >>/run/without; done
[ ! -f /run/without ] || { mkdir -p /etc/modprobe.d; cp /run/without /etc/modprobe.d/without.conf; }
cd '$PWD' || exit
env ${VM_ENV:-} $words >/dev/ttyS1 2>&1 </dev/null
printf '\nvm-exit %s\n' \$? >/dev/ttyS1
sleep 0.2
echo o >/proc/sysrq-trigger
sleep 60
I
(cd "$work/root" && find . | cpio --quiet -o -H newc 2>/dev/null | gzip -1) >"$work/initrd"

boot() {
	rm -f "$work/fs" "$work/serial"
	/usr/lib/qemu/virtiofsd --socket-path="$work/fs" -o source=/ -o sandbox=chroot -o cache=always \
		>"$work/fs.log" 2>&1 &
	fs_pid=$!
	i=0
	while [ ! -S "$work/fs" ] && [ $i -lt 50 ]; do
		sleep 0.1
		i=$((i + 1))
	done
	timeout "${VM_SECONDS:-500}" qemu-system-x86_64 -M q35 -cpu max,cx16=off -accel tcg,thread=multi -smp 2 \
		-m 2048 -object memory-backend-memfd,id=mem,size=2048M,share=on -numa node,memdev=mem \
		-chardev "socket,id=fs,path=$work/fs" -device vhost-user-fs-pci,chardev=fs,tag=root \
		-display none -nodefaults -no-reboot -serial "file:$work/console" \
		-serial "file:$work/serial" -kernel "$tree/boot/vmlinuz-$version" -initrd "$work/initrd" \
		-append "console=ttyS0 panic=-1 quiet mitigations=off" </dev/null >"$work/qemu" 2>&1 || :
}

# An emulated CPU may meet a breakpoint that the kernel has just taken away (it patches itself while it
# boots), and die of it. What the command has begun is not begun again.
boot
for again in 1 2; do
	if [ -s "$work/serial" ] || ! grep -q 'Kernel panic' "$work/console"; then
		break
	fi
	echo "vm.sh: $version died while it booted; once more ($again of 2)" >&2
	kill "$fs_pid" 2>/dev/null || :
	boot
done
tr -d '\r' <"$work/serial" | sed '/^vm-exit /d'
status=$(tr -d '\r' <"$work/serial" | sed -n 's/^vm-exit //p')
[ -n "$status" ] || {
	echo "vm.sh: the command did not end under $version; the console's last lines:" >&2
	tail -n 45 "$work/console" >&2
	cat "$work/qemu" "$work/fs.log" >&2
	exit 125
}
exit "$status"
