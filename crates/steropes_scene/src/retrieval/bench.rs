//! Benches of the visual words.

use super::Words;
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench};

/// The benches of this module.
pub fn benches() -> Vec<Bench> {
    vec![
        // A published codebook, and the features of one photo and of 24.
        nearest("retrieval/large_codebook_300_features", 300),
        nearest("retrieval/large_codebook_7200_features", 7200),
    ]
}

/// The five nearest of 65536 words: one product, whose words are read once and each block of which is scanned as it comes.
fn nearest(name: &'static str, features: usize) -> Bench {
    const WORDS: usize = 1 << 16;
    const WIDTH: usize = 1024;
    let flops = 2.0 * (features * WORDS * WIDTH) as f64;
    let bytes = 4.0 * ((WORDS + features) * WIDTH) as f64;
    bench(name, flops, bytes, move |device| {
        let words = Words::new(uniform("words", WORDS * WIDTH), WIDTH);
        let (features, device) = (uniform("features", features * WIDTH), device.clone());
        Box::new(move || {
            std::hint::black_box(words.nearest(&features, 5, &device).expect("the device has room"));
        })
    })
}
