use std::future;

use async_trait::async_trait;

use crate::{Discovery, Error, Members};

/// Members that never change. The name of each is its address.
#[derive(Clone, Debug)]
pub struct Fixed {
    untold: Option<Members>,
}

impl Fixed {
    /// Tells these once, then waits for ever.
    #[must_use]
    pub fn new(members: Members) -> Self {
        Self {
            untold: Some(members),
        }
    }
}

#[async_trait]
impl Discovery for Fixed {
    async fn changed(&mut self) -> Result<Members, Error> {
        match self.untold.take() {
            Some(members) => Ok(members),
            None => future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Member;

    #[tokio::test(start_paused = true)]
    async fn tells_its_members_once() {
        let members = Members::from([Member::at("a", 1), Member::at("b", 2)]);
        let mut fixed = Fixed::new(members.clone());
        assert_eq!(fixed.changed().await.unwrap(), members);
        let year = Duration::from_secs(365 * 24 * 3600);
        assert!(tokio::time::timeout(year, fixed.changed()).await.is_err());
    }
}
