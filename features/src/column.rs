//! Columns of whole numbers, in as few bits each as the largest of them needs.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, TimestampMicrosecondArray};
use arrow::buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::DataType;

/// A column of whole numbers (doubles by their bits, truth values as 0 and 1).
#[derive(Debug, Default)]
pub struct Column {
    values: Values,
    /// Empty as long as nothing is NULL.
    valid: Bits,
}

/// Whole numbers. They become wider when one comes that does not fit.
#[derive(Debug)]
pub enum Values {
    /// 0 and 1.
    Bits(Bits),
    I8(Vec<i8>),
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
}

#[derive(Debug, Default)]
pub struct Bits {
    words: Vec<u64>,
    len: usize,
}

impl Column {
    pub fn extend(&mut self, values: &Int64Array) {
        if values.null_count() > 0 && self.valid.len == 0 {
            self.valid.extend(std::iter::repeat_n(true, self.values.len()));
        }
        if self.valid.len > 0 || values.null_count() > 0 {
            self.valid.extend((0..values.len()).map(|row| values.is_valid(row)));
        }
        match values.nulls() {
            None => self.values.extend(values.values().iter().copied()),
            Some(_) => self.values.extend(values.iter().map(Option::unwrap_or_default)),
        }
    }

    /// The values of these rows.
    pub fn gather(&self, kind: &DataType, rows: &[u32]) -> ArrayRef {
        let nulls = (self.valid.len > 0).then(|| {
            NullBuffer::new(BooleanBuffer::collect_bool(rows.len(), |at| self.valid.get(rows[at] as usize)))
        });
        if let (DataType::Boolean, Values::Bits(bits)) = (kind, &self.values) {
            let values = BooleanBuffer::collect_bool(rows.len(), |at| bits.get(rows[at] as usize));
            return Arc::new(BooleanArray::new(values, nulls));
        }
        let values = self.values.gather(rows);
        match kind {
            DataType::Float64 => {
                let values: Vec<f64> = values.into_iter().map(|bits| f64::from_bits(bits as u64)).collect();
                Arc::new(Float64Array::new(values.into(), nulls))
            }
            DataType::Timestamp(..) => Arc::new(TimestampMicrosecondArray::new(values.into(), nulls)),
            _ => Arc::new(Int64Array::new(ScalarBuffer::from(values), nulls)),
        }
    }

    /// Puts the rows into this order.
    pub fn reorder(&mut self, order: &[u32]) {
        self.values.reorder(order);
        self.valid.reorder(order);
    }
}

impl Default for Values {
    fn default() -> Self {
        Self::Bits(Bits::default())
    }
}

/// The same expression for the vector of any width.
macro_rules! any {
    ($values:expr, $of:ident => $then:expr) => {
        match $values {
            Values::Bits($of) => $then,
            Values::I8($of) => $then,
            Values::I16($of) => $then,
            Values::I32($of) => $then,
            Values::I64($of) => $then,
        }
    };
}

impl Values {
    pub fn len(&self) -> usize {
        any!(self, values => Numbers::len(values))
    }

    pub fn get(&self, row: usize) -> i64 {
        any!(self, values => values.number(row))
    }

    pub fn extend(&mut self, values: impl Iterator<Item = i64> + Clone) {
        let (low, high) = values.clone().fold((0, 1), |(low, high), value| (value.min(low), value.max(high)));
        self.widen(low, high);
        any!(self, all => all.take(values));
    }

    fn gather(&self, rows: &[u32]) -> Vec<i64> {
        any!(self, values => rows.iter().map(|row| values.number(*row as usize)).collect())
    }

    pub fn reorder(&mut self, order: &[u32]) {
        any!(self, values => values.reorder(order));
    }

    /// Makes room for numbers between these.
    fn widen(&mut self, low: i64, high: i64) {
        let fits = |least: i64, most: i64| least <= low && high <= most;
        let (wide, wanted) = match (low, high) {
            _ if fits(0, 1) => (0, Self::default()),
            _ if fits(i8::MIN.into(), i8::MAX.into()) => (1, Self::I8(Vec::new())),
            _ if fits(i16::MIN.into(), i16::MAX.into()) => (2, Self::I16(Vec::new())),
            _ if fits(i32::MIN.into(), i32::MAX.into()) => (4, Self::I32(Vec::new())),
            _ => (8, Self::I64(Vec::new())),
        };
        let now = match self {
            Self::Bits(_) => 0,
            Self::I8(_) => 1,
            Self::I16(_) => 2,
            Self::I32(_) => 4,
            Self::I64(_) => 8,
        };
        if wide > now {
            let narrow = std::mem::replace(self, wanted);
            any!(self, all => all.take((0..narrow.len()).map(|row| narrow.get(row))));
        }
    }
}

/// What vectors of all widths can do.
trait Numbers {
    fn len(&self) -> usize;
    fn number(&self, row: usize) -> i64;
    /// Appends numbers that fit.
    fn take(&mut self, values: impl Iterator<Item = i64>);
    fn reorder(&mut self, order: &[u32]);
}

macro_rules! numbers {
    ($($kind:ty)*) => {
        $(impl Numbers for Vec<$kind> {
            fn len(&self) -> usize {
                Vec::len(self)
            }

            fn number(&self, row: usize) -> i64 {
                self[row].into()
            }

            fn take(&mut self, values: impl Iterator<Item = i64>) {
                self.extend(values.map(|value| value as $kind));
            }

            fn reorder(&mut self, order: &[u32]) {
                reorder(self, order);
            }
        })*
    };
}
numbers!(i8 i16 i32 i64);

impl Numbers for Bits {
    fn len(&self) -> usize {
        self.len
    }

    fn number(&self, row: usize) -> i64 {
        self.get(row).into()
    }

    fn take(&mut self, values: impl Iterator<Item = i64>) {
        self.extend(values.map(|value| value != 0));
    }

    fn reorder(&mut self, order: &[u32]) {
        Bits::reorder(self, order);
    }
}

impl Bits {
    fn get(&self, at: usize) -> bool {
        self.words[at / 64] >> (at % 64) & 1 == 1
    }

    fn extend(&mut self, bits: impl Iterator<Item = bool>) {
        for bit in bits {
            if self.len.is_multiple_of(64) {
                self.words.push(0);
            }
            self.words[self.len / 64] |= u64::from(bit) << (self.len % 64);
            self.len += 1;
        }
    }

    fn reorder(&mut self, order: &[u32]) {
        if self.len > 0 {
            let mut all = Self::default();
            all.extend(order.iter().map(|row| self.get(*row as usize)));
            *self = all;
        }
    }
}

/// Puts values, if there are any, into this order.
pub fn reorder<T: Copy>(values: &mut Vec<T>, order: &[u32]) {
    if !values.is_empty() {
        *values = order.iter().map(|row| values[*row as usize]).collect();
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;

    use super::*;

    #[test]
    fn what_comes_in_comes_out_at_every_width() {
        let edges = [0, 1, 2, -1, 127, 128, -128, -129, 32_767, -32_769, 1 << 31, i64::MIN, i64::MAX];
        for last in 1..=edges.len() {
            let mut column = Column::default();
            let mut all: Vec<Option<i64>> = vec![Some(1); 70];
            column.extend(&all.iter().copied().collect());
            for edge in &edges[..last] {
                let more = [Some(*edge), None, Some(0)];
                column.extend(&more.into_iter().collect());
                all.extend(more);
            }
            let mut rows: Vec<u32> = (0..all.len() as u32).rev().collect();
            let gathered = column.gather(&DataType::Int64, &rows);
            let backwards: Vec<_> = all.iter().rev().copied().collect();
            assert_eq!(gathered.as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), backwards);
            column.reorder(&rows);
            rows.reverse();
            let gathered = column.gather(&DataType::Int64, &rows);
            assert_eq!(gathered.as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), backwards);
        }
    }
}
