"""The default system-call filter: what a container may ask of the kernel. All else is refused with EPERM.

A call is in the table when ordinary programs need it and the kernel itself checks that it stays within the
namespaces, cgroups and capabilities that the container has. Left out are calls that act on the whole
machine (kexec, swap, the clock, modules), that are not aware of namespaces (the key rings), that have been
the way out of containers more often than they are needed in them (io_uring, userfaultfd,
open_by_handle_at), and the oldest ones that nobody uses. Calls that need a capability are allowed along
with it.

Whoever changes the table raises PROFILE_VERSION in runtime/security/seccomp.py: compiled filters are cached
by it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

EPERM, ENOSYS, EAFNOSUPPORT = 1, 38, 97

# (what it is for, names)
ALLOWED = (
    (
        "open, read and write files",
        "close close_range copy_file_range creat dup dup2 dup3 fadvise64 fadvise64_64 "
        "arm_fadvise64_64 fallocate fcntl fcntl64 fdatasync flock fsync ftruncate ftruncate64 ioctl "
        "_llseek lseek open openat openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read "
        "readahead readv sendfile sendfile64 splice sync sync_file_range sync_file_range2 "
        "arm_sync_file_range syncfs tee truncate truncate64 vmsplice write writev",
    ),
    (
        "names, directories, attributes of files",
        "access cachestat chdir chmod chown chown32 faccessat faccessat2 fchdir fchmod fchmodat "
        "fchmodat2 fchown fchown32 fchownat fgetxattr flistxattr fremovexattr fsetxattr fstat fstat64 "
        "fstatat64 fstatfs fstatfs64 futimesat getcwd getdents getdents64 getxattr getxattrat lchown "
        "lchown32 lgetxattr link linkat listxattr listxattrat llistxattr lremovexattr lsetxattr lstat "
        "lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat readlink readlinkat "
        "removexattr removexattrat rename renameat renameat2 rmdir setxattr setxattrat stat stat64 "
        "statfs statfs64 statx symlink symlinkat umask unlink unlinkat utime utimensat "
        "utimensat_time64 utimes",
    ),
    (
        "watch files (fanotify_init needs CAP_SYS_ADMIN)",
        "fanotify_mark inotify_add_watch inotify_init inotify_init1 inotify_rm_watch",
    ),
    (
        "wait for events; asynchronous input and output of the old kind",
        "epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait "
        "epoll_wait_old eventfd eventfd2 io_cancel io_destroy io_getevents io_pgetevents "
        "io_pgetevents_time64 io_setup io_submit _newselect pipe pipe2 poll ppoll ppoll_time64 "
        "pselect6 pselect6_time64 select",
    ),
    (
        "memory",
        "brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 "
        "mlockall mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc "
        "pkey_free pkey_mprotect process_mrelease remap_file_pages",
    ),
    (
        "processes and threads (clone: see below)",
        "arch_prctl cacheflush breakpoint capget capset execve execveat exit exit_group fork "
        "get_robust_list get_thread_area getpgid getpgrp getpid getppid getsid gettid modify_ldt "
        "pidfd_open pidfd_send_signal prctl restart_syscall rseq set_robust_list set_thread_area "
        "set_tid_address set_tls setpgid setsid uretprobe vfork wait4 waitid waitpid",
    ),
    # A filter binds a traced process since Linux 4.8, and older kernels can't run a container of ours.
    ("debuggers", "process_vm_readv process_vm_writev ptrace"),
    (
        "scheduling, limits, usage",
        "getcpu getpriority getrlimit getrusage ioprio_get ioprio_set nice prlimit64 "
        "sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam "
        "sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity "
        "sched_setattr sched_setparam sched_setscheduler sched_yield setpriority setrlimit sysinfo "
        "times ugetrlimit uname",
    ),
    (
        "users and groups",
        "getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid "
        "getresgid32 getresuid getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid setfsuid32 "
        "setgid setgid32 setgroups setgroups32 setregid setregid32 setresgid setresgid32 setresuid "
        "setresuid32 setreuid setreuid32 setuid setuid32",
    ),
    (
        "signals",
        "alarm kill pause rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn "
        "rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaction sigaltstack "
        "signal signalfd signalfd4 sigpending sigprocmask sigreturn sigsuspend tgkill tkill",
    ),
    (
        "time and timers (what would set the clock is refused by the kernel, or needs CAP_SYS_TIME "
        "below; an alarm that wakes the machine needs CAP_WAKE_ALARM, which the kernel checks)",
        "adjtimex clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime "
        "clock_gettime64 clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep "
        "setitimer time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 "
        "timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 "
        "timerfd_settime timerfd_settime64",
    ),
    (
        "between processes: futexes, System V, message queues",
        "futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake ipc mq_getsetattr "
        "mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 "
        "mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat "
        "shmctl shmdt shmget",
    ),
    (
        "sockets (socket: see below)",
        "accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg "
        "recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketpair",
    ),
    (
        "random numbers and giving up rights",
        "getrandom landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp",
    ),
)

# Names that a capability adds.
BY_CAPABILITY = (
    ("CAP_BPF", "bpf"),
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    ("CAP_PERFMON", "perf_event_open"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick listmount lookup_dcookie "
        "lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount "
        "open_tree perf_event_open pivot_root quotactl quotactl_fd setdomainname sethostname setns "
        "statmount syslog umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module finit_module init_module query_module"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
    ("CAP_SYS_RAWIO", "ioperm iopl"),
    ("CAP_SYS_TIME", "clock_settime clock_settime64 settimeofday stime"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYSLOG", "syslog"),
)

# ENOSYS rather than EPERM: C libraries and tools then use what they used before these calls came.
# clone3 has its flags behind a pointer, where a filter can't see them, so that clone's test could be walked
# around.
ABSENT = "io_uring_enter io_uring_register io_uring_setup"
ABSENT_WITHOUT_ADMIN = "clone3 listmount lsm_get_self_attr lsm_list_modules lsm_set_self_attr statmount"

# CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET. (NEWTIME does not fit into clone's
# flags.)
NEW_NAMESPACES = 0x7E020000

# PER_LINUX, PER_LINUX32, both with UNAME26, and the question. Not among them: READ_IMPLIES_EXEC,
# ADDR_NO_RANDOMIZE and others that weaken the process, and foreign ABIs that nobody maintains.
PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)

AF_ALG, AF_VSOCK = 38, 40
# Families 0..47 but AF_ALG (the kernel's crypto, a wide attack surface) and AF_VSOCK (not held by network
# namespaces, it leads to the hypervisor), as (mask, value). The kernel looks at the low 32 bits of the
# argument only, so the tests do likewise: a plain "greater than 40" would let 2^32 + 38 pass, and the
# kernel would make that AF_ALG.
SOCKET_FAMILIES = (
    (0xFFFFFFE0, 0),
    (0xFFFFFFFC, 32),
    (0xFFFFFFFE, 36),
    (0xFFFFFFFF, 39),
    (0xFFFFFFFF, 41),
    (0xFFFFFFFE, 42),
    (0xFFFFFFFC, 44),
)


def _masked(index: int, mask: int, value: int) -> list[dict[str, Any]]:
    return [{"index": index, "op": "SCMP_CMP_MASKED_EQ", "value": mask, "valueTwo": value}]


def profile() -> dict[str, Any]:
    """The profile in Docker's JSON form; `seccomp_rules.resolve` makes it one container's linux.seccomp."""
    allow, refuse = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"
    without_admin = {"caps": ["CAP_SYS_ADMIN"]}
    rules: list[dict[str, Any]] = [
        # x86's socketcall hides the family behind a pointer. libseccomp would allow it along with `socket`,
        # unless it is refused before that. Since Linux 4.3 there are calls of their own for all that it
        # did; programs that know nothing but socketcall need a profile of their own.
        {"names": ["socketcall"], "action": refuse, "errnoRet": ENOSYS},
        {"names": ABSENT.split(), "action": refuse, "errnoRet": ENOSYS},
        {
            "names": ABSENT_WITHOUT_ADMIN.split(),
            "action": refuse,
            "errnoRet": ENOSYS,
            "excludes": without_admin,
        },
    ]
    rules += [{"names": names.split(), "action": allow, "comment": title} for title, names in ALLOWED]
    rules += [
        {"names": names.split(), "action": allow, "includes": {"caps": [capability]}}
        for capability, names in BY_CAPABILITY
    ]
    rules.append(
        {
            "names": ["clone"],
            "action": allow,
            "args": _masked(0, NEW_NAMESPACES, 0),
            "excludes": without_admin,
        }
    )
    rules += [
        {
            "names": ["personality"],
            "action": allow,
            "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": value}],
        }
        for value in PERSONALITIES
    ]
    rules += [
        {"names": ["socket"], "action": allow, "args": _masked(0, mask, value)}
        for mask, value in SOCKET_FAMILIES
    ]
    rules += [
        {
            "names": ["socket"],
            "action": refuse,
            "errnoRet": EAFNOSUPPORT,
            "args": _masked(0, 0xFFFFFFFF, family),
        }
        for family in (AF_ALG, AF_VSOCK)
    ]
    return {
        "defaultAction": refuse,
        "defaultErrnoRet": EPERM,
        "archMap": [
            {
                "architecture": "SCMP_ARCH_X86_64",
                "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            },
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
        ],
        "syscalls": rules,
    }
