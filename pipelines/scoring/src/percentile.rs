//! Where a score stands among those of the last day.

use serde::{Deserialize, Serialize};

/// Bins of probability.
const BINS: usize = 4_096;
const HOUR_US: i64 = 3_600_000_000;
/// Hours that are looked at, the current one among them.
const HOURS: i64 = 24;

/// Counts of probabilities by hour.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Population {
    /// Hour since the epoch, and of each bin that has any the number of scores, in the order of bins.
    hours: Vec<(i64, Vec<(u16, u32)>)>,
    /// The sum of all hours.
    counts: Vec<u32>,
}

impl Population {
    /// Where a probability at a time stands among the scores since 23 hours before the hour of it: the share in
    /// percent that is lower, and half of those in the same bin of 1/4096. `None` if there are none. To be
    /// called in the order of time.
    pub fn percentile(&mut self, probability: f64, at_us: i64) -> Option<f64> {
        let hour = at_us.div_euclid(HOUR_US);
        self.forget(hour - HOURS);
        let bin = bin(probability);
        let total: u64 = self.counts.iter().map(|count| u64::from(*count)).sum();
        let below: u64 = self.counts.iter().take(bin).map(|count| u64::from(*count)).sum();
        let same = self.counts.get(bin).copied().map_or(0, u64::from);
        (total > 0).then(|| 100.0 * (2 * below + same) as f64 / (2 * total) as f64)
    }

    /// Takes in a score.
    pub fn add(&mut self, probability: f64, at_us: i64) {
        let hour = at_us.div_euclid(HOUR_US);
        self.counts.resize(BINS, 0);
        if self.hours.last().is_none_or(|(last, _)| *last < hour) {
            self.hours.push((hour, Vec::new()));
        }
        let bin = bin(probability);
        self.counts[bin] += 1;
        if let Some((_, bins)) = self.hours.last_mut() {
            match bins.binary_search_by_key(&(bin as u16), |(bin, _)| *bin) {
                Ok(place) => bins[place].1 += 1,
                Err(place) => bins.insert(place, (bin as u16, 1)),
            }
        }
    }

    /// Forgets what came in so many hours since the epoch or before.
    fn forget(&mut self, until: i64) {
        let gone = self.hours.partition_point(|(hour, _)| *hour <= until);
        for (_, bins) in self.hours.drain(..gone) {
            for (bin, count) in bins {
                self.counts[usize::from(bin)] -= count;
            }
        }
    }

    /// Whether it is one that could have come about.
    pub(crate) fn is_whole(&self) -> bool {
        let mut counts = vec![0u32; self.counts.len()];
        for (bin, count) in self.hours.iter().flat_map(|(_, bins)| bins) {
            let Some(of_bin) = counts.get_mut(usize::from(*bin)) else { return false };
            let Some(sum) = of_bin.checked_add(*count) else { return false };
            *of_bin = sum;
        }
        let sizes = [0, BINS].contains(&self.counts.len());
        sizes && counts == self.counts && self.hours.is_sorted_by(|a, b| a.0 < b.0)
    }
}

fn bin(probability: f64) -> usize {
    ((probability * BINS as f64) as usize).min(BINS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn among_those_of_the_last_day() {
        let mut population = Population::default();
        assert_eq!(population.percentile(0.5, 0), None);
        for probability in [0.1, 0.2, 0.3, 0.4] {
            population.add(probability, HOUR_US);
        }
        let at = |population: &mut Population, probability, hours| {
            population.percentile(probability, hours * HOUR_US)
        };
        assert_eq!(at(&mut population, 0.25, 1), Some(50.0));
        assert_eq!(at(&mut population, 0.2, 1), Some(37.5));
        assert_eq!(at(&mut population, 1.0, 1), Some(100.0));
        assert_eq!(at(&mut population, 0.0, 1), Some(0.0));
        population.add(0.9, 3 * HOUR_US);
        assert_eq!(at(&mut population, 0.5, 24), Some(80.0));
        assert!(population.is_whole());
        // A day after, only the later one counts.
        assert_eq!(at(&mut population, 0.5, 25), Some(0.0));
        assert_eq!(at(&mut population, 0.5, 27), None);
        assert!(population.is_whole());
    }
}
