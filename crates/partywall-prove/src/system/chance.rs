//! Texts that nobody has seen before.

use aws_lc_rs::rand;

/// So many random digits, in hexadecimal.
pub(super) fn hex(digits: usize) -> String {
    let mut bytes = vec![0; digits.div_ceil(2)];
    // Without randomness the texts are the same every time, and planting them twice shows it.
    let _ = rand::fill(&mut bytes);
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    text.chars().take(digits).collect()
}

/// An id that never was, of the same kind as `id`: digit for digit, letter for letter.
pub(super) fn like(id: &str) -> String {
    // A number of another size could be refused for its size alone; one as large is taken by
    // nobody who counts from 1.
    if !id.is_empty() && id.len() < 10 && id.bytes().all(|b| b.is_ascii_digit()) {
        let below = random_below(100_000_000);
        return (2_000_000_000 + below).to_string();
    }
    let is_hex = id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    let is_uuid = is_hex && id.len() == 36;
    let replaced = id.chars().enumerate().map(|(at, c)| match c {
        // A UUID's version and variant.
        _ if is_uuid && matches!(at, 14 | 19) => c,
        '0'..='9' | 'a'..='f' if is_hex => pick("0123456789abcdef"),
        'A'..='F' if is_hex => pick("0123456789ABCDEF"),
        '0'..='9' => pick("0123456789"),
        'a'..='z' => pick("abcdefghijklmnopqrstuvwxyz"),
        'A'..='Z' => pick("ABCDEFGHJKMNPQRSTVWXYZ"),
        other => other,
    });
    replaced.collect()
}

fn pick(among: &str) -> char {
    let at = random_below(among.len() as u64);
    among.chars().nth(usize::try_from(at).unwrap_or(0)).unwrap_or('0')
}

fn random_below(bound: u64) -> u64 {
    let mut bytes = [0; 8];
    let _ = rand::fill(&mut bytes);
    u64::from_le_bytes(bytes) % bound
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r06_an_absent_id_is_of_the_same_kind_and_another() {
        let uuid = "0190b1a2-7f33-7abc-8def-0123456789ab";
        let absent = like(uuid);
        assert_ne!(absent, uuid);
        assert_eq!(
            (absent.len(), absent.chars().nth(14), absent.chars().nth(19)),
            (36, Some('7'), Some('8'))
        );
        assert!(like("42").parse::<i32>().unwrap() >= 2_000_000_000);
        assert!(like("inv_9Zk2").starts_with(|c: char| c.is_ascii_lowercase()));
        assert_eq!(like("inv_9Zk2").chars().nth(3), Some('_'));
    }
}
