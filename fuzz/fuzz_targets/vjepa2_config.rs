//! The `config.json` of a V-JEPA 2 network, for weights that are sound.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use steropes_models::mast3r::synthetic::weight_file;
use steropes_models::vjepa2::synthetic::{Extents, Version, checkpoint};
use steropes_models::vjepa2::{Config, OpenOptions, Source, WhichEncoder};
use steropes_tensor::DType;

static WEIGHTS: LazyLock<Vec<u8>> =
    LazyLock::new(|| weight_file("", &checkpoint(&Extents::TINY, Version::V2_0), DType::F16));

fuzz_target!(|text: &str| {
    let source = Source::from_bytes("file", Some(text), WEIGHTS.clone(), WhichEncoder::Auto);
    let config = source.and_then(|source| Config::of(&source, &OpenOptions::default()));
    if let Err(error) = config {
        assert!(!error.to_string().contains('\n'), "{error}");
    }
});
