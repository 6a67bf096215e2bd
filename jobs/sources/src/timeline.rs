//! Calls and invoices, each with several moments, told in event-time order.
//!
//! An importer keeps what it read in compact items and notes the moments of
//! each. The JSON of an event is made when it is asked for, so that a year of
//! calls needs the memory of its calls, not of its events.

use serde::Serialize;

use crate::SourceEvent;

/// Items of type `T` and their moments.
pub(crate) struct Timeline<T> {
    items: Vec<T>,
    /// (event time, rank within a millisecond, item): the order of the events.
    moments: Vec<(i64, u8, u32)>,
    next: usize,
    render: fn(&T, i64, u8) -> SourceEvent,
}

impl<T> Timeline<T> {
    /// Orders the moments of `items`. `moments` lists (event time, rank) of an
    /// item. Ties are broken by the item's place, so the caller sorts the items
    /// by something of their own if the order of files must not matter.
    pub(crate) fn new(
        items: Vec<T>,
        moments: impl Fn(&T) -> Vec<(i64, u8)>,
        render: fn(&T, i64, u8) -> SourceEvent,
    ) -> Timeline<T> {
        let mut all = Vec::new();
        for (at, item) in items.iter().enumerate() {
            #[expect(clippy::expect_used, reason = "so many items do not fit into memory")]
            let at = u32::try_from(at).expect("fewer than 2^32 items");
            all.extend(moments(item).into_iter().map(|(time, rank)| (time, rank, at)));
        }
        all.sort_unstable();
        Timeline { items, moments: all, next: 0, render }
    }
}

impl<T> Iterator for Timeline<T> {
    type Item = SourceEvent;

    fn next(&mut self) -> Option<SourceEvent> {
        let (time, rank, item) = *self.moments.get(self.next)?;
        self.next += 1;
        Some((self.render)(&self.items[item as usize], time, rank))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.moments.len() - self.next;
        (left, Some(left))
    }
}

impl<T> ExactSizeIterator for Timeline<T> {}

/// A CloudEvent of history: recorded when it happened.
#[derive(Serialize)]
pub(crate) struct CloudEvent<'a, D> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    r#type: &'static str,
    subject: &'a str,
    time: &'a str,
    recordedtime: &'a str,
    data: D,
}

impl<D: Serialize> CloudEvent<'_, D> {
    /// The event as one line of JSON. The time has to be one that [`jiff::Timestamp`] holds.
    #[expect(clippy::expect_used, reason = "importers set aside rows with other times")]
    pub(crate) fn line(
        id: &str,
        source: &str,
        kind: &'static str,
        subject: &str,
        time_ms: i64,
        data: D,
    ) -> String {
        let time = jiff::Timestamp::from_millisecond(time_ms)
            .expect("the importer has checked the time")
            .to_string();
        let event = CloudEvent {
            specversion: "1.0",
            id,
            source,
            r#type: kind,
            subject,
            time: &time,
            recordedtime: &time,
            data,
        };
        serde_json::to_string(&event).expect("strings and integers are JSON")
    }
}
