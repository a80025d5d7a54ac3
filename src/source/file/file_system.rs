//! Which file systems report every change, so that glances may be rare.
//!
//! It only ever saves work: of a file system that is not known here, changes are looked for once a second. It asks the
//! operating system, which blocks, and runs on a blocking thread.

use std::path::Path;

use nix::sys::statfs::{
    BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, F2FS_SUPER_MAGIC, FsType, OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC,
    statfs,
};

/// File systems that no other machine can change: those on disks and in memory. On those of the network, in user space and
/// of a virtual machine's host, others make changes that the kernel does not report (inotify(7), "Limitations and caveats").
const REPORT_ALL_CHANGES: [FsType; 6] =
    [BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, F2FS_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC];

/// True when whatever changes in this folder is reported to those who watch it.
pub(super) fn reports_all_changes(folder: &Path) -> bool {
    statfs(folder).is_ok_and(|stat| REPORT_ALL_CHANGES.contains(&stat.filesystem_type()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_makes_up_reports_nothing_and_what_is_missing_is_not_trusted() {
        assert!(!reports_all_changes(Path::new("/proc")));
        assert!(!reports_all_changes(Path::new("/nowhere")));
        assert!(reports_all_changes(Path::new("/dev/shm")));
    }
}
