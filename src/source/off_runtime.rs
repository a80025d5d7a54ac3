//! Blocking calls on threads of their own, and what a panic on them means.
//!
//! The rule for all connectors: a panic is a bug and no trouble that passes. It goes on in whoever waits for the call, or
//! is told what comes of it, so that the source's task panics and the process ends with the error. It must never be taken
//! for a lost connection or for the end of the input, which is what a channel looks like whose other end has panicked.
//! Only when nobody waits any more, as for a client that is being left behind, nothing but the panic's own message says it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::{io, thread};

use tokio::sync::oneshot;
use tokio::task::JoinError;

use super::SourceError;

/// What a thread has caught.
pub(super) type Panic = Box<dyn Any + Send>;

/// The result of a call, to be awaited. `Err` when no thread could be started for it. When the call has panicked,
/// awaiting it panics.
#[derive(Debug)]
pub(super) struct Answer<T>(io::Result<oneshot::Receiver<Result<T, Panic>>>);

/// Runs a call that blocks on a thread of its own. Unlike `spawn_blocking`, a call that hangs does not hold up the end of
/// the runtime. When the result is not awaited, it is dropped on that thread.
pub(super) fn off_runtime<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> Answer<T> {
    let (sender, receiver) = oneshot::channel();
    let spawned = thread::Builder::new().name("blocking-call".to_owned()).spawn(move || {
        sender.send(caught(call)).ok();
    });
    Answer(spawned.map(|_| receiver))
}

/// Runs a call whose result nobody awaits on a thread of its own: `told` gets to know when it has panicked.
///
/// # Errors
/// When no thread can be started.
pub(super) fn in_background(
    call: impl FnOnce() + Send + 'static,
    told: impl FnOnce(Panic) + Send + 'static,
) -> io::Result<()> {
    let run = move || {
        if let Err(panic) = caught(call) {
            told(panic);
        }
    };
    thread::Builder::new().name("blocking-call".to_owned()).spawn(run).map(drop)
}

/// What of the caller's state the call may have left half done is not looked at again: the process ends.
pub(super) fn caught<T>(call: impl FnOnce() -> T) -> Result<T, Panic> {
    catch_unwind(AssertUnwindSafe(call))
}

/// The same for a call that was given to tokio's blocking threads: what it means that it has brought nothing.
pub(super) fn job_failed(error: JoinError) -> SourceError {
    match error.try_into_panic() {
        Ok(panic) => resume_unwind(panic),
        Err(cancelled) => SourceError::transient(cancelled),
    }
}

impl<T> Future for Answer<T> {
    type Output = io::Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let receiver = match &mut self.0 {
            Ok(receiver) => receiver,
            Err(error) => return Poll::Ready(Err(io::Error::new(error.kind(), error.to_string()))),
        };
        Pin::new(receiver).poll(context).map(|answer| match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(panic)) => resume_unwind(panic),
            Err(gone) => Err(io::Error::other(gone)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_result_of_a_call_is_awaited() {
        assert_eq!(off_runtime(|| 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn a_panic_goes_on_in_whoever_awaits_the_call() {
        let waiting = tokio::spawn(async { off_runtime(|| panic!("a bug")).await });
        let panic = waiting.await.unwrap_err().into_panic();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"a bug"));
    }

    #[tokio::test]
    async fn a_panic_in_the_background_is_told() {
        let (sender, receiver) = oneshot::channel();
        in_background(|| panic!("a bug"), |panic| drop(sender.send(panic))).unwrap();
        assert_eq!(receiver.await.unwrap().downcast_ref::<&str>(), Some(&"a bug"));
    }

    #[tokio::test]
    async fn a_panic_in_a_job_of_tokio_goes_on_too() {
        let panicked = tokio::task::spawn_blocking(|| panic!("a bug")).await.unwrap_err();
        assert!(caught(|| job_failed(panicked)).is_err());
    }
}
