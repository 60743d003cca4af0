//! The core in seeded worlds.
