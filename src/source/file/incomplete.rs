//! Compressed files that end too early: they may be in the making, however slowly. What there is of them is read at once,
//! and what is missing is waited for. When it does not come that is said, and when it comes even later it is still read,
//! under the ids that it would have had.
//!
//! It does no I/O but log. A damaged file is none of its business: no more bytes mend that.

use super::observed::Observed;
use super::path::shown;
use super::records::lost_record;
use super::registry::Key;
use super::session::Session;
use crate::source::Input;

impl Session {
    /// A compressed file has been read as far as it goes, and its end is missing.
    pub(super) fn wait_for_rest(&mut self, key: Key) {
        let (Some(tail), Some(file)) = (self.tails.get_mut(&key), self.registry.get(key)) else { return };
        if tail.break_off() {
            let offset = tail.unread_from();
            tracing::info!(path = %file.path, offset, "compressed and not complete yet; waiting for the rest");
        }
    }

    /// True when a file that ended too early has not grown since, so that to read it again is no use. After a long time
    /// its rest is given up.
    pub(super) fn still_breaks_off(&mut self, key: Key, seen: &Observed) -> bool {
        let Some(tail) = self.tails.get_mut(&key) else { return false };
        let Some(broken_off) = tail.broken_off else { return false };
        if (broken_off.file, broken_off.stored_size) != (seen.identity, seen.stored_size) {
            return false;
        }
        let seen_for = broken_off.since.elapsed();
        // Where clocks differ, what was seen counts.
        let age = seen.modified.elapsed().unwrap_or_default().max(seen_for);
        if age >= self.timing.complete {
            self.give_up_rest(key, broken_off.stored_size);
        } else if self.context.once && seen_for >= self.timing.settle {
            let (path, offset) = (shown(&seen.path), tail.unread_from());
            tracing::error!(%path, offset, "compressed and not complete; given up for this run, the next one reads on");
            tail.end();
        }
        true
    }

    /// Says in the log and as a dead letter what is missing. Nothing of it is taken for read: should it come, it is.
    fn give_up_rest(&mut self, key: Key, stored_size: u64) {
        let Some(tail) = self.tails.get_mut(&key) else { return };
        tail.broken_off = None;
        tail.live = false;
        tail.end();
        self.saver.note_ids(self.registry.name(key, tail.head()));
        let Some(file) = self.registry.get_mut(key) else { return };
        file.stored_size = Some(stored_size);
        let (source, path, start) = (&self.context.name, &file.path, tail.unread_from());
        let end = (file.size > start).then_some(file.size);
        let bytes = end.map_or_else(|| format!("what follows byte {start}"), |end| format!("bytes {start} to {end}"));
        let reason = format!(
            "{bytes} of {path} could not be read: it is compressed and incomplete, and has not grown for long; what is \
             missing is read if it is added yet"
        );
        tracing::error!(%source, %path, start, end, "a part of a file is missing, which becomes a dead letter: {reason}");
        let mut record = lost_record(&self.context, file, tail.partition, start, end, reason);
        record.position = start;
        tail.last_position = start;
        self.ready.push_back(Input::Records(vec![record]));
        self.close_partition(key);
    }
}
