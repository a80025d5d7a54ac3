//! The end of a run: what is waited for, committed and given back.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_end_of_the_source_waits_for_what_is_open() {
    let mut run = start(10, 1000);
    run.source.record(0, 1, 1);
    run.source.push(Ok(Input::End));
    let open = run.next().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!run.task.is_finished());
    open.ack.settle();
    let source = run.end().await;
    assert_eq!(source.commits(), [(0, 1)]);
    assert_eq!(source.script().calls.last(), Some(&Call::Close));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_commits_what_ends_in_time() {
    let mut run = start(10, 1000);
    run.source.record(0, 1, 1);
    run.source.record(0, 2, 1);
    let (first, second) = (run.next().await, run.next().await);
    run.shutdown.begin();
    run.idle().await;
    run.source.record(0, 3, 1);
    first.ack.settle();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(!run.task.is_finished(), "there is still time for the second event");
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(run.arrivals.try_recv().is_err(), "nothing is read any more");
    let source = run.end().await;
    assert_eq!(source.commits(), [(0, 1)]);
    drop(second);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_does_not_answer_cannot_hold_up_the_end() {
    let mut run = start(10, 1000);
    run.source.record(0, 1, 1);
    run.next().await.ack.settle();
    run.source.record(0, 2, 1);
    let _open = run.next().await;
    run.source.script().hangs = true;
    let told = Instant::now();
    run.shutdown.begin();
    let source = run.end().await;
    let lasted = told.elapsed();
    assert!(lasted >= Duration::from_secs(27) && lasted < Duration::from_secs(29), "the end took {lasted:?}");
    assert!(source.script().calls.contains(&Call::Close));
}

#[tokio::test(start_paused = true)]
async fn what_is_open_at_the_end_is_given_back_behind_the_last_commit() {
    let mut run = start(10, 1000);
    for position in 1..=4 {
        run.source.record(7, position, 1);
    }
    let mut arrivals = Vec::new();
    for _ in 0..4 {
        arrivals.push(run.next().await);
    }
    run.shutdown.begin();
    let fourth = arrivals.pop().unwrap();
    arrivals.remove(2).ack.settle();
    arrivals.remove(0).ack.settle();
    // Its delivery is cut off: it has not been processed either.
    drop(fourth);
    let source = run.end().await;
    let script = source.script();
    let [.., commit, give_back, close] = &script.calls[..] else { panic!("{:?}", script.calls) };
    assert!(matches!(commit, Call::Commit(progress) if progress.watermarks == [(7, 1)]), "{commit:?}");
    assert_eq!((give_back, close), (&Call::GiveBack(vec![(7, 2), (7, 4)]), &Call::Close));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_given_back_of_an_earlier_connection() {
    let mut run = start(10, 1000);
    run.source.record(7, 1, 1);
    run.source.record(7, 2, 1);
    let (first, _second) = (run.next().await, run.next().await);
    drop(first);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(run.source.script().calls, [Call::Connect, Call::Connect]);
    run.source.record(9, 1, 1);
    let _third = run.next().await;
    run.shutdown.begin();
    let source = run.end().await;
    assert_eq!(source.script().calls[2..], [Call::GiveBack(vec![(9, 1)]), Call::Close]);
}
