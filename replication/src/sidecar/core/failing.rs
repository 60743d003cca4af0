//! What the own server refuses again and again: it is tried less and less often, and said once.

use std::time::{Duration, Instant};

use super::Order;

/// For how long a member does not stand after its promotion failed, doubled with each that fails.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// How often that is doubled: up to 8 s. Where all are refused alike, for want of a permission, they
/// would else pass leadership round as fast as the election goes.
const DOUBLINGS: u32 = 5;

/// The failures of orders that were not made good since.
#[derive(Debug, Default)]
pub(super) struct Failing {
    /// The last that failed, and why.
    order: Option<(&'static str, String)>,
    /// When a promotion last failed, and how many did in a row.
    promotion: Option<(Instant, u32)>,
    /// Why the passport could not be written, if it was not since.
    stamp: Option<String>,
}

impl Failing {
    /// Takes in how an order ended; whether a failure is news.
    pub(super) fn ended(&mut self, order: &Order, result: &Result<(), String>) -> bool {
        match (order, result) {
            (Order::Stamp(_), Err(why)) => self.stamp = Some(why.clone()),
            (Order::Stamp(_) | Order::Promote(_), Ok(())) => self.stamp = None,
            _ => {}
        }
        let verb = order.verb();
        match result {
            Ok(()) => {
                self.order.take_if(|(failed, _)| *failed == verb);
                false
            }
            Err(why) => {
                let failure = Some((verb, why.clone()));
                let news = self.order != failure;
                self.order = failure;
                news
            }
        }
    }

    /// The dataset has the passport that it should have: one that seemed to fail may have been written.
    pub(super) fn stamped(&mut self) {
        self.stamp = None;
    }

    /// Why the passport could not be written.
    pub(super) fn stamp(&self) -> Option<&str> {
        self.stamp.as_deref()
    }

    pub(super) fn promoted(&mut self) {
        self.promotion = None;
    }

    pub(super) fn not_promoted(&mut self, now: Instant) {
        let row = self.promotion.map_or(0, |(_, row)| row);
        self.promotion = Some((now, row.saturating_add(1)));
    }

    /// Whether others are given the time to lead instead.
    pub(super) fn keeps_from_standing(&self, now: Instant) -> bool {
        self.promotion.is_some_and(|(at, row)| {
            let doublings = (row - 1).min(DOUBLINGS);
            now < at + FIRST_WAIT * 2u32.pow(doublings)
        })
    }
}
