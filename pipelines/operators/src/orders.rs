//! Order events as facts.

use headsup_events::{EventBatch, Number, Text};

use crate::facts::Rows;

/// Appends an order event, whose turn is at `at_ms`, to table `orders`.
pub fn append(events: &EventBatch, row: usize, at_ms: i64, rows: &mut Rows) {
    let kind = events.kind(row).name();
    rows.text(events.text(Text::Subject, row))
        .text(kind.strip_prefix("order.").unwrap_or(kind))
        .text(events.text(Text::CustomerId, row))
        .text(events.text(Text::Shop, row))
        .text(events.text(Text::Channel, row))
        .integer(events.number(Number::AmountMinor, row))
        .text(events.text(Text::Currency, row))
        .text(events.text(Text::Actor, row))
        .text(events.text(Text::Reason, row))
        .integer(events.number(Number::Score, row))
        .text(events.text(Text::Lines, row))
        .time(Some(events.time_ms(row)))
        .time(Some(events.known_ms(row).max(at_ms)))
        .end_row();
}
