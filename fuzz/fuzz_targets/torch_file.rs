//! Files of `torch.save`, archive and pickle together.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| steropes_fuzz::read_all(bytes));
