//! Hyper-parameters: a constructor call, and the same text as a `config.json`.
#![no_main]

use steropes_models::mast3r::{Config, EncoderKind, Trunk};

libfuzzer_sys::fuzz_target!(|text: &str| {
    for result in [Config::from_args("file", text), Config::from_json("file", text)] {
        match result {
            Ok(Config {
                encoder: EncoderKind::Croco(Trunk { width, heads, .. }) | EncoderKind::Dune { width, heads },
                ..
            }) => assert!(width.is_multiple_of(heads)),
            Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
        }
    }
});
