//! Client bytes, server bytes, their interleaving and topology changes, as the input says: the
//! engine does not panic, keeps its bounds, and gives every client its own replies in order.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| bellwether_proxy::fuzzing::run(input));

#[cfg(not(fuzzing))]
fn main() {}
