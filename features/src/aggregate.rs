//! The aggregates, over groups that are contiguous rows.
//!
//! All take whole numbers and give the same bits for the rows of a group in any order.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array};

/// What is computed of a group's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Aggregate {
    Count,
    CountDistinct,
    Sum,
    Min,
    Max,
    Mean,
    Stddev,
    Median,
    GapMean,
    GapStddev,
    /// By the rows' ages: the youngest.
    Last,
    /// The oldest.
    First,
    BoolOr,
    BoolAnd,
}

impl Aggregate {
    /// The aggregate that SQL calls so.
    pub fn parse(name: &str, distinct: bool) -> Option<Self> {
        Some(match (name, distinct) {
            ("count", false) => Self::Count,
            ("count", true) => Self::CountDistinct,
            (_, true) => return None,
            ("sum", _) => Self::Sum,
            ("min", _) => Self::Min,
            ("max", _) => Self::Max,
            ("mean", _) => Self::Mean,
            ("stddev", _) => Self::Stddev,
            ("median", _) => Self::Median,
            ("gap_mean", _) => Self::GapMean,
            ("gap_stddev", _) => Self::GapStddev,
            ("last", _) => Self::Last,
            ("first", _) => Self::First,
            ("bool_or", _) => Self::BoolOr,
            ("bool_and", _) => Self::BoolAnd,
            _ => return None,
        })
    }
}

/// Rows by group: group g has the rows from `bounds[g]` to `bounds[g + 1]`.
pub struct Groups<'a> {
    pub bounds: &'a [usize],
    /// `as_of` minus event time, of every row, in µs.
    pub ages_us: &'a [i64],
}

/// The aggregate of each group, over the rows that `takes`. `values` are whole numbers; of truth values 0
/// and 1; none for `count(*)`.
pub fn aggregate(what: Aggregate, groups: &Groups<'_>, values: &[i64], takes: &[bool]) -> ArrayRef {
    let each = groups.bounds.windows(2).map(|pair| pair[0]..pair[1]);
    let taken = |rows: std::ops::Range<usize>| {
        values[rows.clone()].iter().zip(&takes[rows]).filter(|(_, takes)| **takes).map(|(value, _)| *value)
    };
    let mut buffer: Vec<i64> = Vec::new();
    let fill = |buffer: &mut Vec<i64>, rows: std::ops::Range<usize>| {
        buffer.clear();
        buffer.extend(taken(rows));
        buffer.sort_unstable();
    };
    match what {
        Aggregate::Count => {
            let counts: Vec<i64> =
                each.map(|rows| takes[rows].iter().map(|takes| i64::from(*takes)).sum()).collect();
            Arc::new(Int64Array::from(counts))
        }
        Aggregate::CountDistinct => {
            let counts = each.map(|rows| {
                fill(&mut buffer, rows);
                buffer.dedup();
                buffer.len() as i64
            });
            Arc::new(counts.map(Some).collect::<Int64Array>())
        }
        Aggregate::Sum => {
            let sums = each.map(|rows| {
                let (mut sum, mut any) = (0i128, false);
                for (value, takes) in values[rows.clone()].iter().zip(&takes[rows]) {
                    // Without a branch: which rows are taken cannot be foreseen.
                    sum += i128::from(value & -i64::from(*takes));
                    any |= takes;
                }
                any.then(|| sum.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
            });
            Arc::new(sums.collect::<Int64Array>())
        }
        Aggregate::Min => Arc::new(each.map(|rows| taken(rows).min()).collect::<Int64Array>()),
        Aggregate::Max => Arc::new(each.map(|rows| taken(rows).max()).collect::<Int64Array>()),
        Aggregate::Mean => {
            Arc::new(each.map(|rows| Moments::of(taken(rows)).mean()).collect::<Float64Array>())
        }
        Aggregate::Stddev => {
            Arc::new(each.map(|rows| Moments::of(taken(rows)).stddev()).collect::<Float64Array>())
        }
        Aggregate::Median => {
            let medians = each.map(|rows| {
                fill(&mut buffer, rows);
                buffer.get(buffer.len().saturating_sub(1) / 2).copied()
            });
            Arc::new(medians.collect::<Int64Array>())
        }
        Aggregate::GapMean | Aggregate::GapStddev => {
            let gaps = each.map(|rows| {
                fill(&mut buffer, rows);
                let moments = Moments::of(buffer.windows(2).map(|pair| pair[1].saturating_sub(pair[0])));
                if what == Aggregate::GapMean { moments.mean() } else { moments.stddev() }
            });
            Arc::new(gaps.collect::<Float64Array>())
        }
        Aggregate::Last | Aggregate::First => {
            let sign = if what == Aggregate::Last { 1 } else { -1 };
            let ends = each.map(|rows| {
                rows.filter(|row| takes[*row])
                    .map(|row| (std::cmp::Reverse(sign * groups.ages_us[row]), values[row]))
                    .max()
                    .map(|(_, value)| value)
            });
            Arc::new(ends.collect::<Int64Array>())
        }
        Aggregate::BoolOr | Aggregate::BoolAnd => {
            let truths = each.map(|rows| {
                let one = if what == Aggregate::BoolOr { taken(rows).max() } else { taken(rows).min() };
                one.map(|value| value != 0)
            });
            Arc::new(truths.collect::<BooleanArray>())
        }
    }
}

/// Count, sum and sum of squares, whole.
#[derive(Default)]
struct Moments {
    count: i128,
    sum: i128,
    squares: i128,
}

impl Moments {
    fn of(values: impl Iterator<Item = i64>) -> Self {
        let mut moments = Self::default();
        for value in values.map(i128::from) {
            moments.count += 1;
            moments.sum += value;
            // Wrapping, since adding up is then still independent of the order.
            moments.squares = moments.squares.wrapping_add(value * value);
        }
        moments
    }

    fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64)
    }

    /// Of a sample: divided by n - 1.
    fn stddev(&self) -> Option<f64> {
        let spread = self.count.wrapping_mul(self.squares).wrapping_sub(self.sum.wrapping_mul(self.sum));
        let over = self.count * (self.count - 1);
        (over > 0).then(|| (spread.max(0) as f64 / over as f64).sqrt())
    }
}
