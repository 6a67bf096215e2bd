//! Rows that ClickHouse sends, in one piece and in many. What is taken is the same written and
//! read again.
#![no_main]

#[allow(dead_code)]
#[path = "../../clickhouse/src/rowbinary.rs"]
mod rowbinary;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use libfuzzer_sys::fuzz_target;
use rowbinary::{Column, Decoder, Kind};

fuzz_target!(|bytes: &[u8]| {
    let Some((&piece, bytes)) = bytes.split_first() else { return };
    let whole = decode([bytes].into_iter());
    let pieces = decode(bytes.chunks(usize::from(piece) + 1));
    assert_eq!(whole.is_ok(), pieces.is_ok());
    if let (Ok((whole, is_cut_off)), Ok((pieces, is_cut_off_too))) = (whole, pieces) {
        assert_eq!(is_cut_off, is_cut_off_too);
        let written = encode(&whole);
        assert_eq!(written, encode(&pieces));
        let (again, is_cut_off) = decode([written.as_slice()].into_iter()).expect("it was written");
        assert!(!is_cut_off);
        assert_eq!(written, encode(&again));
    }
});

fn schema() -> Schema {
    let types = [
        DataType::Utf8View,
        DataType::Int64,
        DataType::Boolean,
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::Float64,
        DataType::Binary,
        DataType::UInt64,
        DataType::Utf8,
    ];
    let field = |(place, kind): (usize, DataType)| Field::new(place.to_string(), kind, true);
    Schema::new(types.into_iter().enumerate().map(field).collect::<Vec<_>>())
}

fn decode<'b>(pieces: impl Iterator<Item = &'b [u8]>) -> Result<(RecordBatch, bool), String> {
    let mut decoder = Decoder::new(Arc::new(schema()))?;
    for piece in pieces {
        decoder.push(piece)?;
    }
    let rows = decoder.rows();
    let batch = decoder.take().expect("columns of one length");
    assert_eq!(batch.num_rows(), rows);
    Ok((batch, decoder.is_cut_off()))
}

fn encode(batch: &RecordBatch) -> Vec<u8> {
    let column =
        |array| Column::new(array, Kind::of(array.data_type()).expect("a kind"), true).expect("a column");
    let columns: Vec<Column> = batch.columns().iter().map(column).collect();
    let mut out = Vec::new();
    for row in 0..batch.num_rows() {
        columns.iter().for_each(|column| column.write(row, &mut out));
    }
    out
}
