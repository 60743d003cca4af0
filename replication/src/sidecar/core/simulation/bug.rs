use bellwether_election::Plant;

use crate::sidecar::core::Flaw;

/// What is planted in a world, which must find it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bug {
    /// In the sidecars.
    Sidecar(Flaw),
    /// In the candidates for the Lease.
    Lease(Plant),
    /// The leader port forwards what its view shows, without a look at the clock.
    PortIgnoresUntil,
}
