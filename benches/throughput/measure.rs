//! What a child process has used, as the operating system counts it.

use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

use super::Result;

/// What a process has used, from its start to its end.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// User and system time of all its threads.
    pub(crate) cpu: Duration,
    /// The most memory that it ever had in use, in bytes.
    pub(crate) peak_rss: u64,
    /// Its life, as its parent saw it.
    pub(crate) lasted: Duration,
}

/// How often the memory of a process is looked at. The system keeps the peak, so that only the last look counts.
const LOOK: Duration = Duration::from_millis(10);

/// Waits for the process, which began at `started`, to end well. No other child may be waited for meanwhile.
pub(crate) fn wait(mut child: Child, started: Instant) -> Result<Usage> {
    let mut peak_rss = 0;
    let before = cpu_of_children()?;
    let status = loop {
        peak_rss = peak_rss_of(child.id()).unwrap_or(peak_rss);
        if let Some(status) = child.try_wait()? {
            break status;
        }
        sleep(LOOK);
    };
    if !status.success() {
        return Err(format!("a process ended with {status}").into());
    }
    Ok(Usage { cpu: cpu_of_children()? - before, peak_rss, lasted: started.elapsed() })
}

/// User and system time of all children that have been waited for.
pub(crate) fn cpu_of_children() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let microseconds = (usage.user_time() + usage.system_time()).num_microseconds();
    Ok(Duration::from_micros(microseconds.try_into()?))
}

/// The most memory that a process ever had in use, in bytes; `None` once it has ended.
pub(crate) fn peak_rss_of(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
