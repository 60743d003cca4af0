//! Whatever frame the scanner lets through is decoded or refused, and a decoded
//! value survives being written and read anew.
#![no_main]

use bellwether_resp::{Decoder, Limits, Protocol, Value, encode};
use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;

fn encoded(value: &Value, protocol: Protocol) -> Bytes {
    let mut out = Vec::new();
    encode::value(&mut out, value, protocol);
    out.into()
}

fuzz_target!(|input: &[u8]| {
    let mut decoder = Decoder::new(Limits::CONTROL);
    let mut buf = BytesMut::from(input);
    while let Ok(Some(value)) = decoder.decode(&mut buf) {
        for protocol in [Protocol::Resp2, Protocol::Resp3] {
            let once = encoded(&value, protocol);
            let again = Value::decode(&once).expect("what was encoded is a frame");
            assert_eq!(encoded(&again, protocol), once);
        }
    }
});
