//! Hyper-parameters: a constructor call, and the same text as a `config.json`.
#![no_main]

use steropes_models::Config;

libfuzzer_sys::fuzz_target!(|text: &str| {
    for result in [Config::from_args("file", text), Config::from_json("file", text)] {
        if let Ok(config) = result {
            assert!(config.encoder.width.is_multiple_of(config.encoder.heads));
        }
    }
});
