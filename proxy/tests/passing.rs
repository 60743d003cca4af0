//! What passes through the proxy while nothing fails.

mod support;

use support::{Front, command, primary};

#[test]
fn a_command_passes_in_either_form() {
    let server = primary();
    let front = Front::of(&server);
    let mut client = front.client();
    client.send(b"PING\r\n\r\n*0\r\nset \"a b\" 'c'\r\n");
    client.send(&command(&[b"GET", b"a b"]));
    assert_eq!(client.text(), "+PONG\r\n");
    assert_eq!(client.text(), "+OK\r\n");
    assert_eq!(client.text(), "$1\r\nc\r\n");
}
