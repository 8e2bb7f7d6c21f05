# Shows from inside what the container is; uses only sh, cat and id.
cgroup=/sys/fs/cgroup
value() { # the first of these files that is there
    for file in "$@"; do
        [ -r "$file" ] && { cat "$file"; return; }
    done
    echo unknown
}

cat /app/greeting.txt
echo "  pid       $$"
echo "  hostname  $(cat /etc/hostname)"
echo "  user      $(id)"
while read -r address names; do
    case $names in *"$(cat /etc/hostname)"*) echo "  address   $address" ;; esac
done < /etc/hosts
echo "  memory    $(value $cgroup/memory.max $cgroup/memory/memory.limit_in_bytes) bytes at most"
echo "  cpu       $(value $cgroup/cpu.max $cgroup/cpu/cpu.cfs_quota_us) (quota in microseconds)"
echo "  pids      $(value $cgroup/pids.max $cgroup/pids/pids.max) at most"
