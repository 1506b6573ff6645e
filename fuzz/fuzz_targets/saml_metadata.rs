//! Metadata of identity providers, of any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use partywall_saml::{IdpMetadata, Import};

fuzz_target!(|data: &[u8]| {
    for allow_http in [false, true] {
        let import = Import { allow_http, ..Import::default() };
        if let Ok(metadata) = IdpMetadata::read(data, &import) {
            // S-08: what is read is never without a key.
            assert!(!metadata.certificates.is_empty());
        }
    }
});
