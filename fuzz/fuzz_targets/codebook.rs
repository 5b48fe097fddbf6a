//! Codebooks of image retrieval.
#![no_main]

use steropes_nn::Codebook;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Some(codebook) = steropes_fuzz::accepted(Codebook::from_bytes("file", bytes)) {
        assert_eq!(codebook.centroids.len(), codebook.size * codebook.width);
    }
});
