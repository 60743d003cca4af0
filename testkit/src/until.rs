use std::fmt::Display;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at.
const PAUSE: Duration = Duration::from_millis(5);

/// What [`until`] waits for: `true`, `Some` or `Ok`.
pub trait Condition {
    /// What comes of the wait.
    type Value;

    /// The value, or why it is not there yet.
    ///
    /// # Errors
    ///
    /// Says what is still missing; it ends up in the error of [`until`].
    fn met(self) -> Result<Self::Value, String>;
}

impl Condition for bool {
    type Value = ();

    fn met(self) -> Result<(), String> {
        if self {
            Ok(())
        } else {
            Err("not yet true".into())
        }
    }
}

impl<T> Condition for Option<T> {
    type Value = T;

    fn met(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing yet".into())
    }
}

impl<T, E: Display> Condition for Result<T, E> {
    type Value = T;

    fn met(self) -> Result<T, String> {
        self.map_err(|error| format!("{error:#}"))
    }
}

/// Waits until `condition` holds, looking every 5 ms and at least once, for at most `within`.
///
/// Blocks its thread: not for use on an async runtime's thread.
///
/// # Errors
///
/// Names `what` was awaited, for how long, and what was missing at the last look.
pub fn until<C: Condition>(
    within: Duration,
    what: &str,
    mut condition: impl FnMut() -> C,
) -> Result<C::Value> {
    let deadline = Instant::now() + within;
    loop {
        match condition().met() {
            Ok(value) => return Ok(value),
            Err(missing) if Instant::now() >= deadline => {
                bail!("waited {within:?} in vain for {what}: {missing}")
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_the_value_as_soon_as_it_is_there() {
        let mut looks = 0;
        let value = until(Duration::from_secs(60), "the third look", || {
            looks += 1;
            (looks == 3).then_some("here")
        });
        assert_eq!((value.unwrap(), looks), ("here", 3));
    }

    #[test]
    fn names_what_was_awaited_and_what_was_missing() {
        let error = until(Duration::ZERO, "rain", || Err::<(), _>("dry")).unwrap_err();
        assert_eq!(error.to_string(), "waited 0ns in vain for rain: dry");
        until(Duration::ZERO, "sun", || false).unwrap_err();
        until(Duration::ZERO, "snow", || None::<()>).unwrap_err();
    }
}
