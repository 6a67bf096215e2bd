//! Batches inside of saved state.

use std::io::Cursor;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_ipc::{Buffer, Endianness, Field, FieldNode, Message, Schema, Type, root_as_message};

/// Batches of one schema as an Arrow IPC stream; no batches are no bytes.
///
/// # Errors
/// Batches of different schemas, or columns that [`unpack`] would not take: nested ones other
/// than lists, and dictionaries.
pub fn pack(batches: &[RecordBatch]) -> Result<Vec<u8>, ArrowError> {
    let Some(first) = batches.first() else {
        return Ok(Vec::new());
    };
    let mut writer = StreamWriter::try_new(Vec::new(), &first.schema())?;
    for batch in batches {
        writer.write(batch)?;
    }
    let bytes = writer.into_inner()?;
    check(&bytes)?;
    Ok(bytes)
}

/// The batches that [`pack`] has packed.
///
/// # Errors
/// Bytes that are no Arrow IPC stream.
pub fn unpack(bytes: &[u8]) -> Result<Vec<RecordBatch>, ArrowError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    check(bytes)?;
    StreamReader::try_new(Cursor::new(bytes), None)?.collect()
}

/// Holds a stream against what Arrow's reader takes for granted, which panics or allocates
/// whatever a damaged length says. What it checks by itself (offsets, UTF-8, counts of NULLs)
/// is left to it.
fn check(bytes: &[u8]) -> Result<(), ArrowError> {
    let damaged = |problem: &str| ArrowError::IpcError(format!("saved batches are damaged: {problem}"));
    let mut rest = bytes;
    let mut schema = None;
    while let Some((message, body, after)) = next(rest).map_err(damaged)? {
        rest = after;
        match schema {
            None => {
                let found = message.header_as_schema().ok_or_else(|| damaged("there is no schema"))?;
                check_schema(found).map_err(damaged)?;
                schema = Some(found);
            }
            Some(schema) => check_batch(schema, message, body.len()).map_err(damaged)?,
        }
    }
    if schema.is_none() { Err(damaged("there is no schema")) } else { Ok(()) }
}

/// A message, its body, and what follows them.
type Next<'b> = (Message<'b>, &'b [u8], &'b [u8]);

/// The next message. `None` at the end of the stream.
fn next(bytes: &[u8]) -> Result<Option<Next<'_>>, &'static str> {
    const CUT: &str = "they have been cut off";
    let (marker, rest) = bytes.split_first_chunk::<4>().ok_or(CUT)?;
    let (length, rest) = rest.split_first_chunk::<4>().ok_or(CUT)?;
    if *marker != [0xff; 4] {
        return Err("a message does not begin as one");
    }
    let length = u32::from_le_bytes(*length) as usize;
    if length == 0 {
        return if rest.is_empty() { Ok(None) } else { Err("something follows their end") };
    }
    let (message, rest) = rest.split_at_checked(length).ok_or(CUT)?;
    let message = root_as_message(message).map_err(|_| "a message is none")?;
    let length = usize::try_from(message.bodyLength()).map_err(|_| CUT)?;
    let (body, rest) = rest.split_at_checked(length).ok_or(CUT)?;
    Ok(Some((message, body, rest)))
}

fn check_schema(schema: Schema<'_>) -> Result<(), &'static str> {
    let fields = schema.fields().ok_or("the schema has no columns")?;
    let known =
        schema.endianness() == Endianness::Little && fields.iter().all(|field| is_known(field).is_some());
    if known { Ok(()) } else { Err("a column is of a type that is not saved") }
}

/// Whether columns of this type are saved; Arrow's reader panics at types that there are not.
/// `None` is no.
fn is_known(field: Field<'_>) -> Option<()> {
    let known = match field.type_type() {
        Type::Null | Type::Bool => true,
        Type::Utf8 | Type::LargeUtf8 | Type::Utf8View => true,
        Type::Binary | Type::LargeBinary | Type::BinaryView => true,
        Type::Int => matches!(field.type_as_int()?.bitWidth(), 8 | 16 | 32 | 64),
        Type::FloatingPoint => field.type_as_floating_point()?.precision().variant_name().is_some(),
        Type::Decimal => {
            let decimal = field.type_as_decimal()?;
            matches!(decimal.bitWidth(), 128 | 256)
                && (1..=76).contains(&decimal.precision())
                && i8::try_from(decimal.scale()).is_ok()
        }
        Type::Date => field.type_as_date()?.unit().variant_name().is_some(),
        Type::Timestamp => field.type_as_timestamp()?.unit().variant_name().is_some(),
        Type::Duration => field.type_as_duration()?.unit().variant_name().is_some(),
        Type::Interval => field.type_as_interval()?.unit().variant_name().is_some(),
        Type::List => {
            let children = field.children().filter(|children| children.len() == 1)?;
            is_known(children.get(0)).is_some()
        }
        _ => false,
    };
    (known && field.dictionary().is_none()).then_some(())
}

fn check_batch(schema: Schema<'_>, message: Message<'_>, body_bytes: usize) -> Result<(), &'static str> {
    let batch = message.header_as_record_batch().ok_or("a message is no batch")?;
    if batch.compression().is_some() {
        return Err("a batch is compressed");
    }
    let (nodes, buffers) = batch.nodes().zip(batch.buffers()).ok_or("a batch has no columns")?;
    let mut variadic = batch.variadicBufferCounts().into_iter().flatten();
    let mut columns = Columns { body_bytes: body_bytes as u64, nodes: nodes.iter(), buffers: buffers.iter() };
    for field in schema.fields().into_iter().flatten() {
        columns.take(field, &mut variadic)?;
    }
    if variadic.next().is_some() { Err("a batch has more buffers than columns") } else { Ok(()) }
}

/// What a batch says of its columns, which come one after the other.
struct Columns<N, B> {
    body_bytes: u64,
    nodes: N,
    buffers: B,
}

impl<'a, N: Iterator<Item = &'a FieldNode>, B: Iterator<Item = &'a Buffer>> Columns<N, B> {
    /// Takes one column and those within it.
    fn take(
        &mut self,
        field: Field<'_>,
        variadic: &mut impl Iterator<Item = i64>,
    ) -> Result<(), &'static str> {
        const TOO_FEW: &str = "a batch has fewer columns than its schema";
        const OUTSIDE: &str = "a column lies outside of its batch";
        let node = self.nodes.next().ok_or(TOO_FEW)?;
        let rows = u64::try_from(node.length()).map_err(|_| "a column has less than no rows")?;
        // A row takes a bit at least, of some column.
        if rows > self.body_bytes.saturating_mul(8) {
            return Err("a column has more rows than bytes for them");
        }
        if !(0..=node.length()).contains(&node.null_count()) {
            return Err("a column has more NULLs than rows");
        }
        // Buffers, and of the second the bytes of an item where Arrow takes it as a whole.
        let (buffers, item_bytes) = match field.type_type() {
            Type::Null => return Ok(()),
            Type::Utf8 | Type::Binary => (3, 4),
            Type::LargeUtf8 | Type::LargeBinary => (3, 8),
            Type::Utf8View | Type::BinaryView => match variadic.next() {
                Some(more @ 0..) => (more.saturating_add(2), 16),
                _ => return Err(TOO_FEW),
            },
            Type::List => (2, 4),
            _ => (2, 1),
        };
        for place in 0..buffers {
            let buffer = self.buffers.next().ok_or(TOO_FEW)?;
            let range = u64::try_from(buffer.offset()).ok().zip(u64::try_from(buffer.length()).ok());
            let (start, length) = range.ok_or(OUTSIDE)?;
            if start.checked_add(length).is_none_or(|end| end > self.body_bytes) {
                return Err(OUTSIDE);
            }
            if place == 0 && node.null_count() > 0 && rows.div_ceil(8) > length {
                return Err("a column has more rows than bits that say which are NULL");
            }
            if place == 1 && length % item_bytes != 0 {
                return Err("a column ends within an item");
            }
        }
        match field.children() {
            Some(children) if field.type_type() == Type::List => self.take(children.get(0), variadic),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, DictionaryArray, Int64Array, StringViewArray, StructArray};
    use arrow::datatypes::Int32Type;

    use super::*;

    fn batch() -> RecordBatch {
        let texts = ["a", "a text that no view holds whole", ""].map(Some);
        let columns: [(&str, ArrayRef); 2] = [
            ("text", Arc::new(StringViewArray::from_iter(texts))),
            ("number", Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]))),
        ];
        RecordBatch::try_from_iter(columns).expect("columns of one length")
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        let batches = [batch(), batch()];
        assert_eq!(unpack(&pack(&batches).expect("packed")).expect("unpacked"), batches);
        assert!(unpack(&pack(&[]).expect("packed")).expect("unpacked").is_empty());
    }

    /// Lengths, offsets, types and counts that are not what was written, each a panic or an
    /// allocation of gigabytes of Arrow's reader if it were asked.
    #[test]
    fn every_damage_is_an_error_or_does_no_harm() {
        let whole = pack(&[batch()]).expect("packed");
        for length in 1..whole.len() {
            assert!(unpack(&whole[..length]).is_err(), "cut to {length}");
        }
        for place in 0..whole.len() {
            for byte in [0, 1, 2, 7, 0x7f, 0x80, 0xff] {
                let mut spoiled = whole.clone();
                spoiled[place] = byte;
                for batch in unpack(&spoiled).unwrap_or_default() {
                    let _ = format!("{batch:?}");
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_unpacked_is_not_packed() {
        let names: DictionaryArray<Int32Type> = ["a", "b"].into_iter().collect();
        let nested = StructArray::from(batch());
        for column in [Arc::new(names) as ArrayRef, Arc::new(nested)] {
            let batch = RecordBatch::try_from_iter([("column", column)]).expect("a column");
            let error = pack(&[batch]).expect_err("not saved").to_string();
            assert!(error.contains("a column is of a type that is not saved"), "{error}");
        }
    }
}
