use std::ops::RangeInclusive;

use thiserror::Error;

/// Windows [start, end) of equal size, one every `slide_ms`. With `slide_ms` = `size_ms`
/// they tumble. One of them begins at the Unix epoch, or `offset_ms` after it.
///
/// Every window is a whole number of panes; a time lies in exactly one pane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windowing {
    size_ms: i64,
    slide_ms: i64,
    pane_ms: i64,
    offset_ms: i64,
}

/// Why a window cannot be.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum WindowingError {
    /// A size or slide of 0 or less.
    #[error("a window's size and slide must be positive, found size {size_ms} ms, slide {slide_ms} ms")]
    NotPositive {
        /// in ms
        size_ms: i64,
        /// in ms
        slide_ms: i64,
    },
    /// Facts between the windows would be in none of them.
    #[error("a slide of {slide_ms} ms is longer than the window of {size_ms} ms, which leaves gaps")]
    Gaps {
        /// in ms
        size_ms: i64,
        /// in ms
        slide_ms: i64,
    },
}

impl Windowing {
    /// Windows of `size_ms`, one every `slide_ms`.
    pub fn hop(slide_ms: i64, size_ms: i64) -> Result<Self, WindowingError> {
        if size_ms <= 0 || slide_ms <= 0 {
            return Err(WindowingError::NotPositive { size_ms, slide_ms });
        }
        if slide_ms > size_ms {
            return Err(WindowingError::Gaps { size_ms, slide_ms });
        }
        Ok(Self { size_ms, slide_ms, pane_ms: gcd(size_ms, slide_ms), offset_ms: 0 })
    }

    /// The same windows, each `offset_ms` later: days that begin at midnight elsewhere.
    #[must_use]
    pub fn offset(self, offset_ms: i64) -> Self {
        Self { offset_ms: offset_ms.rem_euclid(self.slide_ms), ..self }
    }

    /// How long after the Unix epoch a window begins, in ms, less than the slide.
    pub fn offset_ms(&self) -> i64 {
        self.offset_ms
    }

    /// Windows of `size_ms`, one after the other.
    pub fn tumble(size_ms: i64) -> Result<Self, WindowingError> {
        Self::hop(size_ms, size_ms)
    }

    /// Length of a window in ms.
    pub fn size_ms(&self) -> i64 {
        self.size_ms
    }

    /// From one window's start to the next one's, in ms.
    pub fn slide_ms(&self) -> i64 {
        self.slide_ms
    }

    /// Length of a pane in ms: the greatest common divisor of size and slide.
    pub fn pane_ms(&self) -> i64 {
        self.pane_ms
    }

    /// Whether a window begins at this time.
    pub fn is_start(&self, time_ms: i64) -> bool {
        (time_ms - self.offset_ms).rem_euclid(self.slide_ms) == 0
    }

    /// Start of the pane that holds this time.
    #[inline]
    pub fn pane_start(&self, time_ms: i64) -> i64 {
        time_ms - (time_ms - self.offset_ms).rem_euclid(self.pane_ms)
    }

    /// Starts of the first and the last window that contain the pane starting at
    /// `pane_start_ms`; those between are `slide_ms` apart.
    pub fn windows_of_pane(&self, pane_start_ms: i64) -> RangeInclusive<i64> {
        let last = pane_start_ms - (pane_start_ms - self.offset_ms).rem_euclid(self.slide_ms);
        // The first window that ends after the pane has begun.
        let first = pane_start_ms + self.pane_ms - self.size_ms - self.offset_ms;
        let first = first.div_euclid(self.slide_ms) * self.slide_ms + self.offset_ms;
        let first =
            if first + self.size_ms < pane_start_ms + self.pane_ms { first + self.slide_ms } else { first };
        first..=last
    }
}

/// The greatest common divisor; 0 has all.
pub fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn impossible_windows() {
        assert!(matches!(Windowing::hop(0, 10), Err(WindowingError::NotPositive { .. })));
        assert!(matches!(Windowing::tumble(-1), Err(WindowingError::NotPositive { .. })));
        assert!(matches!(Windowing::hop(11, 10), Err(WindowingError::Gaps { .. })));
    }

    #[test]
    fn times_before_the_epoch() {
        let minutes = Windowing::tumble(60_000).expect("possible");
        assert_eq!(minutes.pane_start(-1), -60_000);
        assert_eq!(minutes.windows_of_pane(-60_000), -60_000..=-60_000);
    }

    proptest! {
        /// A time lies in the windows of its pane and in no others.
        #[test]
        fn windows_of_a_time(slide in 1i64..40, more in 0i64..100, offset in -50i64..50, time in -500i64..500) {
            let windowing = Windowing::hop(slide, slide + more).expect("possible").offset(offset);
            let pane = windowing.pane_start(time);
            prop_assert!(pane <= time && time < pane + windowing.pane_ms());
            let of_pane: Vec<i64> =
                windowing.windows_of_pane(pane).step_by(slide as usize).collect();
            let naive: Vec<i64> = (-700..=time)
                .filter(|start| (start - offset).rem_euclid(slide) == 0)
                .filter(|&start| start <= time && time < start + windowing.size_ms())
                .collect();
            prop_assert_eq!(of_pane, naive);
        }
    }
}
