#!/bin/sh
# Makes a machine of its own out of this one, and becomes its systemd. machine.py starts it, as PID 1 of new PID,
# mount, UTS, IPC and network namespaces:
#
#   boot.sh FOLDER CGROUP [SHOWN PLACE]…
#
# FOLDER: an empty folder; its file `pid` gets our PID as it is outside. CGROUP: a cgroup v2 made for this machine.
# SHOWN: a folder of this machine that the new one needs at PLACE. The rest of the new root is an overlay over ours:
# all that is changed in it is gone with the machine. BOOT_PREPARE in the environment: a script that is run in the new
# root before its systemd is, as an installer of a system would.
set -eu

folder=$1 cgroup=$2
shift 2

if [ "${BOOT_STAGE:-1}" = 1 ]; then
    # /proc is still the one outside, and tells our PID there.
    read -r pid rest </proc/self/stat
    echo "$pid" >"$folder/pid"
    # The cgroup namespace has its root where we are when we enter it.
    echo 0 >"$cgroup/cgroup.procs"
    BOOT_STAGE=2 exec unshare --cgroup sh "$0" "$folder" "$cgroup" "$@"
fi

# Without --no-mtab it would write to the /run/mount of the machine outside.
mount() { command mount --no-mtab "$@"; }

mount --make-rprivate /
mount -t tmpfs -o mode=0755 pixstored-test "$folder"
root=$folder/root
mkdir "$folder/changes" "$folder/work" "$root"
mount -t overlay -o "lowerdir=/,upperdir=$folder/changes,workdir=$folder/work" overlay "$root"

# What the kernel shares between all machines on it can be read, not set.
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
for shared in sys sysrq-trigger irq bus fs; do
    [ -e "$root/proc/$shared" ] || continue
    mount --bind "$root/proc/$shared" "$root/proc/$shared"
    mount -o remount,bind,ro "$root/proc/$shared"
done
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys"
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$root/sys/fs/cgroup"

# Devices: the harmless ones.
mount -t tmpfs -o mode=0755,nosuid devices "$root/dev"
for device in "null 3" "zero 5" "full 7" "random 8" "urandom 9"; do
    mknod -m 0666 "$root/dev/${device% *}" c 1 "${device#* }"
done
mknod -m 0666 "$root/dev/tty" c 5 0
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s fd/0 "$root/dev/stdin"
ln -s fd/1 "$root/dev/stdout"
ln -s fd/2 "$root/dev/stderr"

# Whatever lies here belongs to the machine outside.
for own in /dev/shm:1777 /run:0755 /tmp:1777 /var/tmp:1777 /srv:0755 /home:0755 /etc/systemd/system:0755; do
    mkdir -p "$root${own%:*}"
    mount -t tmpfs -o "mode=${own#*:},nosuid,nodev" own "$root${own%:*}"
done
rm -rf "$root/var/log/journal" "$root/etc/machine-id" "$root/etc/sysusers.d/pixstored.conf" "$root/etc/pixstored" "$root/var/lib/pixstored"
echo 70697873746f72656400000000000001 >"$root/etc/machine-id" # any: without one, systemd takes this for a first boot
echo pixstored-test >"$root/etc/hostname"
echo '127.0.0.1 localhost' >"$root/etc/hosts"

while [ $# -gt 0 ]; do
    inside=$root$2
    if [ "$1" != "$2" ] || [ -z "$(ls -A "$inside" 2>/dev/null)" ]; then # else the overlay shows it already
        mkdir -p "$inside"
        mount --rbind "$1" "$inside"
        mount -o remount,bind,ro "$inside"
    fi
    # The service runs as a user of its own, who must be able to come this far.
    above=$(dirname "$inside")
    while [ "$above" != "$root" ]; do
        chmod a+x "$above" 2>/dev/null || true # it may lie in another folder that is shown
        above=$(dirname "$above")
    done
    shift 2
done

# Little more than what every service needs.
cat >"$root/etc/systemd/system/machine.target" <<'UNIT'
[Unit]
Description=A machine for tests
Requires=basic.target
After=basic.target
Wants=systemd-journald.service
AllowIsolate=yes
UNIT

[ -z "${BOOT_PREPARE:-}" ] || chroot "$root" sh -euc "$BOOT_PREPARE"

hostname pixstored-test
cd "$root"
mkdir run/outside
pivot_root . run/outside
umount --no-mtab --lazy /run/outside
rmdir /run/outside
# systemd leaves that to whoever has made the container; without it, what is mounted later, a service would not see.
mount --make-rshared /

# `container` keeps systemd from what only the kernel's first machine may do; the capabilities, from being able to.
exec env -i container=pixstored-test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    setpriv --bounding-set=-sys_time,-sys_module,-sys_rawio,-syslog,-wake_alarm,-block_suspend,-mac_admin,-mac_override \
    /lib/systemd/systemd --system --unit=machine.target --show-status=no --log-target=journal
