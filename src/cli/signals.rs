//! SIGTERM and SIGINT: the first begins the shutdown, a second ends the process at once. SIGHUP asks for a reload.

use std::io;
use std::thread;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use crate::pipeline::run::new_runtime;
use crate::shutdown::Shutdown;

/// The exit code after a second signal, documented in `bridge --help`.
const ENDED_AT_ONCE: i32 = 130;

/// From now on the process's signals act on `shutdown`. A thread of its own waits for them, so that they are heard
/// however busy the workers are.
///
/// # Errors
/// When the operating system refuses the thread or the handlers.
pub fn act_on(shutdown: Shutdown) -> io::Result<()> {
    let runtime = new_runtime()?;
    let (terminate, interrupt) = runtime.block_on(async { handlers() })?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(wait(terminate, interrupt, &shutdown));
    })?;
    Ok(())
}

/// From now on SIGHUP calls `reload`, on a thread of its own.
///
/// # Errors
/// When the operating system refuses the thread or the handler.
pub fn on_hangup(reload: impl Fn() + Send + 'static) -> io::Result<()> {
    let runtime = new_runtime()?;
    let mut hangup = runtime.block_on(async { signal(SignalKind::hangup()) })?;
    thread::Builder::new().name("reload".to_owned()).spawn(move || {
        runtime.block_on(async {
            while hangup.recv().await.is_some() {
                info!("SIGHUP: the pipeline files are loaded again");
                reload();
            }
        });
    })?;
    Ok(())
}

/// The streams of SIGTERM and SIGINT, in this order.
pub(super) fn handlers() -> io::Result<(Signal, Signal)> {
    Ok((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
}

async fn wait(mut terminate: Signal, mut interrupt: Signal, shutdown: &Shutdown) {
    let mut next = async || {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    };
    let name = next().await;
    info!("{name}: reading stops, what is in flight is finished; a second signal ends at once");
    shutdown.begin();
    let name = next().await;
    warn!("{name} again: ending at once; what is in flight stays uncommitted");
    std::process::exit(ENDED_AT_ONCE);
}
