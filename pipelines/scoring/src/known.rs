//! What is known of a customer's orders, for the policy.

/// What scores say nothing of: a customer's orders. It does not depend on the order in which they become known, so that
/// it is the same when it is made from stored facts.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// The order placed last.
    pub last: Option<Last>,
    orders: Vec<Order>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Last {
    at_ms: i64,
    id: Box<str>,
    /// By their numbers.
    pub shop: u32,
    pub channel: u32,
}

#[derive(Debug)]
struct Order {
    id: Box<str>,
    /// When it was last heard of.
    at_ms: i64,
    placed_ms: i64,
    back_ms: i64,
}

const NEVER: i64 = i64::MIN;
const DAY_MS: i64 = 86_400_000;

impl Known {
    /// An order was placed, in a shop by a channel, or is back. Orders of `longest_ms` matter.
    pub fn take(&mut self, id: &str, at_ms: i64, placed: Option<(u32, u32)>, longest_ms: i64) {
        if let Some((shop, channel)) = placed
            && self.last.as_ref().is_none_or(|last| (last.at_ms, &*last.id) <= (at_ms, id))
        {
            self.last = Some(Last { at_ms, id: id.into(), shop, channel });
        }
        if longest_ms == 0 {
            return;
        }
        if !self.orders.iter().any(|order| *order.id == *id) {
            // Customers are many, and have few.
            self.orders.reserve_exact(1);
            self.orders.push(Order { id: id.into(), at_ms, placed_ms: NEVER, back_ms: NEVER });
        }
        for order in self.orders.iter_mut().filter(|order| *order.id == *id) {
            order.at_ms = order.at_ms.max(at_ms);
            let when = if placed.is_some() { &mut order.placed_ms } else { &mut order.back_ms };
            *when = at_ms.max(*when);
        }
        let oldest_ms = self.oldest_ms(longest_ms);
        self.orders.retain(|order| order.at_ms >= oldest_ms);
    }

    /// What was before it has been forgotten, or will be. A day more than asked for, because scores come somewhat later
    /// than what they are of.
    fn oldest_ms(&self, longest_ms: i64) -> i64 {
        let newest_ms = self.orders.iter().map(|order| order.at_ms).max().unwrap_or(NEVER);
        newest_ms.saturating_sub(longest_ms).saturating_sub(DAY_MS)
    }

    /// The orders, sorted, that were placed in the `within_ms` before `at_ms` and are not back.
    pub fn orders(&self, at_ms: i64, within_ms: i64, longest_ms: i64) -> Vec<String> {
        let oldest_ms = self.oldest_ms(longest_ms);
        let placed = |order: &&Order| (0..within_ms).contains(&at_ms.saturating_sub(order.placed_ms));
        // One that was forgotten and came again is not back.
        let is_back = |order: &Order| order.back_ms >= oldest_ms;
        let mut orders: Vec<String> = self
            .orders
            .iter()
            .filter(|order| order.placed_ms != NEVER && !is_back(order))
            .filter(placed)
            .map(|order| order.id.to_string())
            .collect();
        orders.sort_unstable();
        orders
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST_MS: i64 = 30 * DAY_MS;

    #[test]
    fn it_does_not_depend_on_the_order_in_which_orders_become_known() {
        // Order, day, whether placed. One comes again after it has been forgotten, one before.
        let facts = [
            ("a", 0, true),
            ("a", 1, false),
            ("b", 20, true),
            ("c", 33, true),
            ("c", 33, false),
            ("a", 40, true),
            ("b", 45, true),
        ];
        let known = |facts: &[(&str, i64, bool)]| {
            let mut known = Known::default();
            for &(id, day, placed) in facts {
                known.take(id, day * DAY_MS, placed.then_some((0, day as u32)), LONGEST_MS);
            }
            let orders: Vec<_> =
                (0..60).map(|day| known.orders(day * DAY_MS, LONGEST_MS, LONGEST_MS)).collect();
            (orders, known.last)
        };
        let expected = known(&facts);
        assert_eq!(expected.0[50], ["a", "b"]);
        // Every rotation of both directions.
        for turn in 0..facts.len() {
            let mut turned = facts;
            turned.rotate_left(turn);
            assert_eq!(known(&turned), expected, "{turned:?}");
            turned.reverse();
            assert_eq!(known(&turned), expected, "{turned:?}");
        }
    }

    #[test]
    fn an_order_that_is_back_stays_so() {
        let mut known = Known::default();
        known.take("a", DAY_MS, None, LONGEST_MS);
        known.take("a", 0, Some((0, 0)), LONGEST_MS);
        assert!(known.orders(2 * DAY_MS, LONGEST_MS, LONGEST_MS).is_empty());
        known.take("b", 2 * DAY_MS, Some((0, 0)), LONGEST_MS);
        assert_eq!(known.orders(2 * DAY_MS, LONGEST_MS, LONGEST_MS), ["b"]);
        assert!(known.orders(40 * DAY_MS, LONGEST_MS, LONGEST_MS).is_empty());
    }
}
