//! Quantiles of whole numbers in buckets that grow by the 32nd root of 2.
//!
//! Bucket `i` holds the values in (2^((i-1)/32), 2^(i/32)]: the buckets of a
//! Prometheus native histogram of schema 5. A quantile is the value `v` of its
//! bucket with the least relative error at both ends, 2·lo·hi/(lo+hi), which is
//! off by at most (b-1)/(b+1) = 1.083 % with b = 2^(1/32) (Masson, Rim, Lee,
//! "DDSketch", VLDB 2019). Buckets count in integers, so merging in any order
//! gives the same bits.

/// 2^(k/32) for k = 0..32, rounded to the nearest double.
#[expect(clippy::approx_constant, reason = "one of them is the root of 2, and belongs to the row")]
const ROOTS: [f64; 32] = [
    1.0,
    1.0218971486541166,
    1.0442737824274138,
    1.0671404006768237,
    1.0905077326652577,
    1.1143867425958924,
    1.1387886347566916,
    1.1637248587775775,
    1.189207115002721,
    1.215247359980469,
    1.241857812073484,
    1.2690509571917332,
    1.2968395546510096,
    1.3252366431597413,
    1.3542555469368927,
    1.383909881963832,
    1.4142135623730951,
    1.4451808069770467,
    1.4768261459394993,
    1.5091644275934228,
    1.5422108254079407,
    1.5759808451078865,
    1.6104903319492543,
    1.645755478153965,
    1.681792830507429,
    1.718619298122478,
    1.7562521603732995,
    1.7947090750031072,
    1.8340080864093424,
    1.8741676341103,
    1.9152065613971474,
    1.9571441241754002,
];

/// Counts per bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sketch {
    /// Values of 0 or less.
    zeros: u64,
    /// Bucket and count, by bucket.
    buckets: Vec<(u16, u64)>,
}

impl Sketch {
    /// Adds one value.
    pub fn add(&mut self, value: i64) {
        if value <= 0 {
            self.zeros += 1;
        } else {
            self.add_to(bucket(value), 1);
        }
    }

    fn add_to(&mut self, bucket: u16, count: u64) {
        match self.buckets.binary_search_by_key(&bucket, |&(bucket, _)| bucket) {
            Ok(place) => self.buckets[place].1 += count,
            Err(place) => self.buckets.insert(place, (bucket, count)),
        }
    }

    /// How many values are in.
    pub fn count(&self) -> u64 {
        self.zeros + self.buckets.iter().map(|(_, count)| count).sum::<u64>()
    }

    /// The value at `per_million` / 1,000,000 by nearest rank: that of the
    /// ⌈q·n⌉-th smallest, to within 1.1 %. `None` if there are no values.
    pub fn quantile(&self, per_million: u32) -> Option<f64> {
        let count = u128::from(self.count());
        if count == 0 {
            return None;
        }
        let rank = (u128::from(per_million) * count).div_ceil(1_000_000).max(1);
        let mut below = u128::from(self.zeros);
        if rank <= below {
            return Some(0.0);
        }
        for &(bucket, count) in &self.buckets {
            below += u128::from(count);
            if rank <= below {
                return Some(middle(bucket));
            }
        }
        None
    }

    /// Appends the state: pairs of bucket and count as LEB128, gaps between
    /// buckets instead of buckets. The values of 0 or less come first.
    pub fn write(&self, out: &mut Vec<u8>) {
        leb128(out, self.zeros);
        let mut last = 0;
        for &(bucket, count) in &self.buckets {
            leb128(out, u64::from(bucket - last));
            leb128(out, count);
            last = bucket;
        }
    }

    /// Adds what [`Sketch::write`] wrote. `None` if `bytes` are something else, or more values
    /// than can be counted.
    pub fn merge(&mut self, mut bytes: &[u8]) -> Option<()> {
        let mut total = self.count();
        let zeros = read_leb128(&mut bytes)?;
        total = total.checked_add(zeros)?;
        self.zeros += zeros;
        let mut bucket = 0u16;
        while !bytes.is_empty() {
            bucket = bucket.checked_add(u16::try_from(read_leb128(&mut bytes)?).ok()?)?;
            let count = read_leb128(&mut bytes)?;
            total = total.checked_add(count)?;
            if bucket > BUCKET_MAX {
                return None;
            }
            self.add_to(bucket, count);
        }
        Some(())
    }
}

/// The bucket of the largest value.
const BUCKET_MAX: u16 = 63 * 32;

/// The bucket of a positive value: the smallest `i` with value <= 2^(i/32).
fn bucket(value: i64) -> u16 {
    let exponent = 63 - value.leading_zeros() as u16;
    let scaled = value as f64 / (1u64 << exponent) as f64;
    // Conversion to a double may round a large value up to the next power.
    exponent * 32 + ROOTS.partition_point(|&root| root < scaled) as u16
}

fn bound(bucket: u16) -> f64 {
    ROOTS[usize::from(bucket % 32)] * (1u128 << (bucket / 32)) as f64
}

fn middle(bucket: u16) -> f64 {
    let high = bound(bucket);
    let low = match bucket {
        0 => bound(31) / 2.0,
        _ => bound(bucket - 1),
    };
    2.0 * low * high / (low + high)
}

fn leb128(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn read_leb128(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[i64]) -> Sketch {
        let mut sketch = Sketch::default();
        values.iter().for_each(|&value| sketch.add(value));
        sketch
    }

    fn state(sketch: &Sketch) -> Vec<u8> {
        let mut out = Vec::new();
        sketch.write(&mut out);
        out
    }

    #[test]
    fn nothing_has_no_quantile() {
        assert_eq!(Sketch::default().quantile(500_000), None);
        assert_eq!(of(&[0]).quantile(900_000), Some(0.0));
    }

    #[test]
    fn bounds_are_inclusive_above() {
        assert_eq!(bucket(1), 0);
        assert_eq!(bucket(2), 32);
        assert_eq!(bucket(1 << 40), 40 * 32);
        assert_eq!(bucket((1 << 40) + 1), 40 * 32 + 1);
        assert!(bucket(i64::MAX) <= 63 * 32);
    }

    #[test]
    fn a_damaged_state_is_refused() {
        let mut bytes = Vec::new();
        of(&[0, 5, i64::MAX]).write(&mut bytes);
        assert_eq!(Sketch::default().merge(&bytes), Some(()));
        let most = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(of(&[0]).merge(&most), None, "more values than can be counted");
        assert_eq!(of(&[]).merge(&[&most[..], &[1, 1]].concat()), None, "in all");
        let mut sketch = Sketch::default();
        assert_eq!(sketch.merge(&[0, 0xe1, 0x0f, 1]), None, "a bucket beyond the largest value");
        assert_eq!(sketch.merge(&[0, 0xe0, 0x0f, 1]), Some(()));
        assert!(sketch.quantile(500_000).is_some_and(|value| value > 9e18));
    }

    proptest! {
        #[test]
        fn within_one_point_one_percent(
            mut values in prop::collection::vec(1i64..10_000_000_000, 1..300),
            per_million in 1u32..=1_000_000,
        ) {
            let estimate = of(&values).quantile(per_million).expect("not empty");
            values.sort_unstable();
            let rank = (per_million as usize * values.len()).div_ceil(1_000_000).max(1);
            let exact = values[rank - 1] as f64;
            prop_assert!((estimate - exact).abs() <= 0.011 * exact, "{} {}", estimate, exact);
        }

        #[test]
        fn merging_is_adding_in_any_order(
            a in prop::collection::vec(-5i64..1_000_000, 0..50),
            b in prop::collection::vec(-5i64..1_000_000, 0..50),
        ) {
            let mut ab = of(&a);
            ab.merge(&state(&of(&b))).expect("well-formed");
            let mut ba = of(&b);
            ba.merge(&state(&of(&a))).expect("well-formed");
            let all = of(&[a, b].concat());
            prop_assert_eq!(&ab, &all);
            prop_assert_eq!(state(&ba), state(&all));
        }

        #[test]
        fn nonsense_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = Sketch::default().merge(&bytes);
        }
    }
}
