//! Every attack has its place on the page of attacks, and the page speaks of no attack there is not.

use std::collections::BTreeSet;

use partywall_prove::catalogue;

const PAGE: &str = include_str!("../../../../docs/book/attacks.md");

#[test]
fn m24_every_attack_is_on_the_page_of_attacks() {
    let there: BTreeSet<&str> =
        PAGE.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`')).collect();
    let attacks: BTreeSet<&str> = catalogue().map(|attack| attack.id).collect();
    let gone: Vec<_> = there.difference(&attacks).collect();
    assert!(gone.is_empty(), "the page speaks of attacks there are not: {gone:?}");
    // What is missing is said as it could stand there.
    let missing: String = catalogue()
        .filter(|attack| !there.contains(attack.id))
        .map(|attack| {
            format!("### `{}`\n\n{} What holds: {}\n\n", attack.id, attack.about, attack.fix)
        })
        .collect();
    assert!(missing.is_empty(), "docs/book/attacks.md lacks:\n\n{missing}");
}
