//! copytruncate step by step, and a bridge that is started and killed at each of the moments between the steps. Whatever
//! the moments: every line is read, under one id, and nothing is said to be lost.

use std::collections::{BTreeSet, HashMap};

use futures_util::StreamExt as _;

use super::*;

/// What the writer and the rotator do. The writer holds its writes while a copy is made, as what is written then is lost by
/// copytruncate itself.
#[derive(Debug, Clone, Copy)]
enum Step {
    Write,
    /// `a.log.1` becomes `a.log.2`, and so on.
    Shift,
    /// Half of the copy, to the middle of a line.
    BeginCopy,
    EndCopy,
    Truncate,
}

use Step::{BeginCopy, EndCopy, Shift, Truncate, Write};

const STEPS: [Step; 15] = [
    Write, Write, Shift, BeginCopy, EndCopy, Truncate, Write, Shift, BeginCopy, EndCopy, Truncate, Write, Write, Shift,
    BeginCopy,
];

/// What a bridge does before it is killed.
#[derive(Debug, Clone, Copy)]
enum Life {
    /// It only looks at the paths.
    HeadReading,
    /// It reads what there is.
    Read,
    /// It commits what it has read.
    Commit,
}

struct World {
    setup: Setup,
    written: usize,
    ids: HashMap<String, BTreeSet<String>>,
}

impl World {
    fn new() -> Self {
        Self { setup: Setup::new(&["a.log*"]), written: 0, ids: HashMap::new() }
    }

    fn act(&mut self, step: Step) {
        match step {
            Write => {
                for _ in 0..2 {
                    self.setup.append("a.log", &format!("line {}\n", self.written));
                    self.written += 1;
                }
            }
            Shift => {
                for number in (1..3).rev().filter(|number| self.setup.path(&format!("a.log.{number}")).exists()) {
                    self.setup.rename(&format!("a.log.{number}"), &format!("a.log.{}", number + 1));
                }
            }
            BeginCopy => {
                let text = fs::read(self.setup.path("a.log")).unwrap();
                self.setup.write("a.log.1", &text[..text.len() / 2 + 1]);
            }
            EndCopy => self.setup.write("a.log.1", fs::read(self.setup.path("a.log")).unwrap()),
            Truncate => self.setup.truncate("a.log"),
        }
    }

    fn note(&mut self, record: &Record) {
        assert_eq!(record.defect, None, "{record:?}");
        self.ids.entry(text(record)).or_default().insert(record.event.id.clone());
    }

    /// Starts a bridge and kills it: what it has not committed is forgotten.
    async fn live(&mut self, life: Life) {
        let mut reader = self.setup.reader().await;
        if matches!(life, Life::HeadReading) {
            return;
        }
        while let Ok(record) = timeout(Duration::from_millis(60), reader.record()).await {
            self.note(&record);
        }
        if matches!(life, Life::Commit) {
            reader.commit().await;
        }
    }

    /// Reads until every line has come, and for as long as something may yet be taken for lost.
    async fn end(mut self) {
        let mut reader = self.setup.reader().await;
        while self.ids.len() < self.written {
            let record = reader.record().await;
            self.note(&record);
        }
        let patience = 2 * reader.source.timing.settle;
        while let Ok(record) = timeout(patience, reader.record()).await {
            self.note(&record);
        }
        assert!(self.ids.values().all(|ids| ids.len() == 1), "a line has two ids: {:?}", self.ids);
    }
}

/// A bridge lives at the first moment, and again at the second, and a last one sees the end.
async fn walk(first: usize, second: usize, lives: [Life; 2]) {
    let mut world = World::new();
    for (moment, step) in STEPS.into_iter().enumerate() {
        world.act(step);
        for (at, life) in [first, second].into_iter().zip(lives) {
            if at == moment {
                world.live(life).await;
            }
        }
    }
    world.end().await;
}

#[tokio::test]
async fn at_whatever_moments_of_copytruncate_it_is_killed_each_line_comes_under_one_id_and_none_is_lost() {
    let lives = [
        [Life::HeadReading, Life::Read],
        [Life::HeadReading, Life::HeadReading],
        [Life::Read, Life::Commit],
        [Life::Commit, Life::Commit],
    ];
    let moments = (0..STEPS.len()).flat_map(|first| (first + 1..STEPS.len()).map(move |second| (first, second)));
    let walks = moments.flat_map(|(first, second)| lives.map(|lives| (first, second, lives)));
    let local = tokio::task::LocalSet::new();
    let walked = futures_util::stream::iter(walks).map(|(first, second, lives)| {
        // A task of its own, so that a failure can be told with its moments.
        let walk = local.spawn_local(walk(first, second, lives));
        async move { (walk.await.is_ok(), first, second, lives) }
    });
    let failed = walked.buffer_unordered(32).filter(|(passed, ..)| std::future::ready(!passed)).collect::<Vec<_>>();
    let failed = local.run_until(failed).await;
    assert!(failed.is_empty(), "{failed:?}");
}
