//! Events that proactive service goes by, as facts.

use headsup_events::{EventBatch, Flag, Text};

use crate::facts::Rows;

/// Appends an event, whose turn is at `at_ms`, to table `signals`. `origin` is its conversation's.
pub fn append(events: &EventBatch, row: usize, origin: &str, at_ms: i64, rows: &mut Rows) {
    rows.text(events.kind(row).name());
    for column in [Text::Subject, Text::Source, Text::Id, Text::CustomerId, Text::Shop, Text::Channel] {
        rows.text(events.text(column, row));
    }
    rows.text(origin);
    for column in [Text::AgentId, Text::State, Text::Reason] {
        rows.text(events.text(column, row));
    }
    rows.boolean(events.flag(Flag::Retryable, row))
        .text(events.text(Text::Disposition, row))
        .time(Some(events.time_ms(row)))
        .time(Some(events.known_ms(row).max(at_ms)))
        .end_row();
}
