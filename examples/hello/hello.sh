# Shows from inside what the container is; uses only sh, cat and id.
cgroup=/sys/fs/cgroup

limit() { # UNIT FILE...: the number in the first of these files that is there
    unit=$1
    shift
    for file in "$@"; do
        [ -r "$file" ] || continue
        read -r number rest < "$file"
        case $number in
        max | -1 | 9?????????????????*) echo "no limit" ;;
        *) echo "$number $unit" ;;
        esac
        return
    done
    echo unknown
}

cat /app/greeting.txt
hostname=$(cat /etc/hostname)
echo "  pid       $$"
echo "  hostname  $hostname"
echo "  user      $(id)"
while read -r address names; do
    case " $names " in *" $hostname "*) echo "  address   $address" ;; esac
done < /etc/hosts
echo "  memory    $(limit bytes $cgroup/memory.max $cgroup/memory/memory.limit_in_bytes)"
echo "  cpu       $(limit "of 100000 microseconds" $cgroup/cpu.max $cgroup/cpu/cpu.cfs_quota_us)"
echo "  pids      $(limit processes $cgroup/pids.max $cgroup/pids/pids.max)"
