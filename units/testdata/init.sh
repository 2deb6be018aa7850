#!/bin/bash
# Runs as the first process of new namespaces: makes a root out of an overlay
# of the machine's and the files to be tested, and becomes systemd there.
#   init.sh STATE LOWER     with STATE/tree, the files to be added to root LOWER
# Status 77 means that this kernel cannot do it, and the last line says what.
set -eu
state=$1
lower=$2
root=$state/root
cannot() { echo "cannot $*"; exit 77; }

mount --make-rprivate / || cannot "make mounts private"
mkdir -p "$root" "$state/layer"
mount -t tmpfs tmpfs "$state/layer" || cannot "mount a tmpfs"
mkdir "$state/layer/upper" "$state/layer/work"
chmod 755 "$state/layer/upper"
cp -a "$state/tree/." "$state/layer/upper/"
mount -t overlay -o "lowerdir=$lower,upperdir=$state/layer/upper,workdir=$state/layer/work" overlay "$root" || cannot "mount an overlay of $lower"
for d in dev proc sys run tmp; do mkdir -p "$root/$d"; done
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc" || cannot "mount proc"
mount -t sysfs sysfs "$root/sys" || cannot "mount sysfs"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup" || cannot "mount cgroup2"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mkdir "$root/run/lock"

echo scgid-test >/proc/sys/kernel/hostname
# Nothing of the machine's own is to run.
etc=$root/etc/systemd/system
rm -rf "$etc"/*.wants "$etc"/*.requires "$root"/etc/rc?.d/[SK]*
for unit in getty@tty1 console-getty getty-static systemd-udevd systemd-udev-trigger systemd-networkd systemd-resolved systemd-timesyncd \
	systemd-firstboot systemd-modules-load systemd-hwdb-update systemd-journal-catalog-update systemd-update-done ldconfig; do
	ln -sf /dev/null "$etc/$unit.service"
done
for unit in sys-fs-fuse-connections.mount sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount \
	dev-hugepages.mount dev-mqueue.mount proc-sys-fs-binfmt_misc.automount systemd-udevd-control.socket systemd-udevd-kernel.socket; do
	ln -sf /dev/null "$etc/$unit"
done
: >"$root/etc/fstab"
# Without one this would be a first boot, which enables all again.
tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
# As the package does: the user is there before the bus reads its policy.
systemd-sysusers --root="$root" scgid.conf scgid-test.conf

cd "$root"
mkdir -p .old
pivot_root . .old || cannot "change the root"
umount -l /.old
export container=other
exec /lib/systemd/systemd --system --log-target=journal --show-status=0 --unit=multi-user.target
