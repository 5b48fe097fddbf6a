//! Files of the safetensors format: their headers, and the tensors that they speak of.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| steropes_fuzz::read_all(bytes));
