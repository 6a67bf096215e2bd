/// Finds a name among a fixed few with one multiplication and one comparison, where
/// comparing with one after the other would be what a field costs most.
#[derive(Debug)]
pub(crate) struct Names<const N: usize> {
    names: [&'static str; N],
    words: [u64; N],
    /// The only candidate for each hash.
    places: [u8; SLOTS],
    multiplier: u64,
}

const SLOTS: usize = 256;

impl<const N: usize> Names<N> {
    /// Names of 1 to 255 bytes that differ in their length or their last eight.
    pub(crate) const fn new(names: [&'static str; N]) -> Self {
        assert!(0 < N && N < 64, "so few that a multiplier without collisions is soon found");
        let mut words = [0; N];
        let mut i = 0;
        while i < N {
            words[i] = last_word(names[i].as_bytes());
            i += 1;
        }
        // Odd multiples of the golden ratio; the first few attempts find one.
        let mut multiplier = 0x9e37_79b9_7f4a_7c15;
        loop {
            let mut places = [0; SLOTS];
            let mut taken = [false; SLOTS];
            let mut i = 0;
            while i < N {
                let slot = slot(words[i], names[i].len(), multiplier);
                if taken[slot] {
                    break;
                }
                taken[slot] = true;
                places[slot] = i as u8;
                i += 1;
            }
            if i == N {
                return Self { names, words, places, multiplier };
            }
            multiplier = multiplier.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    /// The place of the name `text[start..end]`; looks at the text around it to load
    /// whole words.
    #[inline]
    pub(crate) fn find(&self, text: &[u8], start: usize, end: usize) -> Option<usize> {
        let length = end.wrapping_sub(start);
        let word = if length < 8 {
            let word = match text.get(start..start + 8) {
                Some(bytes) => word(bytes),
                None => return self.find_at_end(text.get(start..end)?),
            };
            word & ((1 << (8 * length)) - 1)
        } else {
            word(text.get(end - 8..end)?)
        };
        let place = self.places[slot(word, length, self.multiplier)] as usize;
        let name = self.names[place].as_bytes();
        let same = self.words[place] == word
            && name.len() == length
            && (length <= 8 || text[start..end - 8] == name[..length - 8]);
        same.then_some(place)
    }

    #[cold]
    fn find_at_end(&self, name: &[u8]) -> Option<usize> {
        self.names.iter().position(|other| other.as_bytes() == name)
    }

    /// The place of `name`.
    pub(crate) fn find_name(&self, name: &str) -> Option<usize> {
        self.find(name.as_bytes(), 0, name.len())
    }
}

#[inline]
const fn slot(word: u64, length: usize, multiplier: u64) -> usize {
    (word.wrapping_add(length as u64).wrapping_mul(multiplier) >> 56) as usize
}

#[inline]
fn word(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
}

const fn last_word(name: &[u8]) -> u64 {
    let mut word = 0;
    let mut i = if name.len() > 8 { name.len() - 8 } else { 0 };
    let mut shift = 0;
    while i < name.len() {
        word |= (name[i] as u64) << shift;
        shift += 8;
        i += 1;
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_others_are_not() {
        const NAMES: [&str; 6] = ["id", "shop", "skill", "order_id", "customer_id", "an_order_id"];
        // The last is told from "order_id" only by what is before its last eight bytes.
        const DISTINCT: Names<5> = Names::new([NAMES[0], NAMES[1], NAMES[2], NAMES[3], NAMES[4]]);
        for (place, name) in NAMES[..5].iter().enumerate() {
            assert_eq!(DISTINCT.find_name(name), Some(place), "{name}");
            let within = format!("\"{name}\":\"and what follows");
            assert_eq!(DISTINCT.find(within.as_bytes(), 1, 1 + name.len()), Some(place), "{name}");
        }
        for name in ["", "i", "idx", "shoq", "an_order_id", "xustomer_id", "customer_ix", "退款", NAMES[5]]
        {
            assert_eq!(DISTINCT.find_name(name), None, "{name}");
            let within = format!("{name}   and what follows");
            assert_eq!(DISTINCT.find(within.as_bytes(), 0, name.len()), None, "{name}");
        }
    }
}
