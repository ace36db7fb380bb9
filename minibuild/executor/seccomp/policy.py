"""The system calls of a sandboxed step, as data.

What it allows and refuses is what Docker and BuildKit do by default for a container without extra
capabilities, so that a build that works there works here, and the other way round. Three answers:

- `ALLOWED`: the call is made. Some only with certain arguments (`CONDITIONAL`).
- `REFUSED`, `REFUSED_IF`: EPERM, the answer that programs expect of a privilege they lack.
- anything else: ENOSYS. A call that is newer than this list then looks like one that the kernel
  does not have, and libraries fall back to an older one; EPERM would make them give up.

`PRETENDED` calls do nothing and succeed. They are for user namespaces with a single id: there no
file can get another owner and no process another id, and package managers, which try, would fail
over what is of no consequence in a build. Every file then belongs to root in the image.

`MAKING` and `LOOKING` calls are handed to the executor, in user namespaces only: see `watch`.

Names that a machine does not have are passed over. See seccomp(2), syscalls(2).
"""

from typing import Literal

from minibuild.startup.tuples import NamedTuple

FILES = """
access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 faccessat
faccessat2 fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32
fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstat64
fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futimesat getcwd getdents getdents64
getxattr getxattrat lchown lchown32 lgetxattr link linkat listxattr listxattrat llistxattr
_llseek lremovexattr lseek lsetxattr lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at
newfstatat oldfstat oldlstat oldstat open openat openat2 pread64 preadv preadv2 pwrite64 pwritev
pwritev2 read readahead readlink readlinkat readv removexattr removexattrat rename renameat
renameat2 rmdir sendfile sendfile64 setxattr setxattrat splice stat stat64 statfs statfs64 statx
symlink symlinkat sync sync_file_range sync_file_range2 arm_sync_file_range syncfs tee truncate
truncate64 umask unlink unlinkat ustat utime utimensat utimensat_time64 utimes vmsplice write
writev chroot statmount listmount cachestat
"""

MEMORY = """
brk get_mempolicy madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock
mlock2 mlockall mmap mmap2 mprotect mremap mseal msync munlock munlockall munmap pkey_alloc
pkey_free pkey_mprotect process_mrelease remap_file_pages shmat shmctl shmdt shmget
"""

PROCESSES = """
alarm capget capset execve execveat exit exit_group fork futex futex_requeue futex_time64
futex_wait futex_waitv futex_wake getcpu getegid getegid32 geteuid geteuid32 getgid getgid32
getgroups getgroups32 getitimer getpgid getpgrp getpid getppid getpriority getrandom getresgid
getresgid32 getresuid getresuid32 getrlimit get_robust_list getrusage getsid gettid getuid getuid32
ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset landlock_restrict_self
nanosleep pause pidfd_open pidfd_send_signal prctl prlimit64 process_vm_readv process_vm_writev
ptrace restart_syscall rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max
sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam
sched_setscheduler sched_yield seccomp setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32
setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid setresgid32
setresuid setresuid32 setreuid setreuid32 setrlimit set_robust_list setsid set_thread_area
get_thread_area set_tid_address setuid setuid32 sigaltstack signal signalfd signalfd4 sigprocmask
sigreturn sysinfo syslog tgkill time times tkill ugetrlimit uname vfork wait4 waitid waitpid
"""

MESSAGES = """
accept accept4 bind connect epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait
epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 fanotify_mark getpeername getsockname
getsockopt inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy
io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl ipc listen mq_getsetattr
mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64
mq_unlink msgctl msgget msgrcv msgsnd pipe pipe2 poll ppoll ppoll_time64 pselect6 pselect6_time64
recv recvfrom recvmmsg recvmmsg_time64 recvmsg select _newselect semctl semget semop semtimedop
semtimedop_time64 send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair
"""

TIMES = """
adjtimex clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime
clock_gettime64 clock_nanosleep clock_nanosleep_time64 gettimeofday timer_create timer_delete
timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create
timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64
"""

MACHINES = """
arch_prctl modify_ldt arm_fadvise64_64 breakpoint cacheflush set_tls s390_pci_mmio_read
s390_pci_mmio_write s390_runtime_instr riscv_flush_icache riscv_hwprobe swapcontext
"""

ALLOWED = tuple((FILES + MEMORY + PROCESSES + MESSAGES + TIMES + MACHINES).split())

REFUSED = tuple(
    """
acct add_key bpf clock_settime clock_settime64 create_module delete_module fanotify_init
finit_module fsconfig fsmount fsopen fspick get_kernel_syms init_module io_uring_enter
io_uring_register io_uring_setup ioperm iopl kcmp kexec_file_load kexec_load keyctl lookup_dcookie
mbind migrate_pages mount mount_setattr move_mount move_pages nfsservctl open_by_handle_at
open_tree open_tree_attr perf_event_open pidfd_getfd pivot_root process_madvise query_module
quotactl quotactl_fd reboot request_key set_mempolicy set_mempolicy_home_node setdomainname
sethostname setns settimeofday stime swapoff swapon _sysctl umount umount2 unshare uselib
userfaultfd vhangup vm86 vm86old
""".split()
)


class Condition(NamedTuple):
    """A test of one argument. `masked` compares `argument & mask` with `value`."""

    argument: int
    operator: str
    value: int
    mask: int = 0


CLONE_NAMESPACES = 0x7E020000
"""Every CLONE_NEW* flag but CLONE_NEWTIME, which clone(2) cannot take."""
AF_VSOCK = 40
PERSONALITIES = (0x0, 0x0008, 0x20000, 0x20008, 0xFFFFFFFF)
"""PER_LINUX, PER_LINUX32 (setarch), each with UNAME26, and the question what it is."""

CONDITIONAL = (
    # No new namespaces: a new user namespace brings kernel code into reach that was not written
    # with an attacker in mind. Where clone3(2) is called the flags are in memory, which a filter
    # cannot see: ENOSYS makes libraries use clone(2).
    *((name, Condition(0, "masked", 0, CLONE_NAMESPACES)) for name in ("clone",)),
    # Sockets to the hypervisor would lead out of the network namespace.
    *((name, Condition(0, "other", AF_VSOCK)) for name in ("socket",)),
    *(("personality", Condition(0, "equal", persona)) for persona in PERSONALITIES),
)

REFUSED_IF = (
    # What the conditions above leave is refused like a privilege: programs that try, such as
    # `setarch -R` or a browser's own sandbox, go on without it if they are told EPERM.
    *(
        ("clone", Condition(0, "masked", 1 << bit, 1 << bit))
        for bit in range(32)
        if CLONE_NAMESPACES >> bit & 1
    ),
    ("socket", Condition(0, "equal", AF_VSOCK)),
    # Any other bit. Bit 31 is in no personality; with it the question what it is would be among
    # these, and of two rules that both fit it is not said which one counts.
    *(
        ("personality", Condition(0, "masked", 1 << bit, 1 << bit | 1 << 31))
        for bit in range(31)
        if not 0x20008 >> bit & 1
    ),
)

PRETENDED = tuple(
    """
chown chown32 fchown fchown32 fchownat lchown lchown32 setfsgid setfsgid32 setfsuid setfsuid32
setgid setgid32 setgroups setgroups32 setregid setregid32 setresgid setresgid32 setresuid
setresuid32 setreuid setreuid32 setuid setuid32
""".split()
)

Watch = Literal["nothing", "making", "looking"]
"""What is handed over: no call, those that make devices, or those that look at files as well."""

MAKING = (("mknod", 1), ("mknodat", 2))
"""Each with the argument that holds the type of the node."""
DEVICE_TYPES = (0o020000, 0o060000)
OTHER_TYPES = (0, 0o010000, 0o040000, 0o100000, 0o120000, 0o140000)
TYPE_MASK = 0o170000

LOOKING = tuple("fstat fstat64 fstatat64 lstat lstat64 newfstatat stat stat64 statx".split())
