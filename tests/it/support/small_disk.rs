//! A disk that can be full, for the tests of the store and those of the whole bridge. Mounting it needs root.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A small file system in memory, unmounted when it is dropped.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `size` as `mount` reads it, for example `2m`.
    pub(crate) fn mount(at: &Path, size: &str) -> Self {
        std::fs::create_dir_all(at).unwrap();
        mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], at);
        Self(at.to_owned())
    }

    /// Writes until nothing more fits.
    pub(crate) fn fill(&self) -> PathBuf {
        use std::io::Write as _;
        let path = self.0.join("filler");
        let mut file = std::fs::File::create(&path).unwrap();
        while file.write_all(&[b'x'; 512]).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

/// Mounts a tmpfs with these options, or changes those of one that is mounted.
pub(crate) fn mount(options: &[&str], at: &Path) {
    let mount = Command::new("mount").args(options).arg(at).output().unwrap();
    let said = String::from_utf8_lossy(&mount.stderr);
    assert!(mount.status.success(), "this test mounts a tmpfs, which needs root and CAP_SYS_ADMIN: {said}");
}
