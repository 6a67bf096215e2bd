//! Batches inside of saved state.

use std::io::Cursor;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;

/// Batches of one schema as an Arrow IPC stream; no batches are no bytes.
///
/// # Errors
/// Batches of different schemas.
pub fn pack(batches: &[RecordBatch]) -> Result<Vec<u8>, ArrowError> {
    let Some(first) = batches.first() else {
        return Ok(Vec::new());
    };
    let mut writer = StreamWriter::try_new(Vec::new(), &first.schema())?;
    for batch in batches {
        writer.write(batch)?;
    }
    writer.into_inner()
}

/// The batches that [`pack`] has packed.
///
/// # Errors
/// Bytes that are no Arrow IPC stream.
pub fn unpack(bytes: &[u8]) -> Result<Vec<RecordBatch>, ArrowError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    StreamReader::try_new(Cursor::new(bytes), None)?.collect()
}
