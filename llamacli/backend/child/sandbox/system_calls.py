"""The numbers of Linux's system calls that the sandbox refuses or looks at, on x86-64 and on 64-bit ARM.

Source: `arch/x86/entry/syscalls/syscall_64.tbl` and `include/uapi/asm-generic/unistd.h` of Linux 6.18. Calls from 424 on have
one number everywhere. ARM lacks the old calls that take no folder; `-` marks them.
"""

from __future__ import annotations

LAST_KNOWN = 469
"""The highest number that this table's author has judged. A later kernel may have calls beyond it that undo the rules."""

_TABLE = """
execve 59 221              execveat 322 281           fork 57 -                  vfork 58 -
ptrace 101 117             process_vm_readv 310 270   process_vm_writev 311 271  process_madvise 440 440
process_mrelease 448 448   pidfd_getfd 438 438        pidfd_send_signal 424 424  kcmp 312 272
socket 41 198              socketpair 53 199          connect 42 203             bind 49 200
listen 50 201              accept 43 202              accept4 288 242
mount 165 40               umount2 166 39             pivot_root 155 41          chroot 161 51
move_mount 429 429         open_tree 428 428          open_tree_attr 467 467     fsopen 430 430
fsconfig 431 431           fsmount 432 432            fspick 433 433             mount_setattr 442 442
bpf 321 280                perf_event_open 298 241    userfaultfd 323 282        keyctl 250 219
add_key 248 217            request_key 249 218        io_uring_setup 425 425     io_uring_enter 426 426
io_uring_register 427 427  unshare 272 97             setns 308 268              fanotify_init 300 262
kexec_load 246 104         kexec_file_load 320 294    init_module 175 105        finit_module 313 273
delete_module 176 106      open_by_handle_at 304 265  name_to_handle_at 303 264  reboot 169 142
swapon 167 224             swapoff 168 225            settimeofday 164 170       clock_settime 227 112
clock_adjtime 305 266      adjtimex 159 171           sethostname 170 161        setdomainname 171 162
acct 163 89                quotactl 179 60            quotactl_fd 443 443        iopl 172 -
ioperm 173 -               modify_ldt 154 -           syslog 103 116             vhangup 153 58
setuid 105 146             setgid 106 144             setreuid 113 145           setregid 114 143
setresuid 117 147          setresgid 119 149          setgroups 116 159          setfsuid 122 151
setfsgid 123 152           capset 126 91              personality 135 92         migrate_pages 256 238
mknod 133 -                mknodat 259 33             mkdir 83 -                 mkdirat 258 34
rmdir 84 -                 unlink 87 -                unlinkat 263 35            rename 82 -
renameat 264 38            renameat2 316 276          link 86 -                  linkat 265 37
symlink 88 -               symlinkat 266 36           truncate 76 45             creat 85 -
chmod 90 -                 fchmod 91 52               fchmodat 268 53            fchmodat2 452 452
chown 92 -                 fchown 93 55               lchown 94 -                fchownat 260 54
setxattr 188 5             lsetxattr 189 6            fsetxattr 190 7            setxattrat 463 463
removexattr 197 14         lremovexattr 198 15        fremovexattr 199 16        removexattrat 466 466
utime 132 -                utimes 235 -               futimesat 261 -            utimensat 280 88
file_setattr 469 469       shmget 29 194              semget 64 190              msgget 68 186
mq_open 240 180            mq_unlink 241 181          uselib 134 -               clone 56 220
clone3 435 435             kill 62 129                tkill 200 130              tgkill 234 131
rt_sigqueueinfo 129 138    rt_tgsigqueueinfo 297 240  prctl 157 167              prlimit64 302 261
memfd_create 319 279       open 2 -                   openat 257 56              openat2 437 437
ioctl 16 29                seccomp 317 277
"""

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""`AUDIT_ARCH_…` of the machines that have a table, by the name that `uname -m` gives them."""


def system_calls(machine: str) -> dict[str, int]:
    """Return the numbers of the machine's system calls by name."""
    column = list(ARCHITECTURES).index(machine)
    fields = _TABLE.split()
    rows = zip(fields[::3], zip(fields[1::3], fields[2::3], strict=True), strict=True)
    return {name: int(numbers[column]) for name, numbers in rows if numbers[column] != "-"}
