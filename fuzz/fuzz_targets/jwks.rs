//! Key sets of any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use partywall::token::KeySet;

fuzz_target!(|data: &[u8]| {
    if let Ok(set) = KeySet::parse(data) {
        let again = KeySet::parse(set.to_json().to_string().as_bytes());
        assert_eq!(again.ok().as_ref(), Some(&set), "what was read must read the same again");
    }
});
