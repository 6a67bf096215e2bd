//! The records of a batch, as the server keeps them.
//!
//! Every length is held against what is there. The client's own decoder is not used: it
//! allocates whatever length a record says of itself, and a damaged one ends the process.

use fluvio_protocol::record::{Batch, RawRecords};

/// Records of a batch.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// Their values, one after the other.
    pub bytes: Vec<u8>,
    /// Where each is in `bytes`.
    pub spans: Vec<(u32, u32)>,
    /// How many came before them that were not asked for.
    pub skipped: u64,
    /// More are in the batch than have come.
    pub is_cut: bool,
}

/// Why there is no next record.
enum Stop {
    /// The batch has been cut off here.
    Cut,
    Wrong(&'static str),
}

/// The records of a batch after the first `skip`.
///
/// # Errors
/// What is wrong with the batch.
pub(crate) fn unpack(batch: &Batch<RawRecords>, skip: u64) -> Result<Records, String> {
    let compression = batch.get_compression().map_err(|error| error.to_string())?;
    let packed = &batch.records().0;
    let unpacked = compression.uncompress(packed).map_err(|error| error.to_string())?;
    let mut walk = Walk(unpacked.as_deref().unwrap_or(packed));
    let declared = batch.records_len() as u64;
    let mut records = Records::default();
    let count = walk.take::<4>().map_or(0, |count| i32::from_be_bytes(*count).max(0) as u64).min(declared);
    for number in 0..count {
        let value = match walk.record() {
            Ok(value) => value,
            Err(Stop::Cut) => break,
            Err(Stop::Wrong(what)) => return Err(format!("record {number} of the batch is damaged: {what}")),
        };
        if number < skip {
            records.skipped += 1;
            continue;
        }
        let start = records.bytes.len();
        let Ok(end) = u32::try_from(start + value.len()) else { break };
        records.bytes.extend_from_slice(value);
        records.spans.push((start as u32, end));
    }
    records.is_cut = records.skipped + (records.spans.len() as u64) < declared;
    Ok(records)
}

/// Bytes that have not been looked at.
struct Walk<'b>(&'b [u8]);

impl<'b> Walk<'b> {
    fn take<const N: usize>(&mut self) -> Option<&'b [u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(taken)
    }

    /// Seven bits a byte, the lowest first, and the sign in the lowest of all.
    fn varint(&mut self) -> Result<i64, Stop> {
        let mut bits = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = *self.take().ok_or(Stop::Cut)?;
            bits |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok((bits >> 1) as i64 ^ -((bits & 1) as i64));
            }
        }
        Err(Stop::Wrong("a number does not end"))
    }

    /// As many bytes as the number before them says.
    fn bytes(&mut self) -> Result<&'b [u8], Stop> {
        let length = usize::try_from(self.varint()?).map_err(|_| Stop::Wrong("a length is negative"))?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Stop::Cut)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// The value of the next record.
    fn record(&mut self) -> Result<&'b [u8], Stop> {
        let inside = Self(self.bytes()?).value();
        // It is here as a whole.
        inside.map_err(|stop| match stop {
            Stop::Cut => Stop::Wrong("it ends before its value"),
            wrong => wrong,
        })
    }

    /// The value inside of a record: after attributes, time, offset and key, before headers.
    fn value(mut self) -> Result<&'b [u8], Stop> {
        self.take::<1>().ok_or(Stop::Cut)?;
        self.varint()?;
        self.varint()?;
        match self.take::<1>().ok_or(Stop::Cut)? {
            [0] => {}
            [1] => drop(self.bytes()?),
            _ => return Err(Stop::Wrong("it neither has a key nor has none")),
        }
        self.bytes()
    }
}

#[cfg(test)]
mod tests {
    use fluvio_protocol::record::{Record, RecordSet};
    use fluvio_protocol::{Decoder, Encoder};

    use super::*;

    /// Three records, one with a key, one empty, one of a length of two bytes.
    fn batch() -> Vec<u8> {
        let records =
            vec![Record::new("one"), Record::new_key_value("a key", ""), Record::new("x".repeat(300))];
        let mut bytes = Vec::new();
        Batch::from(records).encode(&mut bytes, 0).expect("encoded");
        bytes
    }

    fn decoded(bytes: &[u8]) -> Option<Batch<RawRecords>> {
        let length = (bytes.len() as i32).to_be_bytes();
        let set = [&length[..], bytes].concat();
        RecordSet::<RawRecords>::decode_from(&mut set.as_slice(), 0).ok()?.batches.into_iter().next()
    }

    fn values(records: &Records) -> Vec<&[u8]> {
        records.spans.iter().map(|&(from, to)| &records.bytes[from as usize..to as usize]).collect()
    }

    #[test]
    fn records_are_those_that_the_client_reads() {
        let batch = decoded(&batch()).expect("a batch");
        let read: Batch = batch.clone().try_into().expect("read");
        let expected: Vec<&[u8]> = read.records().iter().map(|record| record.value.as_ref()).collect();
        let records = unpack(&batch, 0).expect("unpacked");
        assert_eq!(values(&records), expected);
        assert!(!records.is_cut && records.skipped == 0);
        let rest = unpack(&batch, 2).expect("unpacked");
        assert_eq!(values(&rest), expected[2..]);
        assert!(!rest.is_cut && rest.skipped == 2);
        let none = unpack(&batch, 7).expect("unpacked");
        assert!(none.spans.is_empty() && none.skipped == 3);
    }

    /// A length of nearly 2^63 bytes, one that does not end, and one below zero.
    #[test]
    fn lengths_of_more_than_there_is_are_refused() {
        let whole = batch();
        let place = whole.windows(4).position(|bytes| bytes == b"\x06one").expect("it is there");
        let huge = [&[0xfe][..], &[0xff; 8], &[0x01]].concat();
        for (length, told) in [
            (huge.as_slice(), "it ends before its value"),
            (&[0xff; 12], "a number does not end"),
            (&[0x05], "a length is negative"),
        ] {
            let mut bytes = whole.clone();
            bytes.splice(place..=place, length.iter().copied());
            // The batch and the record are longer by this much.
            let longer = length.len() as i32 - 1;
            let batch_bytes = i32::from_be_bytes(bytes[8..12].try_into().expect("four")) + longer;
            bytes[8..12].copy_from_slice(&batch_bytes.to_be_bytes());
            let record = place - 5;
            bytes[record] += 2 * longer as u8;
            let error = unpack(&decoded(&bytes).expect("a batch"), 0).expect_err("refused");
            assert_eq!(error, format!("record 0 of the batch is damaged: {told}"));
        }
    }

    #[test]
    fn every_damage_is_an_error_or_does_no_harm() {
        let whole = batch();
        let mut cut = 0;
        for length in 0..whole.len() {
            let records = decoded(&whole[..length]).and_then(|batch| unpack(&batch, 0).ok());
            cut += usize::from(records.is_some_and(|records| records.is_cut));
        }
        assert!(cut > 300, "{cut}");
        for place in 0..whole.len() {
            for byte in [0, 1, 2, 7, 0x7f, 0x80, 0xfe, 0xff] {
                let mut spoiled = whole.clone();
                spoiled[place] = byte;
                if let Some(Ok(records)) = decoded(&spoiled).map(|batch| unpack(&batch, 1)) {
                    assert!(values(&records).concat().len() <= whole.len());
                }
            }
        }
    }
}
