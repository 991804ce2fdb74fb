"""The words by which a command line is judged."""

from __future__ import annotations

from typing import Literal

RiskKind = Literal["deletes", "overwrites", "sends", "root", "stops", "runs", "hidden"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


PROGRAMS: dict[RiskKind, frozenset[str]] = {
    "deletes": _words(
        "rm rmdir unlink shred srm wipe wipefs mkfs fdisk sfdisk gdisk parted blkdiscard userdel groupdel deluser delgroup "
        "trash trash-put rimraf Remove-Item del erase dropdb"
    ),
    "overwrites": _words(
        "mv cp dd truncate install chmod chown chgrp chattr setfacl ln rename mmv patch sponge mogrify optipng oxipng pngquant "
        "jpegoptim gzip gunzip bzip2 bunzip2 xz unxz zstd unzip rsync tee crontab Move-Item Set-Content Out-File"
    ),
    "sends": _words(
        "curl wget aria2c http https xh ssh scp sftp rsync ftp lftp nc ncat netcat socat telnet mail mailx mutt sendmail msmtp "
        "aws gcloud gsutil az s3cmd rclone gh glab twine yt-dlp Invoke-WebRequest Invoke-RestMethod"
    ),
    "root": _words(
        "sudo doas su pkexec run0 mount umount useradd usermod userdel groupadd groupdel adduser deluser chroot iptables nft "
        "modprobe insmod rmmod sysctl visudo mkfs fdisk parted swapon swapoff update-grub shutdown reboot halt poweroff"
    ),
    "stops": _words("kill pkill killall killall5 xkill shutdown reboot halt poweroff Stop-Process"),
    "runs": _words("eval"),
}
"""Programs by what they do, whatever their arguments are."""

_MANAGERS = "apt apt-get aptitude dnf yum zypper pacman apk snap flatpak port emerge"
_CHANGES = "install remove purge autoremove erase upgrade dist-upgrade full-upgrade update add del -S -R -Syu -Rns"
_REMOVALS = "remove purge autoremove erase del uninstall -R -Rns"
_PACKAGES = "pip pip3 npm yarn pnpm cargo gem brew conda"
_SERVICES = "systemctl service rc-service"

ARGUMENTS: tuple[tuple[RiskKind, frozenset[str], frozenset[str]], ...] = (
    ("deletes", _words("git"), _words("clean rm branch stash filter-branch prune worktree")),
    ("overwrites", _words("git"), _words("reset checkout restore rebase commit merge switch revert am apply")),
    ("sends", _words("git"), _words("push pull fetch clone")),
    ("deletes", _words("docker podman"), _words("rm rmi prune down")),
    ("sends", _words("docker podman"), _words("push pull login")),
    ("stops", _words("docker podman"), _words("stop kill")),
    ("deletes", _words("kubectl oc helm terraform"), _words("delete destroy uninstall drain")),
    ("deletes", _words(f"{_PACKAGES} {_MANAGERS}"), _words(f"{_REMOVALS} prune cleanup")),
    ("sends", _words(f"{_PACKAGES} go {_MANAGERS}"), _words(f"{_CHANGES} publish push get")),
    ("root", _words(_MANAGERS), _words(_CHANGES)),
    ("root", _words(_SERVICES), _words("start stop restart reload enable disable mask daemon-reload")),
    ("stops", _words(_SERVICES), _words("stop restart disable mask kill isolate")),
    ("overwrites", _words("tar bsdtar"), _words("-x -xf -xzf -xjf -xvf -xvzf xf xzf xvf xvzf xjf --extract")),
)
"""Programs that do something with one of these arguments."""

OPTIONS: tuple[tuple[RiskKind, frozenset[str], str], ...] = (
    ("deletes", _words("find fd rsync git tar"), r"-delete|--delete.*|--remove-source-files|--remove-files"),
    ("deletes", _words("crontab"), r"-r"),
    ("overwrites", _words("sed gsed perl ruby"), r"-[A-Za-z]*i.*|--in-place.*"),
    ("overwrites", _words("curl wget sort convert magick ffmpeg pandoc gcc cc clang"), r"-o|-O|--output.*"),
)
"""Programs that do something with an option of this form."""

CODE: tuple[tuple[RiskKind, str], ...] = (
    ("deletes", r"os\.(?:remove|unlink|rmdir)\b|\brmtree\b|\bunlinkSync\b|\bFile\.delete\b|\bunlink\s*\("),
    ("deletes", r"(?i:\bdrop\s+(?:table|database|schema|index)\b|\bdelete\s+from\b|\btruncate\s+table\b)"),
    ("sends", r"/dev/(?:tcp|udp)/\S+"),
)
"""Code of other languages within a command line."""

WRAPPERS = _words(
    "sudo doas env nohup time nice ionice xargs exec command builtin setsid stdbuf timeout watch run0 pkexec then do else"
)
"""Words before the program of a command."""

VALUED_OPTIONS: dict[str, frozenset[str]] = {
    "sudo": _words("-u -g -h -p -C"), "doas": _words("-u -C"), "nice": _words("-n"), "ionice": _words("-c -n -p"),
    "xargs": _words("-I -n -P -L -d -s -E"), "timeout": _words("-k -s"), "env": _words("-u -C"), "watch": _words("-n"),
}  # fmt: skip
"""Options of wrappers whose value is the next word."""

BUILT_IN = _words(
    ". .. : [ [[ alias and begin bg bind break builtin caller case cd command compgen complete contains continue coproc "
    "declare dirs disown do done echo elif else emit enable end esac eval exec exit export false fc fg fi for foreach function "
    "functions getopts hash help history if in jobs kill let local logout math mapfile not or popd print printf pushd pwd read "
    "readarray readonly repeat return select set setenv setopt shift shopt source string suspend switch test then time times "
    "trap true type typeset ulimit umask unalias unset until wait while"
)
"""Words that are built into shells."""
