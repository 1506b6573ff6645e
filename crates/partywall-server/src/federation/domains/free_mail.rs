//! Domains at which anybody can have a mailbox (I-17).

/// Our list. An operator adds to it, and nobody takes away from it.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    LIST.lines().filter(|line| !line.starts_with('#') && !line.is_empty())
}

const LIST: &str = include_str!("free_mail.txt");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::federation::domains::DomainName;

    #[test]
    fn i17_the_list_is_names_in_their_one_spelling_once_each() {
        let all: BTreeSet<&str> = names().collect();
        assert!(all.len() > 200 && all.len() == names().count());
        for name in all {
            let read = name.parse::<DomainName>().map(String::from);
            assert_eq!(read.as_deref(), Ok(name), "a public suffix needs no place here");
        }
    }
}
