//! What shares say on their topic, and a merge that takes it in. The files are compiled into the
//! target without the windows, because those bring DataFusion.
#![no_main]

#[allow(dead_code)]
#[path = "../../kpi/src/merge.rs"]
mod merge;
#[path = "../../kpi/src/ticks.rs"]
mod ticks;

/// What `merge` needs of its crate: a KPI by its name, and windows that only look at the panes.
mod definition {
    #[derive(Debug)]
    pub struct Kpi {
        pub name: String,
    }
}

mod engine {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use arrow::array::RecordBatch;
    use headsup_operators::facts::Table;
    use headsup_operators::{Copied, Windows, WindowsError};

    use crate::definition::Kpi;

    #[derive(Debug)]
    pub struct KpiWindows(Arc<Kpi>);

    impl KpiWindows {
        pub fn new(kpi: Arc<Kpi>) -> Self {
            Self(kpi)
        }

        pub fn kpi(&self) -> &Arc<Kpi> {
            &self.0
        }

        pub fn absorb_partials(&mut self, _now_ms: i64, batch: &RecordBatch) -> Result<(), WindowsError> {
            let panes = crate::ticks::panes(batch).ok_or("no partial aggregates")?;
            for (_, _, rows) in panes {
                assert_eq!(batch.slice(rows.start, rows.len()).num_rows(), rows.len());
            }
            Ok(())
        }
    }

    impl Windows for KpiWindows {
        fn name(&self) -> &str {
            &self.0.name
        }

        fn tables(&self) -> Vec<Table> {
            Vec::new()
        }

        fn columns(&self, _table: Table) -> BTreeSet<usize> {
            BTreeSet::new()
        }

        fn tick_ms(&self) -> i64 {
            60_000
        }

        fn next_tick_ms(&self) -> Option<i64> {
            None
        }

        fn absorb(&mut self, _: i64, _: Table, _: &RecordBatch) -> Result<(), WindowsError> {
            Ok(())
        }

        fn tick(&mut self, _: i64, _: &mut Vec<RecordBatch>) -> Result<(), WindowsError> {
            Ok(())
        }

        fn refused(&self) -> u64 {
            0
        }

        fn save(&self) -> Copied {
            Copied::new(|| Ok(Vec::new()))
        }

        fn restore(&mut self, _: &[u8]) -> Result<(), WindowsError> {
            Ok(())
        }
    }
}

use std::sync::Arc;

use definition::Kpi;
use libfuzzer_sys::fuzz_target;
use merge::{Merge, ShareRecord};

const DEFINITIONS: u64 = 7;

fn new() -> Merge {
    let kpi = |name: &str| Arc::new(Kpi { name: name.to_owned() });
    Merge::new(&[kpi("aht"), kpi("csat")], DEFINITIONS)
}

// The first byte says whether the records are looked at before; each record is two bytes for its
// length, and itself.
fuzz_target!(|bytes: &[u8]| {
    let Some((&first, mut rest)) = bytes.split_first() else { return };
    let mut records = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length)).min(after.len());
        let (record, after) = after.split_at(length);
        rest = after;
        if let Some(record) = ShareRecord::from_bytes(record) {
            let written = record.to_bytes().expect("written");
            assert_eq!(ShareRecord::from_bytes(&written).as_ref(), Some(&record));
            records.push(ShareRecord { definitions: DEFINITIONS, ..record });
        }
    }
    let mut merge = new();
    if first & 1 == 1 {
        merge.expect(records.iter().cloned().enumerate().map(|(at, record)| (at as i64, record)));
    }
    for record in records {
        let _ = merge.missing(4);
        if merge.push(record).is_err() || merge.advance().is_err() {
            return;
        }
        if first & 2 == 2 {
            let saved = merge.save().expect("saved");
            merge = new();
            merge.restore(&saved).expect("it was saved");
        }
    }
});
