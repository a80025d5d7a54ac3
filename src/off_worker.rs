//! Calls that block, made off the workers, and what a panic in one of them means. A worker's thread belongs to all tasks
//! on it, so none may block it.
//!
//! A call that may hang for as long as somebody else likes, as one into a broker's library, gets a thread of its own.
//! Calls about files are many and short, and wait for their turn on threads that are kept.
//!
//! The rule for all: a panic is a bug and no trouble that passes. It goes on in whoever waits for the call, or is told
//! what comes of it, so that the task panics and the process ends with the error. It must never be taken for a lost
//! connection, an unreadable file or the end of the input, which is what a channel looks like whose other end has
//! panicked. Only when nobody waits any more, as for a client that is being left behind, nothing but the panic's own
//! message says it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::{io, thread};

use tokio::sync::oneshot;
use tokio::task::{spawn, spawn_blocking};

use crate::turns::{Turn, Turns};

/// What a thread has caught.
pub type Panic = Box<dyn Any + Send>;

/// The result of a call, to be awaited. `Err` when no thread could be started for it, or its runtime has ended. When the
/// call has panicked, awaiting it panics. Cancel safe.
#[derive(Debug)]
pub struct Answer<T>(io::Result<oneshot::Receiver<Result<T, Panic>>>);

/// Makes a call on a thread of its own. Unlike one on a thread of the runtime, a call that hangs does not hold up the
/// runtime's end. When the result is not awaited, it is dropped on that thread.
pub fn on_own_thread<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> Answer<T> {
    let (sender, receiver) = oneshot::channel();
    let spawned = spawn_thread(move || {
        sender.send(caught(call)).ok();
    });
    Answer(spawned.map(|()| receiver))
}

/// Makes a call whose result nobody awaits on a thread of its own: `told` gets to know when it has panicked.
///
/// # Errors
/// When no thread can be started.
pub fn in_background(
    call: impl FnOnce() + Send + 'static,
    told: impl FnOnce(Panic) + Send + 'static,
) -> io::Result<()> {
    spawn_thread(move || {
        if let Err(panic) = caught(call) {
            told(panic);
        }
    })
}

/// Makes a call on one of the runtime's threads for such calls, as soon as it is its turn. It is made also when the
/// result is not awaited.
pub fn in_turn<T: Send + 'static>(turns: &'static Turns, call: impl FnOnce() -> T + Send + 'static) -> Answer<T> {
    let (sender, receiver) = oneshot::channel();
    let call = move |turn: Turn| {
        let result = caught(call);
        // Whoever hears of the result may want the turn.
        drop(turn);
        sender.send(result).ok();
    };
    match turns.try_take() {
        Some(turn) => drop(spawn_blocking(|| call(turn))),
        None => drop(spawn(async move {
            let turn = turns.take().await;
            spawn_blocking(|| call(turn));
        })),
    }
    Answer(Ok(receiver))
}

/// Makes a call here. What of the caller's state it may have left half done is not looked at again: the process ends.
///
/// # Errors
/// The call's panic.
pub fn caught<T>(call: impl FnOnce() -> T) -> Result<T, Panic> {
    catch_unwind(AssertUnwindSafe(call))
}

fn spawn_thread(run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name("blocking-call".to_owned()).spawn(run).map(drop)
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
    use std::collections::HashSet;
    use std::thread::ThreadId;
    use std::time::Duration;

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn the_result_of_a_call_is_awaited() {
        static TURNS: Turns = Turns::new(1);
        assert_eq!(on_own_thread(|| 7).await.unwrap(), 7);
        assert_eq!(in_turn(&TURNS, || 8).await.unwrap(), 8);
    }

    #[tokio::test]
    async fn a_panic_goes_on_in_whoever_awaits_the_call() {
        let waiting = tokio::spawn(async { on_own_thread(|| panic!("a bug")).await });
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
    async fn a_panic_goes_on_whether_the_call_has_waited_for_its_turn_or_not() {
        static TURNS: Turns = Turns::new(4);
        let calls = (0..20).map(|_| tokio::spawn(in_turn(&TURNS, || -> () { panic!("a bug") })));
        assert!(join_all(calls).await.into_iter().all(|result| result.is_err_and(|error| error.is_panic())));
    }

    #[tokio::test]
    async fn many_calls_in_turn_take_few_threads() {
        static TURNS: Turns = Turns::new(4);
        let call = || {
            thread::sleep(Duration::from_millis(2));
            thread::current().id()
        };
        let threads = join_all((0..200).map(|_| in_turn(&TURNS, call))).await;
        let threads: HashSet<ThreadId> = threads.into_iter().map(Result::unwrap).collect();
        // A turn ends a moment before its thread is free for the next.
        assert!(threads.len() <= 16, "{}", threads.len());
    }
}
