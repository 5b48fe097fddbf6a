//! Weight files of all formats, sound and damaged.

use super::*;

fn empty() -> Checkpoint {
    Checkpoint::from_bytes("empty", [&2u64.to_le_bytes()[..], b"{}"].concat()).unwrap()
}

#[test]
fn ties_hold_for_whole_components_of_a_path() {
    let tie = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    let checkpoint = empty().with_ties(&[tie("dec", "enc"), tie("head2.mlp", "head1.mlp")]);
    for (path, stored) in [
        ("dec", "enc"),
        ("dec.0.weight", "enc.0.weight"),
        ("dec2.0.weight", "dec2.0.weight"),
        ("a.dec.0", "a.dec.0"),
        ("head2.mlp.fc1.bias", "head1.mlp.fc1.bias"),
        ("head2.mlp2", "head2.mlp2"),
    ] {
        assert_eq!(checkpoint.stored_path(path), stored);
    }
}

#[test]
fn ties_in_a_circle_end() {
    let tie = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    let path = empty().with_ties(&[tie("a", "b"), tie("b", "a")]).stored_path("a.x");
    assert_eq!(path, "a.x");
}
