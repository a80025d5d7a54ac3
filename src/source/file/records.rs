//! Records: what a line, or the lack of one, looks like to the rest of the bridge.
//!
//! This module does no I/O and decides nothing.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use super::registry::TrackedFile;
use crate::event::{Event, Meta, MetaValue};
use crate::source::lines::Line;
use crate::source::{Defect, Record, SourceContext};

/// The record of a line. Its id is that of its content and its offset in it.
pub(super) fn line_record(
    context: &SourceContext,
    file: &TrackedFile,
    partition: u32,
    time: Timestamp,
    line: Line,
) -> Record {
    let file_id = file_id(file);
    let id = format!("{file_id}/{}", line.start);
    let defect = line.defect(context.max_event_size);
    let mut meta = meta(Arc::clone(file.path.text()), file_id, line.start);
    if defect.is_some() {
        // The payload is not all there: this says where the rest is.
        meta.push(("end".into(), integer(line.end)));
    }
    let event = event(context, id, time, meta, Some(line.payload));
    Record { event, partition, position: line.end, defect }
}

/// The record that stands for bytes that can no longer be read, from `start` on, to `end` if that is known.
pub(super) fn lost_record(
    context: &SourceContext,
    file: &TrackedFile,
    partition: u32,
    start: u64,
    end: Option<u64>,
    reason: String,
) -> Record {
    let file_id = file_id(file);
    // Not the id of the line at that offset: that one may have been delivered without being confirmed.
    let id = format!("{file_id}/{start}-lost");
    let mut meta = meta(Arc::clone(file.path.text()), file_id, start);
    meta.extend(end.map(|end| ("end".into(), integer(end))));
    let event = event(context, id, Timestamp::now(), meta, None);
    Record { event, partition, position: end.unwrap_or(start), defect: Some(Defect::Lost(reason)) }
}

fn event(context: &SourceContext, id: String, time: Timestamp, meta: Meta, payload: Option<Bytes>) -> Event {
    Event {
        id,
        time,
        source: Arc::clone(&context.name),
        key: None,
        headers: Vec::new(),
        meta: beside(&context.meta_beside, meta),
        payload,
        format: context.format,
        content_type: None,
    }
}

/// The connector's own `meta`, with what it lacks of another one's.
fn beside(other: &Meta, own: Meta) -> Meta {
    let lacking = other.iter().filter(|(name, _)| !own.iter().any(|(known, _)| known == name)).cloned();
    let lacking: Meta = lacking.collect();
    if lacking.is_empty() { own } else { lacking.into_iter().chain(own).collect() }
}

/// Where a line stands.
pub(super) fn meta(path: Arc<str>, file_id: Arc<str>, offset: u64) -> Meta {
    vec![
        ("path".into(), MetaValue::Text(path)),
        ("offset".into(), integer(offset)),
        ("file".into(), MetaValue::Text(file_id)),
    ]
}

/// Every content has its id before the first record is made of it.
fn file_id(file: &TrackedFile) -> Arc<str> {
    file.id.clone().unwrap_or_default()
}

fn integer(offset: u64) -> MetaValue {
    MetaValue::Integer(i64::try_from(offset).unwrap_or(i64::MAX))
}
