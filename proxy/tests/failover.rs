//! What clients see while the primary changes.

mod support;

use support::{Front, primary};

#[test]
fn a_session_moves_to_the_next_primary() {
    let (mut a, b) = (primary(), primary());
    let front = Front::of(&a);
    let mut client = front.client();
    assert_eq!(client.ask("SET k 1"), "+OK\r\n");
    a.kill().unwrap();
    client.say(&["SET k 2", "GET k"]);
    front.point_at(2, &b);
    assert_eq!(client.text(), "+OK\r\n");
    assert_eq!(client.text(), "$1\r\n2\r\n");
}
